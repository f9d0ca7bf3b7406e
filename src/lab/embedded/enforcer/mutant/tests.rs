//! What mutants do to a small cluster: `a` and `b` of `default` on the worker, `c` of `other` on the master.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::super::{Agent, Cluster, Direction, Mutant, Pod, Quirk, Ruleset};
use crate::scenario::{Labels, NodeName, PortSpec, Protocol};

const A: &str = "10.0.0.1";
const B: &str = "10.0.0.2";
const C: &str = "10.0.0.3";
const ELSEWHERE: &str = "9.9.9.9";

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn pod(namespace: &str, name: &str, address: &str, node: NodeName, web: u16) -> Pod {
    Pod {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        labels: labels(&[("app", name), ("kind", "pod")]),
        addresses: vec![address.parse().unwrap()],
        ports: vec![PortSpec { name: Some("web".to_owned()), port: web, protocol: Protocol::Tcp }],
        node,
    }
}

fn cluster(specs: &[Value]) -> Cluster {
    let policies = specs.iter().enumerate();
    Cluster {
        namespaces: [("default", "own"), ("other", "default")]
            .map(|(name, team)| (name.to_owned(), labels(&[("team", team), ("kubernetes.io/metadata.name", name)])))
            .into(),
        pods: vec![
            pod("default", "a", A, NodeName::Worker, 80),
            pod("default", "b", B, NodeName::Worker, 81),
            pod("other", "c", C, NodeName::Master, 82),
        ],
        policies: policies.map(|(index, spec)| policy(&format!("p{index}"), "default", spec)).collect(),
    }
}

fn policy(name: &str, namespace: &str, spec: &Value) -> k8s_openapi::api::networking::v1::NetworkPolicy {
    serde_json::from_value(json!({"metadata": {"name": name, "namespace": namespace}, "spec": spec})).unwrap()
}

fn direction(rulesets: &[Ruleset; 2], pod: &str, is_egress: bool) -> Direction {
    let rules = rulesets.iter().flat_map(|ruleset| &ruleset.pods).find(|rules| rules.pod == pod).unwrap();
    if is_egress { rules.egress.clone() } else { rules.ingress.clone() }
}

fn lets(direction: &Direction, peer: &str, protocol: Protocol, port: u16) -> bool {
    let peer: IpAddr = peer.parse().unwrap();
    match direction {
        Direction::Open => true,
        Direction::Isolated(accepts) => accepts.iter().any(|accept| {
            let on_port = accept.ports.as_ref().is_none_or(|all| all.iter().any(|it| it.contains(protocol, port)));
            accept.peers.contains(peer) && on_port
        }),
    }
}

fn tcp(direction: &Direction, peer: &str) -> bool {
    lets(direction, peer, Protocol::Tcp, 80)
}

/// Who reaches `a` (TCP 80): `a`, `b`, `c`, somebody elsewhere.
fn reach_a(mutant: Option<Mutant>, ingress: &Value) -> [bool; 3] {
    let spec = json!({"podSelector": {"matchLabels": {"app": "a"}}, "ingress": ingress});
    let rulesets = Agent::new(mutant).rulesets(&cluster(&[spec])).unwrap();
    let ingress = direction(&rulesets, "default/a", false);
    [B, C, ELSEWHERE].map(|peer| tcp(&ingress, peer))
}

/// On which of these ports `b` reaches `a`.
fn ports_of_a(mutant: Option<Mutant>, rules: &Value, protocol: Protocol) -> Vec<u16> {
    let spec = json!({"podSelector": {"matchLabels": {"app": "a"}}, "ingress": rules});
    let rulesets = Agent::new(mutant).rulesets(&cluster(&[spec])).unwrap();
    let ingress = direction(&rulesets, "default/a", false);
    (79..=84).filter(|port| lets(&ingress, B, protocol, *port)).collect()
}

