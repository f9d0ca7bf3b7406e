//! Files that cannot be read as scenarios, each with all that is said of it.

use insta::assert_snapshot;

use super::faults_of;

#[test]
fn unknown_fields_are_all_reported() {
    let scenario = r"id: a
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
";
    assert_snapshot!(faults_of(&[("s.yaml", scenario)]), @r"
    error: unknown field `teir`
     --> s.yaml:4:1
      |
    4 | teir: required
      | ^^^^
      |
      = help: did you mean `tier`?

    error: unknown field `lables` in `lab.pods[0]`
     --> s.yaml:7:17
      |
    7 |     - {name: a, lables: {x: y}}
      |                 ^^^^^^
      |
      = help: did you mean `labels`?

    error: unknown field `foo` in `lab.pods[1]`
     --> s.yaml:8:17
      |
    8 |     - {name: b, foo: 1}
      |                 ^^^
      |
      = help: known fields: `name`, `namespace`, `labels`, `node`, `ports`, `relay`, `hostNetwork`, `owner`, `serviceAccount`

    error: unknown field `alow` in `steps[0].expect[0]`
      --> s.yaml:12:24
       |
    12 |       - {to: {pod: b}, alow: [a], deny: [a]}
       |                        ^^^^
       |
       = help: did you mean `allow`?
    ");
}

#[test]
fn what_should_be_a_mapping_is_told_how() {
    let scenario = r"id: x
title: x
lab:
  pods:
    - app1
    - {name: app2, ports: [8080]}
steps:
  - x
";
    assert_snapshot!(faults_of(&[("s.yaml", scenario)]), @r#"
    error: `lab.pods[0]`: invalid type: string "app1", expected a mapping
     --> s.yaml:5:7
      |
    5 |     - app1
      |       ^^^^
      |
      = help: write `{ name: "app1" }`

    error: `lab.pods[1].ports[0]`: invalid type: integer `8080`, expected a mapping
     --> s.yaml:6:28
      |
    6 |     - {name: app2, ports: [8080]}
      |                            ^^^^
      |
      = help: write `{ port: 8080 }`

    error: `steps[0]`: invalid type: string "x", expected a mapping
     --> s.yaml:8:5
      |
    8 |   - x
      |     ^
      |
      = help: write `{ name: "x" }`
    "#);
}

#[test]
fn nothing_where_a_mapping_belongs_is_to_be_written_or_removed() {
    let faults = faults_of(&[("s.yaml", "id: x\ntitle: x\nlab:\n  pods:\n    -\nsteps: []\n")]);
    assert!(faults.contains("`lab.pods[0]`") && faults.contains("write a value, or remove the key"), "{faults}");
}

#[test]
fn wrong_types_and_missing_fields_are_all_reported() {
    let scenario = r"title: 7
lab:
  pods:
    - {labels: {x: 1}}
    - {name: b, ports: [{port: 70000}]}
    - {name: c, node: wroker}
steps:
  - expect:
      - {allow: a, to: {pod: b}}
";
    assert_snapshot!(faults_of(&[("s.yaml", scenario)]), @r#"
    error: the field `id` is missing
     --> s.yaml:1:1
      |
    1 | title: 7
      | ^^^^^

    error: `title`: invalid type: integer `7`, expected a string
     --> s.yaml:1:8
      |
    1 | title: 7
      |        ^
      |
      = help: put the value in quotes

    error: the field `name` is missing in `lab.pods[0]`
     --> s.yaml:4:8
      |
    4 |     - {labels: {x: 1}}
      |        ^^^^^^

    error: `lab.pods[0].labels.x`: invalid type: integer `1`, expected a string
     --> s.yaml:4:20
      |
    4 |     - {labels: {x: 1}}
      |                    ^
      |
      = help: put the value in quotes

    error: `lab.pods[1].ports[0].port`: invalid value: integer `70000`, expected a number from 0 to 65535
     --> s.yaml:5:32
      |
    5 |     - {name: b, ports: [{port: 70000}]}
      |                                ^^^^^

    error: `lab.pods[2].node` cannot be `wroker`
     --> s.yaml:6:23
      |
    6 |     - {name: c, node: wroker}
      |                       ^^^^^^
      |
      = help: did you mean `worker`?

    error: the field `name` is missing in `steps[0]`
     --> s.yaml:8:5
      |
    8 |   - expect:
      |     ^^^^^^

    error: `steps[0].expect[0].allow`: invalid type: string "a", expected a list
     --> s.yaml:9:17
      |
    9 |       - {allow: a, to: {pod: b}}
      |                 ^
    "#);
}

#[test]
fn null_is_no_text() {
    let scenario = r"id: a
title:
steps:
  - name:
    expect: [{to: {metadata: }, allow: [node/worker]}]
";
    assert_snapshot!(faults_of(&[("s.yaml", scenario)]), @r"
    error: `title`: invalid type: nothing, expected a string
     --> s.yaml:2:1
      |
    2 | title:
      | ^^^^^
      |
      = help: write a value, or remove the key

    error: `steps[0].name`: invalid type: nothing, expected a string
     --> s.yaml:4:5
      |
    4 |   - name:
      |     ^^^^
      |
      = help: write a value, or remove the key
    ");
}

#[test]
fn duplicate_keys() {
    let scenario = r"id: a
id: b
title: A
steps:
  - name: s
    name: t
";
    assert_snapshot!(faults_of(&[("s.yaml", scenario)]), @r"
    error: the key `id` is here for the second time
     --> s.yaml:2:1
      |
    2 | id: b
      | ^^
      |
      = help: only one of them can count; remove the other

    error: the key `name` is here for the second time
     --> s.yaml:6:5
      |
    6 |     name: t
      |     ^^^^
      |
      = help: only one of them can count; remove the other
    ");
}

#[test]
fn tabs() {
    let scenario = r"id: a
steps:
	- name: s
";
    assert_snapshot!(faults_of(&[("s.yaml", scenario)]), @r"
    error: this is no YAML that can be used: tabs disallowed within this context (block indentation)
     --> s.yaml:3:2
      |
    3 |     - name: s
      |     ^
      |
      = help: YAML is indented with spaces, never with tabs
    ");
}

#[test]
fn broken_yaml() {
    let scenario = r#"id: a
title: "A
steps: [
"#;
    assert_snapshot!(faults_of(&[("s.yaml", scenario)]), @r#"
    error: this is no YAML that can be used: unclosed quote
     --> s.yaml:2:8
      |
    2 | title: "A
      |        ^
    "#);
}

#[test]
fn merge_keys() {
    let scenario = r"id: a
title: A
lab:
  pods:
    - &a {name: a}
    - {<<: *a, name: b}
steps: [{name: s, expect: [{to: {pod: b}, allow: [a]}]}]
";
    assert_snapshot!(faults_of(&[("s.yaml", scenario)]), @r"
    error: unknown field `<<` in `lab.pods[1]`
     --> s.yaml:6:8
      |
    6 |     - {<<: *a, name: b}
      |        ^^
      |
      = help: merge keys are not supported; write the fields out
    ");
}

#[test]
fn tags_of_yaml() {
    let scenario = r"id: !secret a
title: A
steps: []
";
    assert_snapshot!(faults_of(&[("s.yaml", scenario)]), @r"
    error: tags such as `!secret` have no meaning here
     --> s.yaml:1:13
      |
    1 | id: !secret a
      |             ^
    ");
}

#[test]
fn not_a_mapping() {
    let scenario = r"- id: a
";
    assert_snapshot!(faults_of(&[("s.yaml", scenario)]), @r"
    error: a scenario is a mapping with `id`, `title` and `steps`
     --> s.yaml:1:1
      |
    1 | - id: a
      | ^
    ");
}
