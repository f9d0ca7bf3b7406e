//! Plans of small scenarios, written as YAML-like JSON.

#![expect(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "tests hand over literals")]

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, sync::Arc};

use serde_json::{Value, json};

use super::*;
use crate::{
    engine::Expectation,
    lab::{ServerId, Source, WorldNamespace},
    probe::{Proof, Target},
    scenario::{LoadedScenario, Manifest, Need, NodeName, Places},
};

fn loaded(scenario: Value, manifests: &[(&str, Value)]) -> LoadedScenario {
    let mut files: BTreeMap<String, Vec<Arc<Manifest>>> = BTreeMap::new();
    for (file, raw) in manifests {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let metadata = &raw["metadata"];
        files.entry((*file).to_owned()).or_default().push(Arc::new(Manifest {
            path: PathBuf::from(file),
            raw: raw.clone(),
            api_version: "networking.k8s.io/v1".to_owned(),
            kind: text(&raw["kind"]),
            name: text(&metadata["name"]),
            namespace: metadata["namespace"].as_str().unwrap_or("default").to_owned(),
            policy: (raw["kind"] == "NetworkPolicy").then(|| Arc::new(serde_json::from_value(raw.clone()).unwrap())),
        }));
    }
    let mut scenario = scenario;
    let fields = scenario.as_object_mut().unwrap();
    fields.entry("id").or_insert(json!("s"));
    fields.entry("title").or_insert(json!("S"));
    let scenario = serde_json::from_value(scenario).unwrap();
    LoadedScenario {
        path: PathBuf::from("s.yaml"),
        shipped: false,
        scenario,
        manifests: files,
        warnings: Vec::new(),
        places: Places::default(),
    }
}

fn policy(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name}, "spec": spec})
}

fn metadata_deny() -> Value {
    policy(
        "deny",
        json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [
        {"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.169.254/32"]}}]}]}),
    )
}

fn metadata_allow() -> Value {
    policy(
        "allow",
        json!({"podSelector": {"matchLabels": {"role": "friend"}}, "policyTypes": ["Egress"], "egress": [
        {"to": [{"ipBlock": {"cidr": "169.254.169.254/32"}}]}]}),
    )
}

fn lab() -> Value {
    json!({
        "metadata": "gcp",
        "namespaces": {"shop": {"labels": {"team": "shop"}}},
        "pods": [
            {"name": "app1"},
            {"name": "app2", "node": "master", "ports": [{"name": "web", "port": 8080}, {"port": 53, "protocol": "UDP"}]},
            {"name": "db", "namespace": "shop", "labels": {"app": "db"}},
        ],
        "outside": [{"name": "bank", "address": "203.0.113.99"}, {"name": "mill"}],
        "services": [{"name": "db", "namespace": "shop", "selector": {"app": "db"}, "port": 8000, "targetPort": 80}],
    })
}

fn plan(expect: Value) -> Result<Vec<PlannedCell>, PlanError> {
    let loaded = loaded(json!({"lab": lab(), "steps": [{"name": "one", "expect": expect}]}), &[]);
    cells(&loaded, 0, &world(&loaded.scenario.lab))
}

fn plan_one(to: Value, from: &str) -> PlannedCell {
    plan(json!([{"to": to, "allow": [from]}])).unwrap().remove(0)
}

#[test]
fn cells_are_in_the_order_of_the_file() {
    let cells = plan(json!([
        {"to": {"metadata": {}}, "deny": ["app1"], "allow": ["node/worker", "shop/db"], "record": ["outside/bank"]},
        {"to": {"pod": "db"}, "status": {"code": 404, "from": ["app1"]}},
    ]))
    .unwrap();
    let found: Vec<_> = cells.iter().map(|cell| (cell.id.as_str(), cell.expectation.clone())).collect();
    assert_eq!(
        found,
        [
            ("node/worker -> metadata:80/tcp", Expectation::Reachable),
            ("shop/db -> metadata:80/tcp", Expectation::Reachable),
            ("app1 -> metadata:80/tcp", Expectation::Blocked),
            ("outside/bank -> metadata:80/tcp", Expectation::Recorded),
            ("app1 -> shop/db:80/tcp", Expectation::Status { code: 404 }),
        ]
    );
    assert_eq!(cells[0].from, Source::Node(NodeName::Worker));
    assert_eq!(cells[1].from, Source::Pod("shop".to_owned(), "db".to_owned()));
}

