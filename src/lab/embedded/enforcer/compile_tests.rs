//! What policies compile to, by the API reference.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::*;
use crate::scenario::{PortSpec, Protocol};

fn pod(namespace: &str, name: &str, address: &str) -> Pod {
    Pod {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        labels: [("app".to_owned(), name.to_owned())].into(),
        addresses: vec![address.parse().unwrap()],
        ports: vec![
            PortSpec { name: Some("web".to_owned()), port: 8080, protocol: Protocol::Tcp },
            PortSpec { name: Some("dns".to_owned()), port: 53, protocol: Protocol::Udp },
        ],
        node: NodeName::Worker,
    }
}

fn cluster(specs: &[Value]) -> Cluster {
    let namespace = |name: &str| (name.to_owned(), [("team".to_owned(), name.to_owned())].into());
    let policy = |(index, spec): (usize, &Value)| {
        let metadata = json!({"name": format!("p{index}"), "namespace": "default"});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
    };
    Cluster {
        namespaces: [namespace("default"), namespace("other")].into(),
        pods: vec![pod("default", "a", "10.0.0.1"), pod("default", "b", "10.0.0.2"), pod("other", "c", "10.0.0.3")],
        policies: specs.iter().enumerate().map(policy).collect(),
    }
}

fn rules_of(specs: &[Value], pod: &str) -> PodRules {
    let ruleset = compile(&cluster(specs), NodeName::Worker).unwrap();
    ruleset.pods.into_iter().find(|rules| rules.pod == pod).unwrap()
}

/// Whether a direction lets a connection with this other end pass.
fn passes(direction: &Direction, other: &str, protocol: Protocol, port: u16) -> bool {
    let other: IpAddr = other.parse().unwrap();
    match direction {
        Direction::Open => true,
        Direction::Isolated(accepts) => accepts.iter().any(|accept| {
            let port_meant = |ports: &Vec<PortRange>| ports.iter().any(|range| range.contains(protocol, port));
            accept.peers.contains(other) && accept.ports.as_ref().is_none_or(port_meant)
        }),
    }
}

fn tcp(direction: &Direction, other: &str) -> bool {
    passes(direction, other, Protocol::Tcp, 80)
}

#[test]
fn without_a_policy_both_directions_are_open() {
    let rules = rules_of(&[], "default/a");
    assert_eq!((rules.egress, rules.ingress), (Direction::Open, Direction::Open));
}

#[test]
fn policy_types_have_their_defaults() {
    let open = Direction::Open;
    let shut = || Direction::Isolated(Vec::new());
    for (spec, egress, ingress) in [
        (json!({"podSelector": {}}), open.clone(), shut()),
        (json!({"podSelector": {}, "egress": []}), open.clone(), shut()),
        (json!({"podSelector": {}, "policyTypes": ["Egress"]}), shut(), open.clone()),
        (json!({"podSelector": {}, "policyTypes": ["Egress", "Ingress"]}), shut(), shut()),
    ] {
        let rules = rules_of(std::slice::from_ref(&spec), "default/a");
        assert_eq!((rules.egress, rules.ingress), (egress, ingress), "{spec}");
    }
    let implied = rules_of(&[json!({"podSelector": {}, "egress": [{}]})], "default/a");
    assert!(matches!(implied.egress, Direction::Isolated(_)) && matches!(implied.ingress, Direction::Isolated(_)));
    assert!(tcp(&implied.egress, "1.2.3.4") && !tcp(&implied.ingress, "1.2.3.4"));
}

#[test]
fn a_policy_is_about_its_own_namespace() {
    let deny = json!({"podSelector": {}, "policyTypes": ["Egress"]});
    assert_eq!(rules_of(&[deny], "other/c").egress, Direction::Open);
}

#[test]
fn policies_add_up() {
    let to = |cidr: &str| json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": [{"ipBlock": {"cidr": cidr}}]}]});
    let egress = rules_of(&[to("1.0.0.0/8"), to("2.0.0.0/8")], "default/a").egress;
    assert!(tcp(&egress, "1.1.1.1") && tcp(&egress, "2.2.2.2") && !tcp(&egress, "3.3.3.3"));
}

#[test]
fn the_exception_of_one_policy_is_no_denial_in_another() {
    let all_but = json!({"podSelector": {}, "policyTypes": ["Egress"],
        "egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.169.254/32"]}}]}]});
    let only = json!({"podSelector": {"matchLabels": {"app": "b"}}, "policyTypes": ["Egress"],
        "egress": [{"to": [{"ipBlock": {"cidr": "169.254.169.254/32"}}]}]});
    let specs = [all_but, only];
    assert!(!tcp(&rules_of(&specs, "default/a").egress, "169.254.169.254"));
    assert!(tcp(&rules_of(&specs, "default/b").egress, "169.254.169.254"));
}