#[test]
fn no_mutant_is_the_compiler_itself() {
    let cluster = cluster(&[json!({"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}]})]);
    let [master, worker] = Agent::new(None).rulesets(&cluster).unwrap();
    assert_eq!(super::super::compile(&cluster, NodeName::Master).unwrap(), master);
    assert_eq!(super::super::compile(&cluster, NodeName::Worker).unwrap(), worker);
    assert_eq!(worker.quirk, None);
}

#[test]
fn peers() {
    let app = |name: &str| json!({"podSelector": {"matchLabels": {"app": name}}});
    let both = json!({"namespaceSelector": {"matchLabels": {"team": "default"}}, "podSelector": {"matchLabels": {"app": "b"}}});
    let others = json!({"namespaceSelector": {"matchLabels": {"team": "default"}}});
    let except = json!({"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.3/32", "10.0.0.2/32"]}});
    let of = |peers: &[&Value]| json!([{"from": peers}]);
    for (mutant, rules, right, wrong) in [
        (Mutant::FirstPeerOnly, of(&[&app("b"), &others]), [true, true, false], [true, false, false]),
        (Mutant::AndsPeers, of(&[&app("b"), &app("a")]), [true, false, false], [false, false, false]),
        (Mutant::OrsSelectors, of(&[&both]), [false, false, false], [true, true, false]),
        (Mutant::EmptyPeerIsNobody, of(&[&json!({"podSelector": {}})]), [true, false, false], [false; 3]),
        (
            Mutant::EmptyNamespaceSelectorIsOwn,
            of(&[&json!({"namespaceSelector": {}})]),
            [true, true, false],
            [true, false, false],
        ),
        (Mutant::IgnoresNamespaceSelector, of(&[&both]), [false; 3], [true, false, false]),
        (Mutant::IgnoresPodSelectorInNamespace, of(&[&both]), [false; 3], [false, true, false]),
        (
            Mutant::PodSelectorInEveryNamespace,
            of(&[&json!({"podSelector": {}})]),
            [true, false, false],
            [true, true, false],
        ),
        (Mutant::NamespaceByName, of(&[&others]), [false, true, false], [true, false, false]),
        (Mutant::NamespaceLabelsUnknown, of(&[&others]), [false, true, false], [false; 3]),
        (Mutant::DropsRulesWithExcept, of(&[&except]), [false, false, true], [false; 3]),
        (Mutant::IgnoresExcept, of(&[&except]), [false, false, true], [true; 3]),
        (Mutant::FirstExceptOnly, of(&[&except]), [false, false, true], [true, false, true]),
        (
            Mutant::ExceptDenies,
            of(&[&except, &json!({"ipBlock": {"cidr": "10.0.0.2/32"}})]),
            [true, false, true],
            [false, false, true],
        ),
        (
            Mutant::IpBlockWithoutPods,
            of(&[&json!({"ipBlock": {"cidr": "0.0.0.0/0"}})]),
            [true; 3],
            [false, false, true],
        ),
        (
            Mutant::IpBlockIsOneAddress,
            of(&[&json!({"ipBlock": {"cidr": "10.0.0.2/31"}})]),
            [true, true, false],
            [true, false, false],
        ),
        (Mutant::AbsentPeersAreNobody, json!([{}]), [true; 3], [false; 3]),
        (Mutant::EmptyPeersAreNobody, json!([{"from": []}]), [true; 3], [false; 3]),
    ] {
        assert_eq!(reach_a(None, &rules), right, "{mutant}: without it");
        assert_eq!(reach_a(Some(mutant), &rules), wrong, "{mutant}");
    }
}

#[test]
fn ports_and_rules() {
    let range = json!([{"ports": [{"port": 80, "endPort": 82}]}]);
    let two = json!([{"ports": [{"port": 80}, {"port": 81}]}]);
    let named = json!([{"from": [{"podSelector": {}}], "ports": [{"port": "web"}]}]);
    let udp = json!([{"ports": [{"port": 80, "protocol": "UDP"}]}]);
    let by_peer = json!([
        {"from": [{"podSelector": {"matchLabels": {"app": "b"}}}], "ports": [{"port": 80}]},
        {"from": [{"podSelector": {"matchLabels": {"app": "c"}}}], "ports": [{"port": 81}]},
    ]);
    let all = || (79..=84).collect::<Vec<u16>>();
    for (mutant, rules, right, wrong) in [
        (Mutant::FirstPortOnly, &two, vec![80, 81], vec![80]),
        (Mutant::IgnoresPorts, &two, vec![80, 81], all()),
        (Mutant::IgnoresPortsOfPeers, &by_peer, vec![80], all()),
        (Mutant::IgnoresPeersOfPorts, &by_peer, vec![80], vec![80, 81]),
        (Mutant::IgnoresEndPort, &range, vec![80, 81, 82], vec![80]),
        (Mutant::EndPortIsSecondPort, &range, vec![80, 81, 82], vec![80, 82]),
        (Mutant::EndPortExcluded, &range, vec![80, 81, 82], vec![80, 81]),
        (Mutant::EndPortTooFar, &range, vec![80, 81, 82], vec![80, 81, 82, 83]),
        (Mutant::IgnoresProtocol, &udp, vec![], vec![80]),
        (Mutant::ProtocolWithoutPortIsNothing, &json!([{"ports": [{"protocol": "TCP"}]}]), all(), vec![]),
        (Mutant::IgnoresNamedPorts, &named, vec![80], vec![]),
        (Mutant::NamedPortOfSource, &named, vec![80], vec![80, 81]),
        (Mutant::CrossMultipliesRules, &by_peer, vec![80], vec![80, 81]),
        (Mutant::FirstRuleOnly, &json!([{"ports": [{"port": 80}]}, {"ports": [{"port": 81}]}]), vec![80, 81], vec![80]),
        (Mutant::LastRuleOnly, &json!([{"ports": [{"port": 80}]}, {"ports": [{"port": 81}]}]), vec![80, 81], vec![81]),
    ] {
        assert_eq!(ports_of_a(None, rules, Protocol::Tcp), right, "{mutant}: without it");
        assert_eq!(ports_of_a(Some(mutant), rules, Protocol::Tcp), wrong, "{mutant}");
    }
    assert_eq!(ports_of_a(Some(Mutant::ProtocolDefaultsToAny), &two, Protocol::Udp), [80, 81]);
}

#[test]
fn selectors() {
    let expressions = |all: Value| json!([{"from": [{"podSelector": {"matchExpressions": all}}]}]);
    let one = |key: &str, operator: &str, values: &[&str]| {
        expressions(json!([{"key": key, "operator": operator, "values": values}]))
    };
    let labels = |all: Value| json!([{"from": [{"podSelector": {"matchLabels": all}}]}]);
    let beside = json!([{"from": [{"podSelector": {
        "matchLabels": {"kind": "pod"}, "matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["b"]}]}}]}]);
    let several = json!([
        {"key": "app", "operator": "In", "values": ["b"]}, {"key": "kind", "operator": "In", "values": ["node"]}]);
    for (mutant, rules, right, wrong) in [
        (Mutant::LabelsAreAlternatives, labels(json!({"app": "b", "kind": "node"})), false, true),
        (Mutant::ExpressionsAreAlternatives, expressions(several), false, true),
        (Mutant::IgnoresExpressionsBesideLabels, beside, false, true),
        (Mutant::FirstValueOfIn, one("app", "In", &["a", "b"]), true, false),
        (Mutant::FirstValueOfNotIn, one("app", "NotIn", &["a", "b"]), false, true),
        (Mutant::NotInNeedsLabel, one("absent", "NotIn", &["a"]), true, false),
        (Mutant::ExistsIsEmptyValue, one("app", "Exists", &[]), true, false),
        (Mutant::IgnoresDoesNotExist, one("app", "DoesNotExist", &[]), false, true),
        (Mutant::EmptyValueMatchesAbsent, labels(json!({"absent": ""})), false, true),
        (Mutant::IgnoresKeyPrefix, labels(json!({"example.org/app": "b"})), false, true),
        (Mutant::IgnoresCase, labels(json!({"app": "B"})), false, true),
    ] {
        assert_eq!(reach_a(None, &rules)[0], right, "{mutant}: without it");
        assert_eq!(reach_a(Some(mutant), &rules)[0], wrong, "{mutant}");
    }
}

#[test]
fn whole_policies() {
    let isolated = |mutant, specs: &[Value], pod: &str, is_egress| {
        let rulesets = Agent::new(mutant).rulesets(&cluster(specs)).unwrap();
        !tcp(&direction(&rulesets, pod, is_egress), C)
    };
    let deny = |types: Value| json!({"podSelector": {}, "policyTypes": types});
    let allow = json!({"podSelector": {"matchLabels": {"app": "a"}}, "ingress": [{}]});
    let egress = json!({"podSelector": {}, "egress": [{"to": [{"podSelector": {}}]}]});
    for (mutant, specs, pod, is_egress, right) in [
        (Mutant::IgnoresEgress, vec![deny(json!(["Egress"]))], "default/a", true, true),
        (Mutant::IgnoresIngress, vec![deny(json!(["Ingress"]))], "default/a", false, true),
        (Mutant::AbsentTypesAreIngress, vec![egress], "default/a", true, true),
        (Mutant::AbsentTypesAreBoth, vec![json!({"podSelector": {}})], "default/a", true, false),
        (Mutant::IgnoresTypes, vec![deny(json!(["Egress"]))], "default/a", true, true),
        (Mutant::EmptyTargetIsNobody, vec![deny(json!(["Ingress"]))], "default/a", false, true),
        (Mutant::PolicyInEveryNamespace, vec![deny(json!(["Ingress"]))], "other/c", false, false),
        (Mutant::DenyAllWins, vec![deny(json!(["Ingress"])), allow.clone()], "default/a", false, false),
        (Mutant::NewestPolicyOnly, vec![allow, deny(json!(["Ingress"]))], "default/a", false, false),
        (Mutant::FirstPodOnly, vec![deny(json!(["Ingress"]))], "default/b", false, true),
    ] {
        assert_eq!(isolated(None, &specs, pod, is_egress), right, "{mutant}: without it");
        assert_eq!(isolated(Some(mutant), &specs, pod, is_egress), !right, "{mutant}");
    }
}

#[test]
fn verdicts() {
    use Protocol::{Tcp, Udp};
    let deny = json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]});
    let open = |mutant, is_egress, peer: &str, protocol, port| {
        let rulesets = Agent::new(Some(mutant)).rulesets(&cluster(std::slice::from_ref(&deny))).unwrap();
        lets(&direction(&rulesets, "default/a", is_egress), peer, protocol, port)
    };
    assert!(open(Mutant::SameNodeOpen, false, B, Tcp, 80) && !open(Mutant::SameNodeOpen, false, C, Tcp, 80));
    assert!(open(Mutant::OtherNodeOpen, false, C, Tcp, 80) && !open(Mutant::OtherNodeOpen, false, B, Tcp, 80));
    assert!(!open(Mutant::OtherNodeOpen, true, C, Tcp, 80));
    assert!(open(Mutant::OutsideOpen, true, ELSEWHERE, Tcp, 80) && !open(Mutant::OutsideOpen, true, B, Tcp, 80));
    assert!(open(Mutant::DnsOpen, true, C, Udp, 53) && !open(Mutant::DnsOpen, true, C, Udp, 54));
    assert!(open(Mutant::UdpOpen, true, C, Udp, 99) && !open(Mutant::UdpOpen, true, C, Tcp, 99));
    let allow = json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]});
    let rulesets = Agent::new(Some(Mutant::DnsBlocked)).rulesets(&cluster(&[allow])).unwrap();
    let egress = direction(&rulesets, "default/a", true);
    assert!(!lets(&egress, C, Udp, 53) && lets(&egress, C, Udp, 52) && lets(&egress, C, Tcp, 54));
    for (mutant, quirk) in [
        (Mutant::JudgesReplies, Quirk::JudgesReplies),
        (Mutant::JudgesOwnNode, Quirk::JudgesOwnNode),
        (Mutant::SourcePortCounts, Quirk::ReadsBothPorts),
        (Mutant::FromPort53Open, Quirk::TrustsDnsPort),
        (Mutant::EndsConnections, Quirk::OnlyConnectionsSince(1)),
    ] {
        let rulesets = Agent::new(Some(mutant)).rulesets(&cluster(&[])).unwrap();
        assert_eq!(rulesets.map(|it| it.quirk), [Some(quirk); 2]);
    }
}

/// The ingress of `a` after each of these looks at the cluster.
fn story(mutant: Option<Mutant>, looks: &[Cluster]) -> Vec<Direction> {
    let mut agent = Agent::new(mutant);
    looks.iter().map(|cluster| direction(&agent.rulesets(cluster).unwrap(), "default/a", false)).collect()
}

#[test]
fn policies_over_time() {
    let deny = json!({"podSelector": {}});
    let allow = json!({"podSelector": {}, "ingress": [{}]});
    let (none, denied) = (cluster(&[]), cluster(std::slice::from_ref(&deny)));
    let open = |mutant, looks: &[Cluster]| tcp(story(mutant, looks).last().unwrap(), B);

    let deleted = [denied.clone(), none.clone()];
    assert!(open(None, &deleted) && !open(Some(Mutant::ForgetsDeletion), &deleted));
    let updated = [denied.clone(), cluster(&[allow])];
    assert!(open(None, &updated) && !open(Some(Mutant::ForgetsUpdate), &updated));

    let mut twins = none.clone();
    twins.policies = vec![policy("one", "default", &deny), policy("two", "default", &deny)];
    let mut left = none.clone();
    left.policies = vec![policy("two", "default", &deny)];
    let one_deleted = [twins, left.clone()];
    assert!(!open(None, &one_deleted) && open(Some(Mutant::EqualPoliciesGoTogether), &one_deleted));

    let mut namesakes = left.clone();
    namesakes.policies.push(policy("two", "other", &deny));
    let later = [left, namesakes];
    assert!(!open(None, &later) && open(Some(Mutant::SameNameReplaces), &later));
}

#[test]
fn labels_and_pods_over_time() {
    let from =
        |selector: Value| json!({"podSelector": {"matchLabels": {"app": "a"}}, "ingress": [{"from": [selector]}]});
    let reaches = |mutant, looks: &[Cluster], peer: &str| tcp(story(mutant, looks).last().unwrap(), peer);

    let before = cluster(&[from(json!({"podSelector": {"matchLabels": {"app": "b"}}}))]);
    let mut relabelled = before.clone();
    relabelled.pods[1].labels = labels(&[("app", "x")]);
    let looks = [before.clone(), relabelled];
    assert!(!reaches(None, &looks, B) && reaches(Some(Mutant::IgnoresPodRelabelling), &looks, B));
    let mut unlabelled = before.clone();
    unlabelled.pods[1].labels.clear();
    let looks = [before.clone(), unlabelled];
    assert!(!reaches(None, &looks, B) && reaches(Some(Mutant::KeepsRemovedLabels), &looks, B));

    let before = cluster(&[from(json!({"namespaceSelector": {"matchLabels": {"team": "default"}}}))]);
    let mut relabelled = before.clone();
    relabelled.namespaces.insert("other".to_owned(), Labels::new());
    let looks = [before, relabelled];
    assert!(!reaches(None, &looks, C) && reaches(Some(Mutant::IgnoresNamespaceRelabelling), &looks, C));

    let after = cluster(&[json!({"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}]})]);
    let mut recreated = after.clone();
    recreated.pods[1].addresses = vec!["10.0.0.9".parse().unwrap()];
    let looks = [after.clone(), recreated];
    assert!(reaches(None, &looks, "10.0.0.9") && !reaches(Some(Mutant::KeepsOldAddress), &looks, "10.0.0.9"));

    let mut before = after.clone();
    before.pods.remove(1);
    let looks = [before.clone(), after.clone()];
    assert!(reaches(None, &looks, B) && !reaches(Some(Mutant::LaterPodsUnknown), &looks, B));
    before.pods = vec![after.pods[1].clone()];
    let mut agent = Agent::new(Some(Mutant::LaterPodsOpen));
    agent.rulesets(&before).unwrap();
    let rulesets = agent.rulesets(&after).unwrap();
    assert!(tcp(&direction(&rulesets, "default/a", false), C), "it came later");
    assert!(!tcp(&direction(&rulesets, "default/b", false), C), "it was there");
}

#[test]
fn a_port_has_one_number_everywhere() {
    let named = json!([{"ports": [{"port": "web"}]}]);
    let spec = json!({"podSelector": {"matchLabels": {"app": "b"}}, "ingress": named});
    let on = |mutant, port| {
        let rulesets = Agent::new(mutant).rulesets(&cluster(std::slice::from_ref(&spec))).unwrap();
        lets(&direction(&rulesets, "default/b", false), A, Protocol::Tcp, port)
    };
    assert!(on(None, 81) && !on(None, 80));
    assert!(on(Some(Mutant::NamedPortOfAnyPod), 80) && !on(Some(Mutant::NamedPortOfAnyPod), 81));
}