#[test]
fn first_packets_are_cells_of_their_own() {
    let cells = plan(json!([
        {"to": {"pod": "db"}, "allow": ["app1"]},
        {"to": {"pod": "db"}, "firstPackets": true, "allow": ["app1"]},
    ]))
    .unwrap();
    let ids: Vec<_> = cells.iter().map(|cell| (cell.id.as_str(), cell.first)).collect();
    assert_eq!(ids, [("app1 -> shop/db:80/tcp", None), ("app1 -> shop/db:80/tcp at first", Some(NewPod::Asks))]);
    assert_eq!(cells[1].needs, [Need::FirstPackets].into());
}

#[test]
fn ids_say_what_is_unusual() {
    for (to, id, needs) in [
        (json!({"metadata": {}}), "app1 -> metadata:80/tcp", vec![Need::Metadata]),
        (json!({"metadata": {"by": "name"}}), "app1 -> metadata:80/tcp by name", vec![Need::Metadata, Need::Dns]),
        (
            json!({"metadata": {"path": "computeMetadata/v1/project/"}, "headers": {"A": "b"}}),
            "app1 -> metadata:80/tcp /computeMetadata/v1/project/ [A: b]",
            vec![Need::Metadata],
        ),
        (
            json!({"metadata": {"path": "/computeMetadata/v1/instance/image"}, "family": "ipv6"}),
            "app1 -> metadata:80/tcp over ipv6",
            vec![Need::Metadata, Need::Ipv6],
        ),
        (json!({"pod": "app2"}), "app1 -> app2:8080/tcp", vec![]),
        (json!({"pod": "app2", "protocol": "UDP"}), "app1 -> app2:53/udp", vec![Need::Udp]),
        (json!({"pod": "app2", "protocol": "SCTP", "port": 7}), "app1 -> app2:7/sctp", vec![Need::Sctp]),
        (json!({"pod": "app2", "sourcePort": 5353}), "app1 -> app2:8080/tcp from port 5353", vec![]),
        (json!({"pod": "shop/db", "path": "x"}), "app1 -> shop/db:80/tcp /x", vec![]),
        (json!({"service": "db"}), "app1 -> service/shop/db:8000/tcp", vec![Need::Services, Need::Dns]),
        (json!({"outside": "bank"}), "app1 -> outside/bank:80/tcp", vec![Need::Outside]),
        (json!({"node": "master"}), "app1 -> node/master:9999/tcp", vec![Need::NodeServer]),
        (json!({"dns": "kubernetes.default"}), "app1 -> dns/kubernetes.default", vec![Need::Dns]),
        (json!({"apiserver": {}}), "app1 -> apiserver:443/tcp", vec![Need::Apiserver]),
        (
            json!({"apiserver": {"as": "token", "node": "worker"}, "path": "/status"}),
            "app1 -> apiserver:443/tcp nodes/worker /status with its token",
            vec![Need::Apiserver],
        ),
        (
            json!({"apiserver": {"as": "node", "node": "worker", "patch": {"spec": {"unschedulable": true}}}}),
            "app1 -> apiserver:443/tcp nodes/worker PATCH {\"spec\":{\"unschedulable\":true}} as the kubelet",
            vec![Need::Apiserver, Need::NodeCredential],
        ),
        (json!({"kubelet": {"node": "worker"}}), "app1 -> kubelet/worker:10250/tcp", vec![Need::Kubelet]),
        (
            json!({"kubelet": {"node": "master", "readOnly": true}, "path": "/pods"}),
            "app1 -> kubelet-read-only/master:10255/tcp /pods",
            vec![Need::Kubelet],
        ),
    ] {
        let cell = plan_one(to, "app1");
        assert_eq!(cell.id, id);
        assert_eq!(cell.needs, needs.into_iter().collect(), "{id}");
    }
    assert!(plan_one(json!({"pod": "app2"}), "node/master").needs.contains(&Need::NodeSource));
}

