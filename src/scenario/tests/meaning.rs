//! Scenarios that cannot be meant as they stand, each with all that is said of it.

use insta::assert_snapshot;

use super::faults_of;

#[test]
fn no_steps() {
    let scenario = r"id: Bad_Id
title: A
steps: []
";
    assert_snapshot!(faults_of(&[("s.yaml", scenario)]), @r"
    error: `Bad_Id` cannot be an id: lower-case letters, digits and dashes, at most 63, with a letter or digit at both ends
     --> s.yaml:1:5
      |
    1 | id: Bad_Id
      |     ^^^^^^

    error: a scenario needs steps
     --> s.yaml:3:1
      |
    3 | steps: []
      | ^^^^^
      |
      = help: begin with a step without actions in which everything is allowed
    ");
}

#[test]
fn targets() {
    let scenario = r#"id: a
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
"#;
    assert_snapshot!(faults_of(&[("s.yaml", scenario)]), @r#"
    error: this destination has no target
     --> s.yaml:9:10
      |
    9 |       - {to: {}, allow: [a]}
      |          ^^
      |
      = help: write one of `metadata`, `pod`, `service`, `outside`, `node`, `dns`, `apiserver`

    error: this destination has no target
      --> s.yaml:10:10
       |
    10 |       - {to: {port: 80}, allow: [a]}
       |          ^^
       |
       = help: write one of `metadata`, `pod`, `service`, `outside`, `node`, `dns`, `apiserver`

    error: a destination has one target, and this one has `pod` and `dns`
      --> s.yaml:11:23
       |
    11 |       - {to: {pod: b, dns: x}, allow: [a]}
       |                       ^^^
       |
       = help: write an expectation for each

    error: `metadata:` without a value says nothing
      --> s.yaml:12:15
       |
    12 |       - {to: {metadata: }, allow: [a]}
       |               ^^^^^^^^
       |
       = help: write `metadata: {}`

    error: the lab has no metadata server
      --> s.yaml:13:15
       |
    13 |       - {to: {metadata: {}, path: x}, allow: [a]}
       |               ^^^^^^^^
       |
       = help: add `metadata: gcp` to `lab`

    error: the metadata server's path stands under `metadata`
      --> s.yaml:13:35
       |
    13 |       - {to: {metadata: {}, path: x}, allow: [a]}
       |                                   ^
       |
       = help: write `metadata: {path: …}`

    error: 0 is no port: it is from 1 to 65535
      --> s.yaml:14:29
       |
    14 |       - {to: {pod: b, port: 0}, allow: [a]}
       |                             ^

    error: pod `b` serves no TCP port 81
      --> s.yaml:15:29
       |
    15 |       - {to: {pod: b, port: 81}, allow: [a]}
       |                             ^^
       |
       = help: it serves 80/TCP; add what is missing to its `ports`

    error: pod `b` serves no UDP port
      --> s.yaml:16:33
       |
    16 |       - {to: {pod: b, protocol: UDP}, allow: [a]}
       |                                 ^^^
       |
       = help: it serves 80/TCP; add what is missing to its `ports`

    error: `a b` is no name that DNS could resolve
      --> s.yaml:17:20
       |
    17 |       - {to: {dns: "a b"}, allow: [a]}
       |                    ^^^^^
       |
       = help: write a host name, as `kubernetes.default`
    "#);
}

#[test]
fn references() {
    let scenario = r"id: a
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
";
    assert_snapshot!(faults_of(&[("s.yaml", scenario)]), @r"
    error: `b` is ambiguous: namespaces `default` and `shop` both have a pod of that name
     --> s.yaml:6:25
      |
    6 |     expect: [{to: {pod: b}, allow: [a]}]
      |                         ^
      |
      = help: write `default/b` or `shop/b`

    error: there is no pod `bb`
     --> s.yaml:9:20
      |
    9 |       - {to: {pod: bb}, allow: [a]}
      |                    ^^
      |
      = help: did you mean `b`?

    error: there is no Service `web`
      --> s.yaml:10:24
       |
    10 |       - {to: {service: web}, allow: [a]}
       |                        ^^^
       |
       = help: the scenario has no Service

    error: there is no outside host `bnak`
      --> s.yaml:11:24
       |
    11 |       - {to: {outside: bnak}, allow: [a]}
       |                        ^^^^
       |
       = help: did you mean `bank`?

    error: there is no pod `shop/c`
      --> s.yaml:12:20
       |
    12 |       - {to: {pod: shop/c}, allow: [a, nodes/worker, node/wroker, outside/x]}
       |                    ^^^^^^
       |
       = help: did you mean `shop/b`?

    error: there is no pod `nodes/worker`
      --> s.yaml:12:40
       |
    12 |       - {to: {pod: shop/c}, allow: [a, nodes/worker, node/wroker, outside/x]}
       |                                        ^^^^^^^^^^^^
       |
       = help: did you mean `node/worker`?

    error: there is no node `node/wroker`
      --> s.yaml:12:54
       |
    12 |       - {to: {pod: shop/c}, allow: [a, nodes/worker, node/wroker, outside/x]}
       |                                                      ^^^^^^^^^^^
       |
       = help: did you mean `node/worker`?

    error: there is no outside host `x`
      --> s.yaml:12:67
       |
    12 |       - {to: {pod: shop/c}, allow: [a, nodes/worker, node/wroker, outside/x]}
       |                                                                   ^^^^^^^^^
       |
       = help: known: bank

    error: `b` is ambiguous: namespaces `default` and `shop` both have a pod of that name
      --> s.yaml:13:37
       |
    13 |       - {to: {pod: shop/b}, allow: [b]}
       |                                     ^
       |
       = help: write `default/b` or `shop/b`

    error: the pod `late` is not there yet: step `later` creates it
      --> s.yaml:14:40
       |
    14 |       - {to: {pod: default/b}, allow: [late]}
       |                                        ^^^^

    error: there is no pod `nobody`
      --> s.yaml:18:16
       |
    18 |     recreate: [nobody]
       |                ^^^^^^
       |
       = help: known: a, b, late
    ");
}

#[test]
fn lab_section() {
    let scenario = r#"id: a
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
"#;
    assert_snapshot!(faults_of(&[("s.yaml", scenario)]), @r#"
    error: a namespace cannot be called `node`
     --> s.yaml:5:5
      |
    5 |     node: {}
      |     ^^^^
      |
      = help: `node/…` means something else as a source; choose another name

    error: `Shop` cannot be a name: lower-case letters, digits and dashes, at most 63, with a letter or digit at both ends
     --> s.yaml:6:5
      |
    6 |     Shop: {labels: {kubernetes.io/metadata.name: x, "a b": c}}
      |     ^^^^

    error: this label is set by the API server, on every namespace
     --> s.yaml:6:21
      |
    6 |     Shop: {labels: {kubernetes.io/metadata.name: x, "a b": c}}
      |                     ^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: remove it

    error: `a b` cannot be a label's key: a name of at most 63 letters, digits, `-`, `_` and `.`, and in front of it at most a domain and a `/`
     --> s.yaml:6:53
      |
    6 |     Shop: {labels: {kubernetes.io/metadata.name: x, "a b": c}}
      |                                                     ^^^^^

    error: namespace `default` has two pods `a`
     --> s.yaml:9:14
      |
    9 |     - {name: a}
      |              ^
      |
      = help: a step that makes a pod anew says `recreate:`

    error: the lab has no namespace `shpo`
      --> s.yaml:10:28
       |
    10 |     - {name: b, namespace: shpo, labels: {app: "-x"}, ports: [{port: 0}, {port: 80, name: HTTP}, {port: 80}]}
       |                            ^^^^
       |
       = help: did you mean `Shop`?

    error: `-x` cannot be a label's value: at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends
      --> s.yaml:10:48
       |
    10 |     - {name: b, namespace: shpo, labels: {app: "-x"}, ports: [{port: 0}, {port: 80, name: HTTP}, {port: 80}]}
       |                                                ^^^^

    error: 0 is no port: it is from 1 to 65535
      --> s.yaml:10:70
       |
    10 |     - {name: b, namespace: shpo, labels: {app: "-x"}, ports: [{port: 0}, {port: 80, name: HTTP}, {port: 80}]}
       |                                                                      ^

    error: `HTTP` cannot be a port's name: at most 15 lower-case letters, digits and single dashes, with a letter
      --> s.yaml:10:91
       |
    10 |     - {name: b, namespace: shpo, labels: {app: "-x"}, ports: [{port: 0}, {port: 80, name: HTTP}, {port: 80}]}
       |                                                                                           ^^^^

    error: port 80 is listed twice
      --> s.yaml:10:105
       |
    10 |     - {name: b, namespace: shpo, labels: {app: "-x"}, ports: [{port: 0}, {port: 80, name: HTTP}, {port: 80}]}
       |                                                                                                         ^^

    error: there are two outside hosts `x`
      --> s.yaml:11:31
       |
    11 |   outside: [{name: x}, {name: x}]
       |                               ^

    warning: no pod of namespace `default` has the labels that the Service selects
      --> s.yaml:12:26
       |
    12 |   services: [{name: web, selector: {app: web}, port: 0}, {name: all, selector: {}, port: 80}]
       |                          ^^^^^^^^

    error: 0 is no port: it is from 1 to 65535
      --> s.yaml:12:54
       |
    12 |   services: [{name: web, selector: {app: web}, port: 0}, {name: all, selector: {}, port: 80}]
       |                                                      ^

    error: the Service selects no pods: its selector is empty
      --> s.yaml:12:70
       |
    12 |   services: [{name: web, selector: {app: web}, port: 0}, {name: all, selector: {}, port: 80}]
       |                                                                      ^^^^^^^^
    "#);
}

#[test]
fn actions() {
    let scenario = r"id: a
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
";
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
    let scenario = r"id: a
title: A
lab: {pods: [{name: a}, {name: b}]}
steps:
  - name: open
    expect: [{to: {pod: b}, allow: [a]}]
  - name: idle
  - name: acts
    restart: [a]
  - name: gone
    delete: [m.yaml]
    expect: [{to: {pod: b}, status: {code: 99, from: [a, a]}}]
";
    let manifest = r"apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec:
  podSelector: {}
";
    assert_snapshot!(faults_of(&[("s.yaml", scenario), ("m.yaml", manifest)]), @r"
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
