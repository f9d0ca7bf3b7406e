//! Ports that sources ask from, and first packets of new pods.

use super::{faults_of, opened};

fn said(steps: &str) -> String {
    faults_of(&[("s.yaml", &opened(steps))])
}

#[test]
fn a_source_cannot_ask_from_every_port() {
    let step = |to: &str, from: &str| format!("  - name: s\n    expect: [{{to: {to}, allow: [{from}]}}]\n");
    let fine = said(&step("{pod: b, sourcePort: 53}", "a"));
    assert!(!fine.contains("error"), "{fine}");
    for (to, from, why) in [
        ("{pod: b, sourcePort: 0}", "a", "port 0 means none in particular"),
        ("{pod: b, sourcePort: 80}", "a", "`a` cannot ask from port 80: it serves there"),
        ("{pod: b, sourcePort: 1023}", "node/worker", "`node/worker` cannot ask from port 1023: in its node's network"),
        ("{dns: kubernetes.default, sourcePort: 53}", "a", "only a plain GET and a datagram"),
        ("{apiserver: {}, sourcePort: 5353}", "a", "only a plain GET and a datagram"),
    ] {
        let said = said(&step(to, from));
        assert!(said.contains(why), "{to}: {said}");
    }
}

#[test]
fn a_flow_of_datagrams_that_passed_is_not_expected_to_be_stopped() {
    let of = |port: &str| {
        let ports = "[{port: 80}, {port: 53, protocol: UDP}]";
        faults_of(&[
            (
                "s.yaml",
                &format!(
                    "id: a\ntitle: A\nlab: {{pods: [{{name: a}}, {{name: b, ports: {ports}}}]}}\nsteps:\n  \
                     - name: open\n    expect: [{{to: {{pod: b, protocol: UDP{port}}}, allow: [a]}}]\n  \
                     - name: closed\n    apply: [m.yaml]\n    \
                     expect: [{{to: {{pod: b, protocol: UDP, sourcePort: 54}}, deny: [a]}}]\n"
                ),
            ),
            ("m.yaml", super::DENY),
        ])
    };
    assert!(
        of(", sourcePort: 54").contains("sent datagrams from port 54 in an earlier step"),
        "{}",
        of(", sourcePort: 54")
    );
    assert_eq!(of(""), "");
}

#[test]
fn first_packets_are_those_of_pods_that_the_step_creates() {
    let step = |to: &str, lists: &str| {
        format!(
            "  - name: s\n    apply: []\n    create: [{{name: c}}, {{name: n, hostNetwork: true, ports: [{{port: 8181}}]}}]\n    \
             expect: [{{to: {to}, firstPackets: true, {lists}}}]\n"
        )
    };
    let fine = said(&step("{pod: b}", "allow: [c]"));
    assert!(!fine.contains("error"), "{fine}");
    let asked = said(&step("{pod: c}", "allow: [a, node/worker]"));
    assert!(!asked.contains("error"), "{asked}");
    for (to, lists, why) in [
        ("{pod: b}", "allow: [a]", "`a` sends no first packets: this step does not create it"),
        ("{pod: b}", "allow: [node/worker]", "`node/worker` sends no first packets"),
        ("{pod: b}", "allow: [n]", "`n` is in its node's network"),
        ("{pod: n}", "allow: [a]", "`n` is in its node's network"),
        ("{pod: c}", "deny: [c]", "`c` and `c` are both made by this step: nobody is there to ask"),
        ("{dns: kubernetes.default}", "allow: [c]", "first packets are plain requests over TCP"),
        ("{pod: b, sourcePort: 5353}", "allow: [c]", "first packets are plain requests over TCP"),
        ("{pod: b}", "status: {code: 200, from: [c]}", "first packets are allowed, denied or recorded"),
    ] {
        let said = said(&step(to, lists));
        assert!(said.contains(why), "{to} {lists}: {said}");
    }
}