#[test]
fn selectors_of_a_peer() {
    let ingress = |peer: &Value| {
        let spec = json!({"podSelector": {"matchLabels": {"app": "a"}}, "ingress": [{"from": [peer]}]});
        let ingress = rules_of(&[spec], "default/a").ingress;
        ["10.0.0.2", "10.0.0.3", "9.9.9.9"].map(|other| tcp(&ingress, other))
    };
    assert_eq!(ingress(&json!({"podSelector": {}})), [true, false, false]);
    assert_eq!(ingress(&json!({"namespaceSelector": {}})), [true, true, false]);
    let other = json!({"matchLabels": {"team": "other"}});
    assert_eq!(ingress(&json!({"namespaceSelector": other})), [false, true, false]);
    let nobody = json!({"namespaceSelector": other, "podSelector": {"matchLabels": {"app": "b"}}});
    assert_eq!(ingress(&nobody), [false, false, false]);
}

#[test]
fn ports_by_number_range_protocol_and_none() {
    let egress = |ports: &Value| {
        let spec = json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"ports": ports}]});
        rules_of(&[spec], "default/a").egress
    };
    let number = egress(&json!([{"port": 443}]));
    assert!(passes(&number, "1.1.1.1", Protocol::Tcp, 443) && !passes(&number, "1.1.1.1", Protocol::Udp, 443));
    let range = egress(&json!([{"port": 80, "endPort": 90, "protocol": "UDP"}]));
    for (port, expected) in [(79, false), (80, true), (90, true), (91, false)] {
        assert_eq!(passes(&range, "1.1.1.1", Protocol::Udp, port), expected, "{port}");
    }
    let protocol = egress(&json!([{"protocol": "SCTP"}]));
    assert!(passes(&protocol, "1.1.1.1", Protocol::Sctp, 65535) && !passes(&protocol, "1.1.1.1", Protocol::Tcp, 80));
    let none = egress(&json!([]));
    assert!(passes(&none, "1.1.1.1", Protocol::Udp, 1));
}

#[test]
fn a_named_port_is_that_of_the_end_that_is_connected_to() {
    let ports = json!([{"port": "web"}]);
    let ingress = rules_of(&[json!({"podSelector": {}, "ingress": [{"ports": ports}]})], "default/a").ingress;
    assert!(passes(&ingress, "1.1.1.1", Protocol::Tcp, 8080) && !passes(&ingress, "1.1.1.1", Protocol::Tcp, 80));

    let spec = json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"ports": ports}]});
    let egress = rules_of(std::slice::from_ref(&spec), "default/a").egress;
    assert!(passes(&egress, "10.0.0.3", Protocol::Tcp, 8080), "a pod with that port");
    assert!(!passes(&egress, "1.1.1.1", Protocol::Tcp, 8080), "nobody's port");
    let udp = json!([{"port": "web", "protocol": "UDP"}]);
    let ingress = rules_of(&[json!({"podSelector": {}, "ingress": [{"ports": udp}]})], "default/a").ingress;
    assert!(!passes(&ingress, "1.1.1.1", Protocol::Udp, 8080), "the protocol belongs to the name");
}

#[test]
fn faulty_policies_are_errors() {
    for egress in [
        json!([{"ports": [{"port": 0}]}]),
        json!([{"ports": [{"port": 90, "endPort": 80}]}]),
        json!([{"ports": [{"port": "web", "endPort": 80}]}]),
        json!([{"ports": [{"protocol": "tcp"}]}]),
        json!([{"to": [{}]}]),
        json!([{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]}]),
        json!([{"to": [{"ipBlock": {"cidr": "metadata"}}]}]),
    ] {
        let spec = json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": egress});
        let faulty = cluster(std::slice::from_ref(&spec));
        assert!(compile(&faulty, NodeName::Worker).is_err(), "{spec}");
        assert!(check(&faulty.policies[0]).is_err(), "{spec}");
    }
    let types = json!({"podSelector": {}, "policyTypes": ["egress"]});
    assert!(compile(&cluster(&[types]), NodeName::Worker).is_err());
}

#[test]
fn a_fault_shows_also_where_nobody_is_selected() {
    let selector = json!({"matchLabels": {"app": "nobody"}});
    let block = json!([{"from": [{"ipBlock": {"cidr": "10.0.0.0/99"}}]}]);
    let faulty = cluster(&[json!({"podSelector": selector, "ingress": block})]);
    assert!(compile(&faulty, NodeName::Worker).is_ok() && check(&faulty.policies[0]).is_err());
    let fine = cluster(&[json!({"podSelector": selector, "ingress": [{"ports": [{"port": "web"}]}]})]);
    assert_eq!(check(&fine.policies[0]), Ok(()));
}