#[test]
fn requests_carry_what_the_target_needs() {
    let target = |to| match plan_one(to, "app1").target {
        Some(Target::Http { tls, host, port, path, headers, proof, .. }) => {
            let headers: Vec<_> = headers.into_iter().map(|(key, value)| format!("{key}: {value}")).collect();
            let nonce = match proof {
                Proof::Header(nonce) => nonce,
                other => format!("{other:?}"),
            };
            format!("{tls} {host} {port} {path} {} {nonce}", headers.join(","))
        }
        Some(Target::Resolve { name, .. }) => format!("resolve {name}"),
        Some(Target::Udp { host, port, .. }) => format!("udp {host} {port}"),
        None => "none".to_owned(),
    };
    for (to, text) in [
        (
            json!({"metadata": {}}),
            "false 169.254.169.254 80 /computeMetadata/v1/instance/image Metadata-Flavor: Google Policyprobe-Nonce",
        ),
        (
            json!({"metadata": {"by": "name", "path": "/"}, "headers": {"metadata-flavor": "None"}}),
            "false metadata.google.internal 80 / metadata-flavor: None Policyprobe-Nonce",
        ),
        (json!({"pod": "app2"}), "false 10.244.0.3 8080 /  Policyprobe-Nonce"),
        (json!({"service": "shop/db"}), "false db.shop.svc.cluster.local 8000 /  Policyprobe-Nonce"),
        (json!({"apiserver": {}}), "true 10.96.0.1 443 /version  Audit-ID"),
        (json!({"apiserver": {"node": "worker"}}), "true 10.96.0.1 443 /api/v1/nodes/worker  Audit-ID"),
        (
            json!({"apiserver": {"node": "worker", "patch": {"spec": {}}}, "path": "status"}),
            "true 10.96.0.1 443 /api/v1/nodes/worker/status?dryRun=All  Audit-ID",
        ),
        (json!({"kubelet": {"node": "worker"}, "path": "/pods"}), "true 172.18.0.3 10250 /pods  Nothing"),
        (json!({"kubelet": {"node": "worker", "readOnly": true}}), "false 172.18.0.3 10255 /healthz  Nothing"),
        (json!({"dns": "a.b"}), "resolve a.b"),
        (json!({"pod": "app2", "protocol": "UDP"}), "udp 10.244.0.3 53"),
        (json!({"pod": "app2", "protocol": "SCTP", "port": 7}), "none"),
        (json!({"outside": "mill", "family": "ipv6"}), "none"),
    ] {
        assert_eq!(target(to), text);
    }
}

#[test]
fn servers_are_identified() {
    let cell = plan_one(json!({"service": "db"}), "app1");
    assert_eq!(cell.server, ServerId::Pod("shop".to_owned(), "db".to_owned()));
    assert_eq!(cell.identity, "pod/shop/db");
    assert_eq!((cell.port, cell.server_port, cell.by_name), (8000, 80, true));
    let cell = plan_one(json!({"outside": "bank"}), "app1");
    assert_eq!(cell.address, Some(IpAddr::from([203, 0, 113, 99])));
}

#[test]
fn what_cannot_be_planned_is_said() {
    for (expect, message) in [
        (
            json!([{"to": {"metadata": {}}, "allow": ["app1"], "deny": ["app1"]}]),
            "`app1 -> metadata:80/tcp` is expected twice",
        ),
        (json!([{"to": {"pod": "nobody"}, "allow": ["app1"]}]), "there is no pod `nobody`"),
        (json!([{"to": {"pod": "app2"}, "allow": ["node/slave"]}]), "there is no node `node/slave`"),
        (json!([{"to": {"pod": "app1", "protocol": "UDP"}, "allow": ["app2"]}]), "`app1` serves nothing over UDP"),
        (json!([{"to": {}, "allow": ["app2"]}]), "a destination names nobody"),
        (
            json!([{"to": {"outside": "bank", "family": "ipv6"}, "allow": ["app2"]}]),
            "the outside host `bank` has no IPv6 address: its own is 203.0.113.99",
        ),
    ] {
        assert_eq!(plan(expect).unwrap_err().message, message);
    }
    let loaded = loaded(
        json!({
            "lab": {"pods": [{"name": "a"}, {"name": "a", "namespace": "x"}]},
            "steps": [{"name": "one", "expect": [{"to": {"pod": "late"}, "allow": ["default/a"]}]},
                      {"name": "two", "create": [{"name": "late"}], "expect": [{"to": {"pod": "late"}, "allow": ["a"]}]}],
        }),
        &[],
    );
    let mut state = ClusterState::new(world(&loaded.scenario.lab));
    assert_eq!(cells(&loaded, 0, state.world()).unwrap_err().message, "the pod `late` is not there in this step");
    state.advance(&loaded, &loaded.scenario.steps[1]).unwrap();
    assert_eq!(cells(&loaded, 1, state.world()).unwrap_err().hint.unwrap(), "write `default/a` or `x/a`");
}

