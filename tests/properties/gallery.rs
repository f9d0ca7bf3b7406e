//! A small lab, and policies that each show one construct of the API in it, with a flow on either side of it.

use k8s_openapi::api::networking::v1::NetworkPolicy;
use policyprobe::{lab::World, scenario::LabSpec};
use serde_json::{Value, json};

use crate::worlds::policy;

/// Policies, and what they show.
pub struct Exhibit {
    /// The construct.
    pub shows: &'static str,
    /// Applied together.
    pub policies: Vec<NetworkPolicy>,
}

/// Four pods in two namespaces on two nodes, which give other numbers to the same names, and a host outside.
pub fn lab() -> LabSpec {
    let pod = |name, namespace, labels: Value, node, web: u16, alt: u16| {
        let ports = json!([{"name": "web", "port": web}, {"name": "alt", "port": alt}]);
        json!({"name": name, "namespace": namespace, "labels": labels, "node": node, "ports": ports})
    };
    let spec = json!({
        "namespaces": {"default": {"labels": {"team": "a"}}, "other": {"labels": {"team": "b"}}},
        "pods": [
            pod("p0", "default", json!({"app": "a"}), "master", 80, 8080),
            pod("p1", "default", json!({"app": "b", "role": "b"}), "worker", 8080, 80),
            pod("p2", "other", json!({"app": "a", "role": "a"}), "worker", 80, 8080),
            pod("p3", "other", json!({"app": "b"}), "master", 8080, 80),
        ],
        "outside": [{"name": "out", "ports": [{"port": 53}, {"port": 80}, {"port": 81}, {"port": 8080}]}],
    });
    serde_json::from_value(spec).unwrap()
}

/// What there is to see in the lab's world, whose addresses blocks are about.
pub fn exhibits(world: &World) -> Vec<Exhibit> {
    let of = |name: &str| {
        let pod = world.pods.iter().find(|pod| pod.spec.name == name).unwrap();
        format!("{}/32", pod.addresses[0])
    };
    let out = format!("{}/32", world.outside[0].address);
    let all_but = |except: &[&String]| json!({"ipBlock": {"cidr": "0.0.0.0/0", "except": except}});
    let labelled = |key: &str, value: &str| json!({"matchLabels": {key: value}});
    let pods = |key: &str, value: &str| json!({"podSelector": labelled(key, value)});
    let namespaces = |value: &str| json!({"namespaceSelector": labelled("team", value)});
    let both = |team: &str, app: &str| json!({"namespaceSelector": labelled("team", team), "podSelector": labelled("app", app)});
    let range = |port: u16, end: u16| json!({"port": port, "endPort": end});
    let expression = |key: &str, operator: &str, values: Value| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
    let ingress = |rules: Value| json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": rules});
    let egress = |rules: Value| json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": rules});
    let deny = || json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]});
    let shown = [
        ("exceptions", vec![egress(json!([{"to": [all_but(&[&of("p1"), &out])]}]))]),
        ("exceptions of sources", vec![ingress(json!([{"from": [all_but(&[&of("p2"), &of("p1")])]}]))]),
        (
            "an exception that another policy takes back",
            vec![
                egress(json!([{"to": [all_but(&[&of("p2")])]}])),
                json!({"podSelector": labelled("app", "a"), "policyTypes": ["Egress"],
                "egress": [{"to": [{"ipBlock": {"cidr": of("p2")}}]}]}),
            ],
        ),
        ("both ends of a range", vec![ingress(json!([{"ports": [range(80, 8080)]}]))]),
        ("next to both ends of a range", vec![ingress(json!([{"ports": [range(54, 8079)]}]))]),
        (
            "a port, and no other protocol",
            vec![ingress(json!([{"ports": [{"port": 80}, {"port": 81, "protocol": "UDP"}]}]))],
        ),
        ("a name that is another number elsewhere", vec![ingress(json!([{"ports": [{"port": "web"}]}]))]),
        ("a name at the other end", vec![egress(json!([{"ports": [{"port": "alt"}]}]))]),
        ("two selectors of one peer", vec![ingress(json!([{"from": [both("b", "a")]}]))]),
        ("two peers of one rule", vec![ingress(json!([{"from": [namespaces("b"), pods("app", "b")]}]))]),
        ("a selector of pods alone", vec![egress(json!([{"to": [pods("app", "a")]}]))]),
        (
            "two rules",
            vec![ingress(json!([
                {"from": [pods("app", "a")], "ports": [{"port": 80}]},
                {"from": [namespaces("b")], "ports": [{"port": 81}]},
            ]))],
        ),
        (
            "who lacks a label",
            vec![ingress(
                json!([{"from": [{"namespaceSelector": {}, "podSelector": expression("role", "NotIn", json!(["b"]))}]}]),
            )],
        ),
        (
            "who is selected",
            vec![json!({"podSelector": {"matchExpressions": [{"key": "role", "operator": "Exists"}]}, "ingress": []})],
        ),
        ("types that are not said", vec![json!({"podSelector": {}, "egress": [{"to": [pods("app", "b")]}]})]),
        (
            "rules of a direction that is not listed",
            vec![json!({"podSelector": {}, "policyTypes": ["Ingress"],
            "ingress": [{}], "egress": [{"ports": [{"port": 81}]}]})],
        ),
        (
            "a union",
            vec![deny(), ingress(json!([{"from": [pods("role", "b")]}])), egress(json!([{"to": [pods("app", "a")]}]))],
        ),
    ];
    let named = |specs: Vec<Value>| {
        let made = specs.into_iter().enumerate();
        made.map(|(index, spec)| policy("default", index, serde_json::from_value(spec).unwrap())).collect()
    };
    shown.into_iter().map(|(shows, specs)| Exhibit { shows, policies: named(specs) }).collect()
}
