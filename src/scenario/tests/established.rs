//! Connections that stay open over the steps.

use super::{faults_of, opened};

fn said(second: &str, actions: &str) -> String {
    let to = "{pod: b, established: true}";
    let steps = format!(
        "  - name: s\n    expect: [{{to: {to}, allow: [a]}}]\n  - name: t\n{actions}    \
         expect: [{{to: {to}, {second}}}]\n"
    );
    faults_of(&[("s.yaml", &opened(&steps))])
}

#[test]
fn a_connection_is_made_where_it_is_allowed_and_then_goes_on_or_is_recorded() {
    for second in ["allow: [a]", "record: [a]"] {
        assert!(!said(second, "").contains("error"), "{}", said(second, ""));
    }
    for (second, actions, why) in [
        ("deny: [a]", "", "it is not defined whether a policy ends a connection that was there before"),
        ("record: [node/worker]", "", "the connection of `node/worker` has to be made first"),
        ("allow: [a]", "    recreate: [b]\n", "the connection is gone: step `t` puts another pod in the place of `b`"),
        ("allow: [a]", "    restart: [a]\n", "the connection is gone: step `t` puts another pod in the place of `a`"),
    ] {
        let said = said(second, actions);
        assert!(said.contains(why), "{second}: {said}");
    }
}

#[test]
fn only_plain_requests_are_asked_over_one() {
    for to in ["{dns: kubernetes.default, established: true}", "{pod: b, established: true, sourcePort: 5353}"] {
        let said = faults_of(&[("s.yaml", &opened(&format!("  - name: s\n    expect: [{{to: {to}, allow: [a]}}]\n")))]);
        assert!(said.contains("are asked over one connection"), "{to}: {said}");
    }
}
