//! Exceptions of the documentation, and what the API leaves open: nodes, hostNetwork, Services, a pod and itself.

use serde_json::{Value, json};

use super::fixtures::{check, check_on, cluster};
use crate::policy::Cluster;

fn deny_all() -> Value {
    json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})
}

fn out_to_block(cidr: &str) -> Value {
    json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": [{"ipBlock": {"cidr": cidr}}]}]})
}

fn out_to_pods(ports: &[u16]) -> Value {
    let ports: Vec<_> = ports.iter().map(|port| json!({"port": port})).collect();
    json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": [{"podSelector": {}}], "ports": ports}]})
}

#[test]
fn a_pod_reaches_itself() {
    check(&[("x/deny", deny_all())], &["+ x/a -> x/a:80", "+ x/a -> x/a:53/UDP over ipv6", "- x/a -> x/b:80"]);
}

#[test]
fn the_own_node_reaches_its_pods() {
    // x/a is on the worker, x/b on the master.
    check(
        &[("x/deny", deny_all())],
        &["+ node/worker -> x/a:80", "- node/master -> x/a:80", "+ node/master -> x/b:80", "- node/worker -> x/b:80"],
    );
}

#[test]
fn the_way_to_the_own_node_is_open() {
    check(
        &[("x/deny", deny_all())],
        &["? x/a -> node/worker:80", "- x/a -> node/master:80", "? x/b -> node/master:80"],
    );
    check(&[("x/p", out_to_block("172.18.0.3/32"))], &["+ x/a -> node/worker:80", "? x/b -> node/master:80"]);
    check(&[], &["+ x/a -> node/worker:80"]);
}

#[test]
fn nodes_among_themselves_know_no_policies() {
    check(&[("x/deny", deny_all())], &["+ node/worker -> node/master:80", "+ node/worker -> 203.0.113.1:80"]);
}

fn with_host_network(policies: &[(&str, Value)], names: &[&str]) -> Cluster {
    let mut cluster = cluster(policies);
    for pod in &mut cluster.pods {
        pod.host_network = names.contains(&pod.name.as_str()) && pod.namespace == "x";
    }
    cluster
}

#[test]
fn policies_on_host_network_pods_are_undefined() {
    let cluster = with_host_network(&[("x/deny", deny_all())], &["b"]);
    check_on(
        &cluster,
        &[
            "? x/b -> 203.0.113.1:80",
            "? y/a -> x/b:80",
            // The other end is isolated whatever x/b is taken for.
            "- x/b -> x/a:80",
            "- x/a -> x/b:80",
        ],
    );
    let cluster = with_host_network(&[], &["b"]);
    check_on(&cluster, &["+ x/b -> 203.0.113.1:80", "+ y/a -> x/b:80"]);
}

#[test]
fn host_network_peers_by_selector_are_undefined() {
    let from_b = json!({"podSelector": {"matchLabels": {"app": "a"}}, "ingress": [
        {"from": [{"podSelector": {"matchLabels": {"app": "b"}}}]}]});
    let cluster = with_host_network(&[("x/p", from_b)], &["b", "c"]);
    // x/b is on the other node; x/c, which no selector means, is on the same node, whose traffic is always allowed.
    check_on(&cluster, &["? x/b -> x/a:80", "? x/c -> x/a:80", "- y/b -> x/a:80"]);
    // By address, and by a rule for everybody, it is the same whatever it is taken for.
    let mut by_block = with_host_network(
        &[("x/p", json!({"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "172.18.0.0/16"}}]}]}))],
        &["b"],
    );
    by_block.pods[1].addresses = by_block.nodes[0].addresses.clone();
    check_on(&by_block, &["+ x/b -> x/a:80", "- x/c -> x/a:80"]);
    let everybody = with_host_network(&[("x/p", json!({"podSelector": {}, "ingress": [{}]}))], &["b"]);
    check_on(&everybody, &["+ x/b -> x/a:80"]);
}

#[test]
fn selectors_mean_the_pods_behind_a_service() {
    check(
        &[("x/p", out_to_pods(&[80]))],
        &["+ x/a -> x/b:80 via 10.96.0.9:80", "- x/a -> y/b:80 via 10.96.0.9:80", "- x/a -> x/b:81 via 10.96.0.9:81"],
    );
}

#[test]
fn a_rule_on_the_target_port_covers_a_service_and_one_on_its_own_port_may() {
    check(&[("x/p", out_to_pods(&[80]))], &["+ x/a -> x/b:80 via 10.96.0.9:8080"]);
    check(&[("x/p", out_to_pods(&[8080]))], &["? x/a -> x/b:80 via 10.96.0.9:8080"]);
    check(&[("x/p", out_to_pods(&[80, 8080]))], &["+ x/a -> x/b:80 via 10.96.0.9:8080"]);
}

#[test]
fn blocks_and_service_addresses_are_undefined() {
    let via = "x/a -> x/b:80 via 10.96.0.9:80";
    for (cidr, mark) in
        [("10.96.0.9/32", '?'), ("10.0.0.11/32", '?'), ("10.0.0.0/8", '+'), ("0.0.0.0/0", '+'), ("203.0.113.1/32", '-')]
    {
        check(&[("x/p", out_to_block(cidr))], &[&format!("{mark} {via}")]);
    }
}

#[test]
fn a_surely_denied_side_decides() {
    // The way out is open, but the server lets nobody in.
    check(
        &[("x/p", out_to_block("10.96.0.9/32")), ("x/deny", json!({"podSelector": {}}))],
        &["- x/a -> x/b:80 via 10.96.0.9:80"],
    );
}

#[test]
fn hairpins_are_undefined_where_policies_count() {
    check(&[], &["+ x/a -> x/a:80 via 10.96.0.9:80"]);
    check(&[("x/deny", deny_all())], &["? x/a -> x/a:80 via 10.96.0.9:80", "- x/a -> x/b:80 via 10.96.0.9:80"]);
}

#[test]
fn clients_outside_may_lose_their_address_on_a_service() {
    let from_client = json!({"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "203.0.113.1/32"}}]}]});
    check(
        &[("x/p", from_client)],
        &["+ 203.0.113.1 -> x/a:80", "? 203.0.113.1 -> x/a:80 via 172.18.0.2:30080", "- 203.0.113.2 -> x/a:80"],
    );
    let everybody = json!({"podSelector": {}, "ingress": [{"ports": [{"port": 80}]}]});
    check(&[("x/p", everybody)], &["+ 203.0.113.1 -> x/a:80 via 172.18.0.2:30080"]);
}
