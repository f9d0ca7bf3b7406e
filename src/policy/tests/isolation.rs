//! Isolation, `policyTypes`, whom a policy is about, and the union of policies.

use serde_json::json;

use super::fixtures::check;

#[test]
fn nothing_is_isolated_without_policies() {
    check(&[], &["+ x/a -> x/b:80", "+ x/a -> y/c:1/SCTP", "+ 203.0.113.1 -> x/a:80", "+ x/a -> 203.0.113.1:80/UDP"]);
}

#[test]
fn an_empty_policy_isolates_its_namespace_for_ingress() {
    for spec in [
        json!({"podSelector": {}}),
        json!({"podSelector": {}, "policyTypes": []}),
        json!({"podSelector": {}, "policyTypes": ["Ingress"]}),
        json!({"podSelector": {}, "ingress": []}),
        // An empty list of egress rules is none, so this is about ingress alone.
        json!({"podSelector": {}, "egress": []}),
        // Ingress alone, whatever the egress rules say.
        json!({"podSelector": {}, "policyTypes": ["Ingress"], "egress": [{"to": [{"podSelector": {}}]}]}),
        json!({}),
        json!(null),
    ] {
        check(
            &[("x/deny", spec)],
            &[
                "- x/a -> x/b:80",
                "- y/a -> x/b:80",
                "- 203.0.113.1 -> x/b:80/UDP",
                "+ x/a -> y/b:80",
                "+ y/a -> y/b:80",
            ],
        );
    }
}

#[test]
fn egress_is_isolated_only_where_it_is_said() {
    for spec in [
        json!({"podSelector": {}, "policyTypes": ["Egress"]}),
        json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": []}),
        // An ingress rule has no effect in a policy about egress.
        json!({"podSelector": {}, "policyTypes": ["Egress"], "ingress": [{"from": [{"podSelector": {}}]}]}),
    ] {
        check(
            &[("x/deny", spec)],
            &["- x/a -> x/b:80", "- x/a -> y/b:80", "- x/a -> 203.0.113.1:443", "+ y/a -> x/b:80", "+ y/a -> y/b:80"],
        );
    }
}

#[test]
fn policy_types_default_to_ingress_and_to_egress_where_it_has_rules() {
    check(
        &[(
            "x/p",
            json!({"podSelector": {}, "egress": [{"to": [{"namespaceSelector": {"matchLabels": {"ns": "y"}}}]}]}),
        )],
        &["+ x/a -> y/a:80", "- x/a -> 203.0.113.1:80", "- y/a -> x/a:80"],
    );
    check(
        &[("x/p", json!({"podSelector": {}, "ingress": [{}], "egress": [{"to": [{"podSelector": {}}]}]}))],
        &["+ y/a -> x/a:80", "+ x/a -> x/b:80", "- x/a -> y/a:80"],
    );
    check(
        &[("x/p", json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{}]}))],
        &["+ y/a -> x/a:80", "- x/a -> y/a:80"],
    );
}

#[test]
fn a_rule_without_anything_allows_everything() {
    check(
        &[("x/p", json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{}], "egress": [{}]}))],
        &["+ y/a -> x/a:80", "+ x/a -> y/a:9/SCTP", "+ 203.0.113.1 -> x/a:80", "+ x/a -> fd01::1:80 over ipv6"],
    );
}

#[test]
fn the_pod_selector_picks_the_subjects() {
    let deny = |selector| json!({"podSelector": selector, "policyTypes": ["Ingress"]});
    check(&[("x/p", deny(json!({"matchLabels": {"app": "b"}})))], &["- x/a -> x/b:80", "+ x/a -> x/c:80"]);
    let expression = |operator, values: &[&str]| {
        deny(json!({"matchExpressions": [{"key": "app", "operator": operator, "values": values}]}))
    };
    check(&[("x/p", expression("In", &["b", "c"]))], &["+ x/b -> x/a:80", "- x/a -> x/b:80", "- x/a -> x/c:80"]);
    check(&[("x/p", expression("NotIn", &["b"]))], &["- x/b -> x/a:80", "+ x/a -> x/b:80", "- x/a -> x/c:80"]);
    check(&[("x/p", expression("Exists", &[]))], &["- x/b -> x/a:80"]);
    check(&[("x/p", expression("DoesNotExist", &[]))], &["+ x/b -> x/a:80"]);
}

#[test]
fn policies_of_one_name_in_two_namespaces_do_not_interact() {
    let deny = json!({"podSelector": {}});
    let allow = json!({"podSelector": {}, "ingress": [{}]});
    check(&[("x/p", deny), ("y/p", allow)], &["- y/a -> x/a:80", "+ x/a -> y/a:80"]);
}

#[test]
fn policies_are_a_union() {
    let allow_app =
        |app| json!({"podSelector": {}, "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": app}}}]}]});
    let policies = [("x/1", allow_app("b")), ("x/2", allow_app("c")), ("x/3", json!({"podSelector": {}}))];
    check(&policies, &["+ x/b -> x/a:80", "+ x/c -> x/a:80", "- y/b -> x/a:80"]);
}

#[test]
fn rules_do_not_cross_multiply() {
    let rule = |app, port| json!({"from": [{"podSelector": {"matchLabels": {"app": app}}}], "ports": [{"port": port}]});
    check(
        &[("x/p", json!({"podSelector": {}, "ingress": [rule("b", 80), rule("c", 81)]}))],
        &["+ x/b -> x/a:80", "- x/b -> x/a:81", "- x/c -> x/a:80", "+ x/c -> x/a:81"],
    );
    check(
        &[
            ("x/1", json!({"podSelector": {}, "ingress": [rule("b", 80)]})),
            ("x/2", json!({"podSelector": {}, "ingress": [rule("c", 81)]})),
        ],
        &["+ x/b -> x/a:80", "- x/b -> x/a:81", "- x/c -> x/a:80", "+ x/c -> x/a:81"],
    );
}

#[test]
fn both_ends_must_allow() {
    let out = |app| {
        json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": [
            {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": app}}}]}]})
    };
    let into = |app| {
        json!({"podSelector": {}, "ingress": [{"from": [
            {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": app}}}]}]})
    };
    check(
        &[("x/out", out("a")), ("y/in", into("a"))],
        &["+ x/a -> y/a:80", "- x/b -> y/a:80", "- x/a -> y/b:80", "- x/b -> y/b:80"],
    );
}

#[test]
fn the_documents_union_gives_the_label_access() {
    let deny = json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [
        {"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.169.254/32"]}}]}]});
    let allow = json!({"podSelector": {"matchLabels": {"app": "b"}}, "policyTypes": ["Egress"], "egress": [
        {"to": [{"ipBlock": {"cidr": "169.254.169.254/32"}}]}]});
    check(&[("x/deny", deny.clone())], &["- x/a -> 169.254.169.254:80", "- x/b -> 169.254.169.254:80"]);
    let table = [
        "- x/a -> 169.254.169.254:80",
        "+ x/b -> 169.254.169.254:80",
        "+ x/a -> 169.254.169.253:80",
        "+ x/a -> x/b:80",
        "+ node/worker -> 169.254.169.254:80",
        "+ y/a -> 169.254.169.254:80",
        // IPv4 rules say nothing about IPv6, and the pods are isolated.
        "- x/a -> fd01::1:80 over ipv6",
        "- x/a -> x/b:80 over ipv6",
    ];
    check(&[("x/deny", deny.clone()), ("x/allow", allow.clone())], &table);
    check(&[("x/allow", allow), ("x/deny", deny)], &table);
}
