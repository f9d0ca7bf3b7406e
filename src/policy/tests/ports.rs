//! Ports and protocols of rules, and on whose pods port names are looked up.

use serde_json::{Value, json};

use super::fixtures::{check, check_on, cluster};
use crate::scenario::{PortSpec, Protocol};

fn into(ports: Value) -> Value {
    json!({"podSelector": {}, "ingress": [{"ports": ports}]})
}

fn out(ports: Value) -> Value {
    json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"ports": ports}]})
}

#[test]
fn no_ports_are_all_ports() {
    for ports in [json!([]), json!(null)] {
        check(&[("x/p", into(ports.clone()))], &["+ y/a -> x/a:80", "+ y/a -> x/a:53/UDP", "+ y/a -> x/a:9/SCTP"]);
        check(&[("x/p", out(ports))], &["+ x/a -> y/a:80", "+ x/a -> 203.0.113.1:53/UDP"]);
    }
}

#[test]
fn ports_are_the_destinations() {
    check(
        &[("x/p", into(json!([{"port": 80}])))],
        &["+ y/a -> x/a:80", "- y/a -> x/a:81", "- y/a -> x/a:80/UDP", "+ x/a -> y/a:81"],
    );
    check(
        &[("x/p", out(json!([{"port": 80}])))],
        &["+ x/a -> y/a:80", "- x/a -> y/a:81", "- x/a -> y/a:80/UDP", "+ y/a -> x/a:81"],
    );
}

#[test]
fn several_entries_are_ored() {
    check(
        &[("x/p", into(json!([{"port": 80, "endPort": 82}, {"protocol": "UDP", "port": "dns"}, {"port": 9000}])))],
        &["+ y/a -> x/a:82", "- y/a -> x/a:83", "+ y/a -> x/a:53/UDP", "- y/a -> x/a:53", "+ y/a -> x/a:9000"],
    );
}

#[test]
fn protocols_alone_are_all_their_ports() {
    check(
        &[("x/p", into(json!([{"protocol": "SCTP"}])))],
        &["+ y/a -> x/a:80/SCTP", "- y/a -> x/a:80", "- y/a -> x/a:80/UDP"],
    );
    check(&[("x/p", into(json!([{}])))], &["+ y/a -> x/a:80", "- y/a -> x/a:80/UDP"]);
}

#[test]
fn peer_and_port_must_both_match() {
    let rule = json!({"from": [{"podSelector": {"matchLabels": {"app": "b"}}}], "ports": [{"port": 80}]});
    check(
        &[("x/p", json!({"podSelector": {}, "ingress": [rule]}))],
        &["+ x/b -> x/a:80", "- x/b -> x/a:81", "- x/c -> x/a:80", "- x/c -> x/a:81"],
    );
}

#[test]
fn names_are_looked_up_on_the_destination_pod() {
    let web = json!([{"port": "web"}]);
    let named = |number| vec![PortSpec { name: Some("web".to_owned()), port: number, protocol: Protocol::Tcp }];
    let mut cluster = cluster(&[("x/in", into(web.clone()))]);
    cluster.pods[0].ports = named(8080);
    // x/a serves `web` on 8080, x/b on 80; the source's own number is of no interest.
    check_on(&cluster, &["+ y/a -> x/a:8080", "- y/a -> x/a:80", "+ x/a -> x/b:80", "- x/a -> x/b:8080"]);
    let mut cluster = super::fixtures::cluster(&[("x/out", out(web))]);
    cluster.pods[0].ports = named(8080);
    check_on(
        &cluster,
        &["+ x/a -> x/b:80", "- x/a -> x/b:8080", "+ x/b -> x/a:8080", "- x/b -> x/a:80", "+ x/a -> y/c:80"],
    );
}

#[test]
fn names_have_a_protocol() {
    check(&[("x/p", into(json!([{"port": "dns"}])))], &["- y/a -> x/a:53", "- y/a -> x/a:53/UDP"]);
    check(&[("x/p", into(json!([{"port": "dns", "protocol": "UDP"}])))], &["+ y/a -> x/a:53/UDP", "- y/a -> x/a:53"]);
}

#[test]
fn names_match_nothing_off_pods() {
    check(
        &[("x/p", out(json!([{"port": "web"}])))],
        &["+ x/a -> y/a:80", "- x/a -> 203.0.113.1:80", "- x/a -> node/master:80"],
    );
}

#[test]
fn a_pod_may_have_one_name_for_two_protocols() {
    let mut cluster = cluster(&[("x/p", into(json!([{"port": "both", "protocol": "UDP"}])))]);
    cluster.pods[0].ports = [(5000, Protocol::Tcp), (5001, Protocol::Udp)]
        .map(|(port, protocol)| PortSpec { name: Some("both".to_owned()), port, protocol })
        .to_vec();
    check_on(&cluster, &["+ y/a -> x/a:5001/UDP", "- y/a -> x/a:5000/UDP", "- y/a -> x/a:5000"]);
}