#[test]
fn scenarios_need_what_their_lab_and_actions_do() {
    let needs = |scenario, manifests: &[(&str, Value)]| scenario_needs(&loaded(scenario, manifests));
    assert_eq!(needs(json!({"steps": []}), &[]), [].into());
    assert_eq!(
        needs(json!({"lab": lab(), "needs": ["disruptive"], "steps": []}), &[]),
        [Need::Metadata, Need::Outside, Need::Services, Need::Disruptive].into()
    );
    let vendor = json!({"kind": "CiliumNetworkPolicy", "metadata": {"name": "v"}});
    let step = |step| json!({"steps": [step]});
    assert_eq!(
        needs(step(json!({"name": "one", "apply": ["v.yaml"]})), &[("v.yaml", vendor)]),
        [Need::Apiserver].into()
    );
    assert_eq!(needs(step(json!({"name": "one", "apply": ["d.yaml"]})), &[("d.yaml", metadata_deny())]), [].into());
    assert_eq!(
        needs(step(json!({"name": "one", "restart": ["a"], "create": [{"name": "b", "hostNetwork": true}]})), &[]),
        [Need::Restart, Need::HostNetwork].into()
    );
}

/// The steps' cells as `+` (reachable) or `-` (blocked) by the simulator.
fn decided(loaded: &LoadedScenario) -> Vec<String> {
    let mark = |oracle: &CellOracle| match oracle.decision {
        Some(crate::policy::Decision::Allow(_)) => '+',
        Some(crate::policy::Decision::Deny(_)) => '-',
        Some(crate::policy::Decision::Undefined { .. }) => '?',
        None => '0',
    };
    judge(loaded, &world(&loaded.scenario.lab))
        .unwrap()
        .iter()
        .map(|step| step.cells.iter().map(mark).collect())
        .collect()
}

#[test]
fn states_follow_the_actions() {
    let expect = json!([{"to": {"metadata": {}}, "record": ["a", "b"]}]);
    let step = |mut step: Value| {
        step["name"] = json!("s");
        step["expect"] = expect.clone();
        step
    };
    let loaded = loaded(
        json!({
            "lab": {"metadata": "gcp", "pods": [{"name": "a"}, {"name": "b", "labels": {"role": "friend"}}]},
            "steps": [
                step(json!({})),
                step(json!({"apply": ["deny.yaml"]})),
                step(json!({"apply": ["allow.yaml"]})),
                step(json!({"label": [{"pod": "a", "set": {"role": "friend"}}, {"pod": "b", "remove": ["role"]}]})),
                step(json!({"recreate": ["a"]})),
                // The same name again: the object is replaced.
                step(json!({"apply": ["other.yaml"]})),
                step(json!({"delete": ["deny.yaml"]})),
                step(json!({"delete": ["allow.yaml"]})),
            ],
        }),
        &[
            ("deny.yaml", metadata_deny()),
            ("allow.yaml", metadata_allow()),
            ("other.yaml", policy("allow", json!({"podSelector": {}, "policyTypes": ["Egress"]}))),
        ],
    );
    assert_eq!(decided(&loaded), ["++", "--", "-+", "+-", "+-", "--", "--", "++"]);
}

#[test]
fn a_recreated_pod_has_a_new_address() {
    let loaded = loaded(
        json!({"lab": {"pods": [{"name": "a"}, {"name": "b"}]}, "steps": [{"name": "s", "recreate": ["a"]}]}),
        &[],
    );
    let mut state = ClusterState::new(world(&loaded.scenario.lab));
    let before = state.world().pods.clone();
    state.advance(&loaded, &loaded.scenario.steps[0]).unwrap();
    assert_ne!(state.world().pods[0].addresses, before[0].addresses);
    assert_eq!(state.world().pods[1], before[1]);
}

