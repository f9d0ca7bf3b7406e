//! Bad manifests, each with all that is said of it.

use insta::assert_snapshot;

use super::faults_of;

/// A scenario around the manifest `m.yaml`.
const SCENARIO: &str = r"id: a
title: A
lab: {pods: [{name: a}, {name: b}]}
steps:
  - name: open
    expect: [{to: {pod: b}, allow: [a]}]
  - name: closed
    apply: [m.yaml]
    expect: [{to: {pod: b}, deny: [a]}]
";

#[test]
fn missing_manifest() {
    let files = [
        ("s.yaml", r"id: a
title: A
lab: {pods: [{name: a}, {name: b}]}
steps:
  - name: open
    expect: [{to: {pod: b}, allow: [a]}]
  - name: closed
    apply: [n.yaml]
    expect: [{to: {pod: b}, deny: [a]}]
"),
        ("m.yaml", r"apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec:
  podSelector: {}
"),
    ];
    assert_snapshot!(faults_of(&files), @"");
}

#[test]
fn manifest_typos_that_kubernetes_swallows() {
    let files = [
        ("s.yaml", SCENARIO),
        ("m.yaml", r"apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec:
  podSelecter: {}
  ingress:
    - form: []
      ports: [{port: http, protocol: TCP, endport: 90}]
"),
    ];
    assert_snapshot!(faults_of(&files), @"");
}

#[test]
fn manifest_without_identity() {
    let files = [
        ("s.yaml", SCENARIO),
        ("m.yaml", r"kind: NetworkPolicy
metadata: {}
---
apiVersion: v1
kind: 7
metadata: {name: x}
"),
    ];
    assert_snapshot!(faults_of(&files), @"");
}

#[test]
fn manifest_of_a_kind_that_nobody_has() {
    let files = [
        ("s.yaml", SCENARIO),
        ("m.yaml", r"apiVersion: networking.k8s.io/v1
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
"),
    ];
    assert_snapshot!(faults_of(&files), @"");
}

#[test]
fn manifest_in_a_namespace_that_the_lab_lacks() {
    let files = [
        ("s.yaml", SCENARIO),
        ("m.yaml", r"apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: shop}
spec:
  podSelector: {}
"),
    ];
    assert_snapshot!(faults_of(&files), @"");
}

#[test]
fn manifest_of_other_kinds() {
    let files = [
        ("s.yaml", SCENARIO),
        ("m.yaml", r"apiVersion: v1
kind: Pod
metadata: {name: x, labels: {a: -}}
spec: {containers: [{name: c, imagee: y}], hostnetwork: true}
---
apiVersion: example.com/v1
kind: Thing
metadata: {name: x}
whatever: true
"),
    ];
    assert_snapshot!(faults_of(&files), @"");
}

#[test]
fn policy_blocks_that_the_api_refuses() {
    let files = [
        ("s.yaml", SCENARIO),
        ("m.yaml", r"apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec:
  podSelector: {}
  policyTypes: [Egress]
  egress:
    - to:
        - ipBlock: {cidr: 10.0.0.0/33}
        - ipBlock: {cidr: 169.254.169.254}
        - ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/8, 10.0.0.0/8, 10.1.0.0/16]}
        - ipBlock: {cidr: 10.0.0.0/8}
          podSelector: {}
        - {}
"),
    ];
    assert_snapshot!(faults_of(&files), @"");
}

#[test]
fn policy_host_bits_are_warned_of() {
    let files = [
        ("s.yaml", SCENARIO),
        ("m.yaml", r"apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec:
  podSelector: {}
  policyTypes: [Egress]
  egress:
    - to:
        - ipBlock: {cidr: 10.1.2.3/8, except: [10.0.0.7/16]}
        - ipBlock: {cidr: 010.0.0.0/8}
"),
    ];
    assert_snapshot!(faults_of(&files), @"");
}

#[test]
fn policy_ports_that_the_api_refuses() {
    let files = [
        ("s.yaml", SCENARIO),
        ("m.yaml", r#"apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec:
  podSelector: {}
  policyTypes: [ingress, Ingress]
  ingress:
    - ports:
        - {port: 80, endPort: 79}
        - {port: http, endPort: 90}
        - {endPort: 90}
        - {port: 0}
        - {port: "80"}
        - {port: 80, protocol: tcp}
        - {port: 80, endPort: "90"}
"#),
    ];
    assert_snapshot!(faults_of(&files), @"");
}

#[test]
fn policy_selectors_that_the_api_refuses() {
    let files = [
        ("s.yaml", SCENARIO),
        ("m.yaml", r#"apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec:
  podSelector: {}
  ingress:
    - from:
        - podSelector: {matchLabels: {"-x": y, x: "-y"}}
        - podSelector:
            matchExpressions:
              - {key: a, operator: in, values: [b]}
              - {key: a, operator: In}
              - {key: a, operator: Exists, values: [b]}
              - {operator: Exists}
"#),
    ];
    assert_snapshot!(faults_of(&files), @"");
}

#[test]
fn what_is_to_be_refused_may_be_wrong() {
    let files = [
        ("s.yaml", r"id: a
title: A
lab: {pods: [{name: a}, {name: b}]}
steps:
  - name: open
    expect: [{to: {pod: b}, allow: [a]}]
  - name: closed
    apply: [ok.yaml]
    rejected: [{file: m.yaml, message: cidr}]
    expect: [{to: {pod: b}, deny: [a]}]
"),
        ("ok.yaml", r"apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec:
  podSelector: {}
"),
        ("m.yaml", r"apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec:
  podSelector: {}
  egress: [{to: [{ipBlock: {cidr: nonsense}}]}]
"),
    ];
    assert_snapshot!(faults_of(&files), @"");
}
