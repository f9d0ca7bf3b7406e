//! Steps that cannot be meant as they stand, each with all that is said of it.

use insta::assert_snapshot;

use super::{DENY, faults_of, opened};

#[test]
fn actions() {
    let scenario = &opened(
        r"  - name: open
    label:
      - {set: {x: y}}
      - {pod: a, namespace: default, set: {x: y}}
      - {pod: a}
      - {namespace: dfault, set: {x: y}, remove: [x]}
    expect: [{to: {pod: b}, allow: [a], deny: [default/a, a]}, {to: {pod: b}}]
",
    );
    assert_snapshot!(faults_of(&[("s.yaml", scenario)]), @r"
    error: there are two steps `open`
     --> s.yaml:7:11
      |
    7 |   - name: open
      |           ^^^^

    error: whose labels? Neither `pod` nor `namespace` is named
     --> s.yaml:9:10
      |
    9 |       - {set: {x: y}}
      |          ^^^
      |
      = help: add `pod:` or `namespace:`

    error: labels are changed on a `pod` or on a `namespace`, not on both
      --> s.yaml:10:10
       |
    10 |       - {pod: a, namespace: default, set: {x: y}}
       |          ^^^
       |
       = help: write an entry for each; `namespace/pod` names a pod of a namespace

    error: no label is changed
      --> s.yaml:11:10
       |
    11 |       - {pod: a}
       |          ^^^
       |
       = help: add `set:` or `remove:`

    error: the lab has no namespace `dfault`
      --> s.yaml:12:21
       |
    12 |       - {namespace: dfault, set: {x: y}, remove: [x]}
       |                     ^^^^^^
       |
       = help: did you mean `default`?

    error: the label `x` is both set and removed
      --> s.yaml:12:51
       |
    12 |       - {namespace: dfault, set: {x: y}, remove: [x]}
       |                                                   ^

    error: `default/a` is listed under both `allow` and `deny`
      --> s.yaml:13:48
       |
    13 |     expect: [{to: {pod: b}, allow: [a], deny: [default/a, a]}, {to: {pod: b}}]
       |                                                ^^^^^^^^^

    error: `a` is listed under both `allow` and `deny`
      --> s.yaml:13:59
       |
    13 |     expect: [{to: {pod: b}, allow: [a], deny: [default/a, a]}, {to: {pod: b}}]
       |                                                           ^

    error: this expectation has no source
      --> s.yaml:13:65
       |
    13 |     expect: [{to: {pod: b}, allow: [a], deny: [default/a, a]}, {to: {pod: b}}]
       |                                                                 ^^
       |
       = help: say who must reach the destination (`allow:`) or must not (`deny:`)
    ");
}

#[test]
fn empty_steps() {
    let scenario = &opened(
        r"  - name: idle
  - name: acts
    restart: [a]
  - name: gone
    delete: [m.yaml]
    expect: [{to: {pod: b}, status: {code: 99, from: [a, a]}}]
",
    );
    assert_snapshot!(faults_of(&[("s.yaml", scenario), ("m.yaml", DENY)]), @r"
    error: this step does nothing and expects nothing
     --> s.yaml:7:11
      |
    7 |   - name: idle
      |           ^^^^
      |
      = help: add `expect:`

    warning: this step acts and checks nothing afterwards
     --> s.yaml:8:11
      |
    8 |   - name: acts
      |           ^^^^
      |
      = help: add `expect:`

    warning: `m.yaml` is deleted, and no step has applied it
      --> s.yaml:11:14
       |
    11 |     delete: [m.yaml]
       |              ^^^^^^

    error: 99 is no HTTP status: it is from 100 to 599
      --> s.yaml:12:44
       |
    12 |     expect: [{to: {pod: b}, status: {code: 99, from: [a, a]}}]
       |                                            ^^

    error: `a` is listed twice under `status`
      --> s.yaml:12:58
       |
    12 |     expect: [{to: {pod: b}, status: {code: 99, from: [a, a]}}]
       |                                                          ^
    ");
}

#[test]
fn no_contrast_is_a_warning() {
    let scenario = r"id: a
title: A
lab: {pods: [{name: a}, {name: b}]}
steps: [{name: s, expect: [{to: {pod: b}, allow: [a]}]}]
";
    assert_snapshot!(faults_of(&[("s.yaml", scenario)]), @r"
    warning: this scenario has no contrast: nothing is denied
     --> s.yaml:1:1
      |
    1 | id: a
      | ^^
      |
      = help: have an `allow` and a `deny` that differ only in source, destination, port, protocol, family or step: without that a network that is broken, or that lets all through, would pass too
    ");
}

#[test]
fn denials_without_baseline_are_warned_of() {
    let scenario = r"id: a
title: A
lab: {pods: [{name: a}, {name: b}, {name: c}]}
steps: [{name: s, expect: [{to: {pod: b}, allow: [a], deny: [c]}]}]
";
    assert_snapshot!(faults_of(&[("s.yaml", scenario)]), @r"
    warning: this denial is never seen to work without the policy
     --> s.yaml:4:62
      |
    4 | steps: [{name: s, expect: [{to: {pod: b}, allow: [a], deny: [c]}]}]
      |                                                              ^
      |
      = help: add an earlier step in which the same source is allowed to reach the same destination; without it each attempt takes whole seconds
    ");
}