#[test]
fn namespaces_are_literal_for_the_simulator() {
    let into = policy(
        "in",
        json!({"podSelector": {}, "ingress": [{"from": [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}}]}]}),
    );
    let loaded = loaded(
        json!({"lab": lab(), "steps": [{"name": "s", "apply": ["in.yaml"], "expect": [
            {"to": {"pod": "app1"}, "allow": ["shop/db"], "deny": ["app2"]}]}]}),
        &[("in.yaml", into)],
    );
    let mut renamed = world(&loaded.scenario.lab);
    for (logical, namespace) in &mut renamed.namespaces {
        let literal = format!("pp-1-{logical}");
        let labels = [("kubernetes.io/metadata.name".to_owned(), literal.clone())].into();
        *namespace = WorldNamespace { literal, labels };
    }
    let steps = agree(&loaded, &renamed).unwrap();
    assert_eq!(steps[0].cells[0].decided_by().unwrap(), "allowed by pp-1-default/in ingress[0].from[0]");
}

#[test]
fn disagreements_say_where_and_why() {
    let step = |expect: Value| {
        let scenario = json!({"lab": lab(), "steps": [{"name": "deny", "apply": ["deny.yaml"], "expect": [expect]}]});
        let loaded = loaded(scenario, &[("deny.yaml", metadata_deny())]);
        agree(&loaded, &world(&loaded.scenario.lab)).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(
        step(json!({"to": {"metadata": {}}, "allow": ["app1"]})).unwrap_err(),
        "s, step `deny`: app1 -> metadata:80/tcp: expected to be reachable, but it is isolated for egress by \
         default/deny, no rule allows it"
    );
    assert_eq!(
        step(json!({"to": {"pod": "app2"}, "deny": ["app1"]})).unwrap_err(),
        "s, step `deny`: app1 -> app2:8080/tcp: expected to be blocked, but it is allowed by default/deny \
         egress[0].to[0]"
    );
    assert_eq!(step(json!({"to": {"metadata": {}}, "record": ["app1"]})), Ok(()));
    assert_eq!(step(json!({"to": {"metadata": {}}, "deny": ["app1"], "allow": ["node/worker", "shop/db"]})), Ok(()));
    assert_eq!(step(json!({"to": {"dns": "kubernetes.default"}, "allow": ["app1"]})), Ok(()));
    assert_eq!(step(json!({"to": {"apiserver": {}}, "allow": ["app1", "app2"]})), Ok(()));
    assert_eq!(step(json!({"to": {"service": "db"}, "allow": ["app1"]})), Ok(()));
    assert_eq!(step(json!({"to": {"metadata": {"by": "name"}}, "deny": ["app1"]})), Ok(()));
}

#[test]
fn the_undefined_is_recorded_or_of_another_tier() {
    let scenario = |tier: &str| {
        let deny = policy("deny", json!({"podSelector": {}, "policyTypes": ["Egress"]}));
        let expect = json!([{"to": {"node": "worker"}, "deny": ["app1"]}]);
        let scenario =
            json!({"tier": tier, "lab": lab(), "steps": [{"name": "s", "apply": ["d.yaml"], "expect": expect}]});
        loaded(scenario, &[("d.yaml", deny)])
    };
    let agreed = |tier| agree(&scenario(tier), &world(&scenario(tier).scenario.lab)).is_ok();
    assert!(!agreed("required"));
    assert!(agreed("undefined"));
}

#[test]
fn a_name_behind_a_cut_dns_is_no_verdict() {
    let deny = policy("deny", json!({"podSelector": {}, "policyTypes": ["Egress"]}));
    let scenario = json!({"lab": lab(), "steps": [{"name": "s", "apply": ["d.yaml"], "expect": [
        {"to": {"metadata": {"by": "name"}}, "deny": ["app1"]}]}]});
    let loaded = loaded(scenario, &[("d.yaml", deny)]);
    let error = agree(&loaded, &world(&loaded.scenario.lab)).unwrap_err().to_string();
    assert!(error.contains("the name cannot be counted on"), "{error}");
}

#[test]
fn what_is_not_modelled_leaves_one_oracle() {
    let vendor = json!({"kind": "CiliumNetworkPolicy", "metadata": {"name": "v"}});
    let expect = json!([{"to": {"pod": "app2"}, "deny": ["app1"]}]);
    let loaded = loaded(
        json!({"lab": lab(), "steps": [
            {"name": "one", "apply": ["v.yaml"], "expect": expect},
            {"name": "two", "delete": ["v.yaml"], "expect": expect},
        ]}),
        &[("v.yaml", vendor)],
    );
    let steps = judge(&loaded, &world(&loaded.scenario.lab)).unwrap();
    let found: Vec<_> = steps.iter().map(|step| (step.two_oracles, step.cells[0].disagreement.is_some())).collect();
    assert_eq!(found, [(false, false), (true, true)]);
}
