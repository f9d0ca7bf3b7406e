//! Bad inputs, each with all that is said of it.

use insta::assert_snapshot;

use super::faults_of;

#[test]
fn unknown_fields_are_all_reported() {
    let files = [
        ("s.yaml", r"id: a
title: A
tags: []
teir: required
lab:
  pods:
    - {name: a, lables: {x: y}}
    - {name: b, foo: 1}
steps:
  - name: s
    expect:
      - {to: {pod: b}, alow: [a], deny: [a]}
"),
    ];
    assert_snapshot!(faults_of(&files), @"");
}

#[test]
fn wrong_types_and_missing_fields_are_all_reported() {
    let files = [
        ("s.yaml", r"title: 7
lab:
  pods:
    - {labels: {x: 1}}
    - {name: b, ports: [{port: 70000}]}
    - {name: c, node: wroker}
steps:
  - expect:
      - {allow: a, to: {pod: b}}
"),
    ];
    assert_snapshot!(faults_of(&files), @"");
}

#[test]
fn null_is_no_text() {
    let files = [
        ("s.yaml", r"id: a
title:
steps:
  - name:
    expect: [{to: {metadata: }, allow: [node/worker]}]
"),
    ];
    assert_snapshot!(faults_of(&files), @"");
}

#[test]
fn duplicate_keys() {
    let files = [
        ("s.yaml", r"id: a
id: b
title: A
steps:
  - name: s
    name: t
"),
    ];
    assert_snapshot!(faults_of(&files), @"");
}

#[test]
fn tabs() {
    let files = [
        ("s.yaml", r"id: a
steps:
	- name: s
"),
    ];
    assert_snapshot!(faults_of(&files), @"");
}

#[test]
fn broken_yaml() {
    let files = [
        ("s.yaml", r#"id: a
title: "A
steps: [
"#),
    ];
    assert_snapshot!(faults_of(&files), @"");
}

#[test]
fn merge_keys() {
    let files = [
        ("s.yaml", r"id: a
title: A
lab:
  pods:
    - &a {name: a}
    - {<<: *a, name: b}
steps: [{name: s, expect: [{to: {pod: b}, allow: [a]}]}]
"),
    ];
    assert_snapshot!(faults_of(&files), @"");
}

#[test]
fn tags_of_yaml() {
    let files = [
        ("s.yaml", r"id: !secret a
title: A
steps: []
"),
    ];
    assert_snapshot!(faults_of(&files), @"");
}

#[test]
fn two_documents() {
    let files = [
        ("s.yaml", r"id: a
title: A
lab: {pods: [{name: a}, {name: b}]}
steps:
  - name: open
    expect: [{to: {pod: b}, allow: [a]}]
---
id: b
"),
    ];
    assert_snapshot!(faults_of(&files), @"");
}

#[test]
fn not_a_mapping() {
    let files = [
        ("s.yaml", r"- id: a
"),
    ];
    assert_snapshot!(faults_of(&files), @"");
}

#[test]
fn no_steps() {
    let files = [
        ("s.yaml", r"id: Bad_Id
title: A
steps: []
"),
    ];
    assert_snapshot!(faults_of(&files), @"");
}

#[test]
fn targets() {
    let files = [
        ("s.yaml", r#"id: a
title: A
lab: {pods: [{name: a}, {name: b}]}
steps:
  - name: open
    expect: [{to: {pod: b}, allow: [a]}]
  - name: targets
    expect:
      - {to: {}, allow: [a]}
      - {to: {port: 80}, allow: [a]}
      - {to: {pod: b, dns: x}, allow: [a]}
      - {to: {metadata: }, allow: [a]}
      - {to: {metadata: {}, path: x}, allow: [a]}
      - {to: {pod: b, port: 0}, allow: [a]}
      - {to: {pod: b, port: 81}, allow: [a]}
      - {to: {pod: b, protocol: UDP}, allow: [a]}
      - {to: {dns: "a b"}, allow: [a]}
"#),
    ];
    assert_snapshot!(faults_of(&files), @"");
}

#[test]
fn references() {
    let files = [
        ("s.yaml", r"id: a
title: A
lab: {namespaces: {shop: {}}, pods: [{name: a}, {name: b}, {name: b, namespace: shop}], outside: [{name: bank}]}
steps:
  - name: open
    expect: [{to: {pod: b}, allow: [a]}]
  - name: references
    expect:
      - {to: {pod: bb}, allow: [a]}
      - {to: {service: web}, allow: [a]}
      - {to: {outside: bnak}, allow: [a]}
      - {to: {pod: shop/c}, allow: [a, nodes/worker, node/wroker, outside/x]}
      - {to: {pod: shop/b}, allow: [b]}
      - {to: {pod: default/b}, allow: [late]}
  - name: later
    create: [{name: late}]
    expect: [{to: {pod: late}, allow: [a]}]
    recreate: [nobody]
"),
    ];
    assert_snapshot!(faults_of(&files), @"");
}

#[test]
fn lab_section() {
    let files = [
        ("s.yaml", r#"id: a
title: A
lab:
  namespaces:
    node: {}
    Shop: {labels: {kubernetes.io/metadata.name: x, "a b": c}}
  pods:
    - {name: a}
    - {name: a}
    - {name: b, namespace: shpo, labels: {app: "-x"}, ports: [{port: 0}, {port: 80, name: HTTP}, {port: 80}]}
  outside: [{name: x}, {name: x}]
  services: [{name: web, selector: {app: web}, port: 0}, {name: all, selector: {}, port: 80}]
steps:
  - name: s
    expect: [{to: {pod: a}, allow: [node/worker]}]
"#),
    ];
    assert_snapshot!(faults_of(&files), @"");
}

#[test]
fn actions() {
    let files = [
        ("s.yaml", r"id: a
title: A
lab: {pods: [{name: a}, {name: b}]}
steps:
  - name: open
    expect: [{to: {pod: b}, allow: [a]}]
  - name: open
    label:
      - {set: {x: y}}
      - {pod: a, namespace: default, set: {x: y}}
      - {pod: a}
      - {namespace: dfault, set: {x: y}, remove: [x]}
    expect: [{to: {pod: b}, allow: [a], deny: [default/a, a]}, {to: {pod: b}}]
  - name: idle
  - name: acts
    restart: [a]
  - name: gone
    delete: [m.yaml]
    expect: [{to: {pod: b}, status: {code: 99, from: [a, a]}}]
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
fn no_contrast_is_a_warning() {
    let files = [
        ("s.yaml", r"id: a
title: A
lab: {pods: [{name: a}, {name: b}]}
steps: [{name: s, expect: [{to: {pod: b}, allow: [a]}]}]
"),
    ];
    assert_snapshot!(faults_of(&files), @"");
}

#[test]
fn denials_without_baseline_are_warned_of() {
    let files = [
        ("s.yaml", r"id: a
title: A
lab: {pods: [{name: a}, {name: b}, {name: c}]}
steps: [{name: s, expect: [{to: {pod: b}, allow: [a], deny: [c]}]}]
"),
    ];
    assert_snapshot!(faults_of(&files), @"");
}
