//! Scenarios that cannot be meant as they stand, each with all that is said of it.

use insta::assert_snapshot;

use super::{faults_of, opened};

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
    let scenario = &opened(
        r#"  - name: targets
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
"#,
    );
    assert_snapshot!(faults_of(&[("s.yaml", scenario)]), @r#"
    error: this destination has no target
     --> s.yaml:9:10
      |
    9 |       - {to: {}, allow: [a]}
      |          ^^
      |
      = help: write one of `metadata`, `pod`, `service`, `outside`, `node`, `dns`, `apiserver`, `kubelet`

    error: this destination has no target
      --> s.yaml:10:10
       |
    10 |       - {to: {port: 80}, allow: [a]}
       |          ^^
       |
       = help: write one of `metadata`, `pod`, `service`, `outside`, `node`, `dns`, `apiserver`, `kubelet`

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
fn pods_in_their_nodes_networks_share_the_ports_of_the_nodes() {
    let scenario = r"id: a
title: A
lab:
  pods:
    - {name: a, hostNetwork: true, ports: [{port: 8181}]}
    - {name: b, hostNetwork: true, ports: [{port: 8181, protocol: UDP}, {port: 8181}]}
    - {name: c, hostNetwork: true, node: master, ports: [{port: 8181}]}
    - {name: d, ports: [{port: 8181}]}
steps:
  - name: s
    expect: [{to: {pod: a}, allow: [d]}]
";
    assert_snapshot!(faults_of(&[("s.yaml", scenario)]), @r"
    error: port 8181 of node/worker is another pod's already
     --> s.yaml:6:36
      |
    6 |     - {name: b, hostNetwork: true, ports: [{port: 8181, protocol: UDP}, {port: 8181}]}
      |                                    ^^^^^
      |
      = help: pods with `hostNetwork` share the ports of their node: say `ports: [{port: 8182}]`
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
fn credentials() {
    let scenario = r"id: a
title: A
lab: {pods: [{name: a}, {name: b, serviceAccount: agent}, {name: c, serviceAccount: No Name}]}
steps:
  - name: open
    expect:
      - {to: {apiserver: {}}, allow: [a]}
      - {to: {apiserver: {as: token}}, allow: [a, b, node/worker]}
      - {to: {apiserver: {as: node}}, status: {code: 403, from: [a, node/worker]}}
      - {to: {apiserver: {patch: {spec: {}}}}, record: [a]}
      - {to: {apiserver: {node: worker, patch: {}}, method: PUT}, record: [a]}
      - {to: {kubelet: {node: worker, as: token, readOnly: true}}, refused: [b]}
      - {to: {kubelet: {node: worker, as: node}}, record: [node/worker]}
";
    let said = faults_of(&[("s.yaml", scenario)]);
    for fault in [
        "`a` has no token of a service account",
        "`node/worker` has no token of a service account",
        "`a` has no kubelet's credential",
        "whose patch? No node is named",
        "an empty patch changes nothing",
        "a patch is sent as PATCH and as a dry run",
        "the read-only port has no TLS",
        "a kubelet's own certificate is for the API server",
    ] {
        assert!(said.contains(fault), "{fault}: {said}");
    }
    assert!(!said.contains("`b` has") && !said.contains("`node/worker` has no kubelet"), "{said}");
}
