//! Peers: selectors of pods and namespaces, and blocks of addresses.

use serde_json::{Value, json};

use super::fixtures::{check, check_on, cluster};

fn from(peers: Value) -> Value {
    json!({"podSelector": {"matchLabels": {"app": "a"}}, "ingress": [{"from": peers}]})
}

fn to(peers: Value) -> Value {
    json!({"podSelector": {"matchLabels": {"app": "a"}}, "policyTypes": ["Egress"], "egress": [{"to": peers}]})
}

#[test]
fn a_pod_selector_alone_is_about_the_policys_namespace() {
    let b = json!([{"podSelector": {"matchLabels": {"app": "b"}}}]);
    check(&[("x/p", from(b.clone()))], &["+ x/b -> x/a:80", "- x/c -> x/a:80", "- y/b -> x/a:80"]);
    check(&[("x/p", to(b))], &["+ x/a -> x/b:80", "- x/a -> x/c:80", "- x/a -> y/b:80"]);
    let all = json!([{"podSelector": {}}]);
    check(&[("x/p", from(all))], &["+ x/c -> x/a:80", "- y/a -> x/a:80", "- 203.0.113.1 -> x/a:80"]);
}

#[test]
fn a_namespace_selector_alone_is_about_all_pods_of_the_namespaces() {
    let y = json!([{"namespaceSelector": {"matchLabels": {"ns": "y"}}}]);
    check(&[("x/p", from(y.clone()))], &["+ y/b -> x/a:80", "- x/b -> x/a:80"]);
    check(&[("x/p", to(y))], &["+ x/a -> y/b:80", "- x/a -> x/b:80"]);
    let named = json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "y"}}}]);
    check(&[("x/p", from(named))], &["+ y/b -> x/a:80", "- x/b -> x/a:80"]);
    let all = json!([{"namespaceSelector": {}}]);
    check(&[("x/p", from(all))], &["+ y/b -> x/a:80", "+ x/b -> x/a:80", "- 203.0.113.1 -> x/a:80"]);
    let others = json!([{"namespaceSelector": {"matchExpressions": [
        {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["x"]}]}}]);
    check(&[("x/p", from(others))], &["+ y/b -> x/a:80", "- x/b -> x/a:80"]);
    let keyless = json!([{"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}}]);
    check(&[("x/p", from(keyless))], &["+ y/b -> x/a:80"]);
}

#[test]
fn both_selectors_in_one_peer_are_anded_and_two_peers_are_ored() {
    let namespace = json!({"matchLabels": {"ns": "y"}});
    let pods = json!({"matchLabels": {"app": "b"}});
    let one = json!([{"namespaceSelector": namespace, "podSelector": pods}]);
    check(&[("x/p", from(one))], &["+ y/b -> x/a:80", "- y/c -> x/a:80", "- x/b -> x/a:80", "- x/c -> x/a:80"]);
    let two = json!([{"namespaceSelector": namespace}, {"podSelector": pods}]);
    check(&[("x/p", from(two))], &["+ y/b -> x/a:80", "+ y/c -> x/a:80", "+ x/b -> x/a:80", "- x/c -> x/a:80"]);
}

#[test]
fn labels_of_the_namespace_are_not_labels_of_its_pods() {
    let mut cluster = cluster(&[("x/p", from(json!([{"podSelector": {"matchLabels": {"role": "friend"}}}])))]);
    cluster.namespaces.get_mut("x").unwrap().insert("role".to_owned(), "friend".to_owned());
    check_on(&cluster, &["- x/b -> x/a:80"]);
    cluster.pods[1].labels.insert("role".to_owned(), "friend".to_owned());
    check_on(&cluster, &["+ x/b -> x/a:80"]);
}

#[test]
fn no_peers_are_all_peers() {
    for peers in [json!([]), json!(null)] {
        check(
            &[("x/p", from(peers.clone()))],
            &["+ y/b -> x/a:80", "+ 203.0.113.1 -> x/a:80", "+ node/master -> x/a:80"],
        );
        check(&[("x/p", to(peers))], &["+ x/a -> y/b:80", "+ x/a -> 203.0.113.1:80", "+ x/a -> node/master:80"]);
    }
}

#[test]
fn blocks_match_addresses_of_whatever_has_them() {
    let block = |cidr: &str| json!([{"ipBlock": {"cidr": cidr}}]);
    check(
        &[("x/p", from(block("203.0.113.0/24")))],
        &["+ 203.0.113.1 -> x/a:80", "- 203.0.114.1 -> x/a:80", "- y/b -> x/a:80"],
    );
    // Pods and nodes have addresses too.
    check(&[("x/p", from(block("10.0.0.21/32")))], &["+ y/b -> x/a:80", "- y/c -> x/a:80"]);
    check(&[("x/p", to(block("10.0.0.21/32")))], &["+ x/a -> y/b:80", "- x/a -> y/c:80"]);
    check(&[("x/p", from(block("172.18.0.2/32")))], &["+ node/master -> x/a:80", "- y/b -> x/a:80"]);
    check(&[("x/p", to(block("172.18.0.2/32")))], &["+ x/a -> node/master:80"]);
    check(&[("x/p", to(block("203.0.113.1/32")))], &["- x/a -> node/master:80"]);
}

#[test]
fn excepts_have_three_sides() {
    let peers = json!([{"ipBlock": {"cidr": "203.0.113.0/24", "except": ["203.0.113.64/26", "203.0.113.7/32"]}}]);
    check(
        &[("x/p", to(peers))],
        &[
            "+ x/a -> 203.0.113.1:80",
            "- x/a -> 203.0.113.7:80",
            "- x/a -> 203.0.113.127:80",
            "+ x/a -> 203.0.113.128:80",
            "- x/a -> 203.0.114.1:80",
        ],
    );
}

#[test]
fn an_except_denies_nothing_that_another_peer_allows() {
    let block = |cidr: &str, except: &[&str]| json!({"ipBlock": {"cidr": cidr, "except": except}});
    let all_but_one = block("0.0.0.0/0", &["203.0.113.1/32"]);
    let one = block("203.0.113.1/32", &[]);
    let all_but_two = block("0.0.0.0/0", &["203.0.113.2/32"]);
    let table = &["+ x/a -> 203.0.113.1:80", "+ x/a -> 203.0.113.2:80"];
    check(&[("x/p", to(json!([all_but_one, one])))], table);
    check(&[("x/p", to(json!([one, all_but_one])))], table);
    check(&[("x/1", to(json!([all_but_one]))), ("x/2", to(json!([all_but_two])))], table);
    let both = block("0.0.0.0/0", &["203.0.113.1/32", "203.0.113.2/32"]);
    check(
        &[("x/1", to(json!([all_but_one]))), ("x/2", to(json!([both])))],
        &["- x/a -> 203.0.113.1:80", "+ x/a -> 203.0.113.2:80"],
    );
}

#[test]
fn families_are_apart() {
    let v4 = json!([{"ipBlock": {"cidr": "0.0.0.0/0"}}]);
    check(&[("x/p", to(v4))], &["+ x/a -> x/b:80", "- x/a -> x/b:80 over ipv6"]);
    let v6 = json!([{"ipBlock": {"cidr": "::/0", "except": ["fd00::11/128"]}}]);
    check(&[("x/p", to(v6))], &["- x/a -> x/c:80", "+ x/a -> x/c:80 over ipv6", "- x/a -> x/b:80 over ipv6"]);
    let selected = json!([{"podSelector": {}}]);
    check(&[("x/p", to(selected))], &["+ x/a -> x/b:80", "+ x/a -> x/b:80 over ipv6", "- x/a -> fd01::1:80 over ipv6"]);
}

#[test]
fn bad_peers_are_nobody() {
    for peer in [
        json!({}),
        json!({"ipBlock": {"cidr": "nonsense"}}),
        json!({"ipBlock": {"cidr": "0.0.0.0/0"}, "podSelector": {}}),
        json!({"ipBlock": {"cidr": "0.0.0.0/0"}, "namespaceSelector": {}}),
        json!({"podSelector": {"matchExpressions": [{"key": "app", "operator": "Like", "values": ["b"]}]}}),
    ] {
        check(&[("x/p", from(json!([peer])))], &["- x/b -> x/a:80"]);
    }
}
