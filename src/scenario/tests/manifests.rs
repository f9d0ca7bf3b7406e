//! Bad manifests, each with all that is said of it.

use insta::assert_snapshot;

use super::{DENY, SCENARIO, faults_of, opened};

#[test]
fn half_a_manifest() {
    let scenario = r"kind: NetworkPolicy
metadata: {name: a}
";
    assert_snapshot!(faults_of(&[("s.yaml", scenario)]), @r"
    error: this is neither a manifest, which has `apiVersion`, nor a scenario, which has `steps`
     --> s.yaml:1:1
      |
    1 | kind: NetworkPolicy
      | ^^^^
      |
      = help: add `apiVersion`
    ");
}

#[test]
fn missing_manifest() {
    let scenario = &opened(
        r"  - name: closed
    apply: [n.yaml]
    expect: [{to: {pod: b}, deny: [a]}]
",
    );
    assert_snapshot!(faults_of(&[("s.yaml", scenario), ("m.yaml", DENY)]), @r"
    error: the manifest `n.yaml` cannot be used: the file cannot be read: No such file or directory (os error 2)
     --> s.yaml:8:13
      |
    8 |     apply: [n.yaml]
      |             ^^^^^^
      |
      = help: did you mean `m.yaml`?
    ");
}

#[test]
fn manifest_typos_that_kubernetes_swallows() {
    let manifest = r"apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec:
  podSelecter: {}
  ingress:
    - form: []
      ports: [{port: http, protocol: TCP, endport: 90}]
";
    assert_snapshot!(faults_of(&[("s.yaml", SCENARIO), ("m.yaml", manifest)]), @r"
    error: unknown field `podSelecter` in `spec`
     --> m.yaml:5:3
      |
    5 |   podSelecter: {}
      |   ^^^^^^^^^^^
      |
      = help: did you mean `podSelector`?

    error: unknown field `form` in `spec.ingress[0]`
     --> m.yaml:7:7
      |
    7 |     - form: []
      |       ^^^^
      |
      = help: did you mean `from`?

    error: unknown field `endport` in `spec.ingress[0].ports[0]`
     --> m.yaml:8:43
      |
    8 |       ports: [{port: http, protocol: TCP, endport: 90}]
      |                                           ^^^^^^^
      |
      = help: did you mean `endPort`?
    ");
}

#[test]
fn manifest_without_identity() {
    let manifest = r"kind: NetworkPolicy
metadata: {}
---
apiVersion: v1
kind: 7
metadata: {name: x}
";
    assert_snapshot!(faults_of(&[("s.yaml", SCENARIO), ("m.yaml", manifest)]), @r"
    error: the manifest has no `apiVersion`
     --> m.yaml:1:1
      |
    1 | kind: NetworkPolicy
      | ^^^^

    error: the manifest has no `metadata.name`
     --> m.yaml:2:1
      |
    2 | metadata: {}
      | ^^^^^^^^

    error: `kind` must be a text
     --> m.yaml:5:7
      |
    5 | kind: 7
      |       ^
      |
      = help: put the value in quotes
    ");
}

#[test]
fn manifest_of_a_kind_that_nobody_has() {
    let manifest = r"apiVersion: networking.k8s.io/v1
kind: NetworkPolcy
metadata: {name: deny}
spec:
  podSelector: {}
---
apiVersion: networking.k8s.io/v1beta1
kind: NetworkPolicy
metadata: {name: deny}
spec:
  podSelector: {}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: deny}
spec:
  podSelector: {}
";
    assert_snapshot!(faults_of(&[("s.yaml", SCENARIO), ("m.yaml", manifest)]), @r"
    error: `networking.k8s.io/v1` has no kind `NetworkPolcy`
     --> m.yaml:2:7
      |
    2 | kind: NetworkPolcy
      |       ^^^^^^^^^^^^
      |
      = help: did you mean `NetworkPolicy`?

    error: no API server has NetworkPolicy in `networking.k8s.io/v1beta1`
     --> m.yaml:7:13
      |
    7 | apiVersion: networking.k8s.io/v1beta1
      |             ^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: write `networking.k8s.io/v1`

    warning: nothing but this file says what the NetworkPolicy `deny` does
     --> s.yaml:8:13
      |
    8 |     apply: [m.yaml]
      |             ^^^^^^
      |
      = help: the simulator knows NetworkPolicies alone, so a wrong expectation is not found before the run
    ");
}

#[test]
fn manifest_in_a_namespace_that_the_lab_lacks() {
    let manifest = r"apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: shop}
spec:
  podSelector: {}
";
    assert_snapshot!(faults_of(&[("s.yaml", SCENARIO), ("m.yaml", manifest)]), @r"
    error: NetworkPolicy `deny` of `m.yaml` is in namespace `shop`, which the lab does not have
     --> s.yaml:8:13
      |
    8 |     apply: [m.yaml]
      |             ^^^^^^
      |
      = help: add `shop: {}` to `lab.namespaces`
    ");
}

#[test]
fn manifest_of_other_kinds() {
    let manifest = r#"apiVersion: v1
kind: Pod
metadata: {name: x, labels: {a: "-"}}
spec: {containers: [{name: c, imagee: z}], hostnetwork: true}
---
apiVersion: example.com/v1
kind: Thing
metadata: {name: x}
whatever: true
"#;
    assert_snapshot!(faults_of(&[("s.yaml", SCENARIO), ("m.yaml", manifest)]), @r#"
    error: `-` cannot be a label's value: at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends
     --> m.yaml:3:33
      |
    3 | metadata: {name: x, labels: {a: "-"}}
      |                                 ^^^

    error: unknown field `imagee` in `spec.containers[0]`
     --> m.yaml:4:31
      |
    4 | spec: {containers: [{name: c, imagee: z}], hostnetwork: true}
      |                               ^^^^^^
      |
      = help: did you mean `image`?

    error: unknown field `hostnetwork` in `spec`
     --> m.yaml:4:44
      |
    4 | spec: {containers: [{name: c, imagee: z}], hostnetwork: true}
      |                                            ^^^^^^^^^^^
      |
      = help: did you mean `hostNetwork`?

    warning: nothing but this file says what the Thing `x` does
     --> s.yaml:8:13
      |
    8 |     apply: [m.yaml]
      |             ^^^^^^
      |
      = help: the simulator knows NetworkPolicies alone, so a wrong expectation is not found before the run
    "#);
}

#[test]
fn what_is_to_be_refused_may_be_wrong() {
    let scenario = &opened(
        r"  - name: closed
    apply: [ok.yaml]
    rejected: [{file: m.yaml, message: cidr}]
    expect: [{to: {pod: b}, deny: [a]}]
",
    );
    let manifest = r"apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec:
  podSelector: {}
  egress: [{to: [{ipBlock: {cidr: nonsense}}]}]
";
    assert_snapshot!(faults_of(&[("s.yaml", scenario), ("ok.yaml", DENY), ("m.yaml", manifest)]), @"");
}

#[test]
fn a_manifest_that_is_missing_hides_no_other_fault() {
    let step = "  - name: s\n    apply: [nope.yaml]\n    expect: [{to: {pod: nobody}, deny: [a]}]\n";
    let said = faults_of(&[("s.yaml", &opened(step))]);
    assert!(said.contains("the manifest `nope.yaml` cannot be used"), "{said}");
    assert!(said.contains("there is no pod `nobody`"), "{said}");
}
