//! Which rule is named.

use serde_json::json;

use super::fixtures::{ask, cluster};

#[test]
fn the_deciding_rule_is_named() {
    let policies = [
        (
            "x/deny",
            json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [
                {"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.169.254/32"]}}]}]}),
        ),
        (
            "x/allow",
            json!({"podSelector": {"matchLabels": {"app": "b"}}, "policyTypes": ["Egress"], "egress": [
                {"to": [{"podSelector": {}}], "ports": [{"port": 9}]},
                {"to": [{"podSelector": {}}, {"ipBlock": {"cidr": "169.254.169.254/32"}}]}]}),
        ),
        ("y/in", json!({"podSelector": {}, "ingress": [{"ports": [{"port": 80}]}]})),
    ];
    let cluster = cluster(&policies);
    for (flow, text) in [
        ("x/a -> 169.254.169.254:80", "isolated for egress by x/deny, no rule allows it"),
        ("x/b -> 169.254.169.254:80", "allowed by x/allow egress[1].to[1]"),
        ("x/a -> x/b:80", "allowed by x/deny egress[0].to[0]"),
        // Policies are asked by name, whatever their order.
        ("x/b -> x/a:80", "allowed by x/allow egress[1].to[0]"),
        ("x/a -> y/a:80", "allowed by x/deny egress[0].to[0] and by y/in ingress[0]"),
        ("y/a -> y/b:81", "isolated for ingress by y/in, no rule allows it"),
        ("x/b -> fd01::1:80 over ipv6", "isolated for egress by x/allow, x/deny, no rule of theirs allows it"),
        ("y/a -> x/a:80", "allowed as no policy isolates it"),
    ] {
        assert_eq!(ask(&cluster, flow).to_string(), text, "{flow}");
    }
    let mut reversed = cluster.clone();
    reversed.policies.reverse();
    assert_eq!(ask(&reversed, "x/b -> x/a:80"), ask(&cluster, "x/b -> x/a:80"));
}
