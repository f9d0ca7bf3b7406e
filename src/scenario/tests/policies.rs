//! Policies that an API server refuses, or reads differently than was meant, each with all that is said of it.

use insta::assert_snapshot;

use super::{SCENARIO, faults_of};

#[test]
fn policy_blocks_that_the_api_refuses() {
    let manifest = r"apiVersion: networking.k8s.io/v1
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
";
    assert_snapshot!(faults_of(&[("s.yaml", SCENARIO), ("m.yaml", manifest)]), @r"
    error: `10.0.0.0/33` is no CIDR
     --> m.yaml:9:27
      |
    9 |         - ipBlock: {cidr: 10.0.0.0/33}
      |                           ^^^^^^^^^^^
      |
      = help: write an address, a slash and a prefix length, as `10.0.0.0/8`

    error: `169.254.169.254` is no CIDR
      --> m.yaml:10:27
       |
    10 |         - ipBlock: {cidr: 169.254.169.254}
       |                           ^^^^^^^^^^^^^^^
       |
       = help: for this one address write `169.254.169.254/32`

    error: `11.0.0.0/8` is not a part of `10.0.0.0/8`, so it cannot be an exception
      --> m.yaml:11:48
       |
    11 |         - ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/8, 10.0.0.0/8, 10.1.0.0/16]}
       |                                                ^^^^^^^^^^

    error: `10.0.0.0/8` is not a part of `10.0.0.0/8`, so it cannot be an exception
      --> m.yaml:11:60
       |
    11 |         - ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/8, 10.0.0.0/8, 10.1.0.0/16]}
       |                                                            ^^^^^^^^^^

    error: an `ipBlock` cannot stand with selectors
      --> m.yaml:12:11
       |
    12 |         - ipBlock: {cidr: 10.0.0.0/8}
       |           ^^^^^^^
       |
       = help: make it a list entry of its own: the entries are alternatives

    error: this peer names nobody
      --> m.yaml:14:11
       |
    14 |         - {}
       |           ^
       |
       = help: write `podSelector`, `namespaceSelector` or `ipBlock`; `podSelector: {}` is every pod
    ");
}

#[test]
fn policy_host_bits_are_warned_of() {
    let manifest = r"apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec:
  podSelector: {}
  policyTypes: [Egress]
  egress:
    - to:
        - ipBlock: {cidr: 10.1.2.3/8, except: [10.0.0.7/16]}
        - ipBlock: {cidr: 010.0.0.0/8}
";
    assert_snapshot!(faults_of(&[("s.yaml", SCENARIO), ("m.yaml", manifest)]), @r"
    warning: `10.1.2.3/8` has host bits: the network that counts is `10.0.0.0/8`
     --> m.yaml:9:27
      |
    9 |         - ipBlock: {cidr: 10.1.2.3/8, except: [10.0.0.7/16]}
      |                           ^^^^^^^^^^
      |
      = help: write `10.0.0.0/8`, or `10.1.2.3/32` for the one address

    warning: `10.0.0.7/16` has host bits: the network that counts is `10.0.0.0/16`
     --> m.yaml:9:48
      |
    9 |         - ipBlock: {cidr: 10.1.2.3/8, except: [10.0.0.7/16]}
      |                                                ^^^^^^^^^^^
      |
      = help: write `10.0.0.0/16`, or `10.0.0.7/32` for the one address

    warning: `010.0.0.0/8` is an unusual way to write `10.0.0.0/8`
      --> m.yaml:10:27
       |
    10 |         - ipBlock: {cidr: 010.0.0.0/8}
       |                           ^^^^^^^^^^^
       |
       = help: write `10.0.0.0/8`
    ");
}

#[test]
fn policy_ports_that_the_api_refuses() {
    let manifest = r#"apiVersion: networking.k8s.io/v1
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
"#;
    assert_snapshot!(faults_of(&[("s.yaml", SCENARIO), ("m.yaml", manifest)]), @r#"
    error: `ingress` is no policy type
     --> m.yaml:6:17
      |
    6 |   policyTypes: [ingress, Ingress]
      |                 ^^^^^^^
      |
      = help: did you mean `Ingress`?

    error: `endPort` 79 is below `port` 80
     --> m.yaml:9:31
      |
    9 |         - {port: 80, endPort: 79}
      |                               ^^

    error: `endPort` needs a `port` that is a number, and this one is a name
      --> m.yaml:10:33
       |
    10 |         - {port: http, endPort: 90}
       |                                 ^^

    error: `endPort` needs a `port` from which the range begins
      --> m.yaml:11:21
       |
    11 |         - {endPort: 90}
       |                     ^^

    error: 0 is no port: it is from 1 to 65535
      --> m.yaml:12:18
       |
    12 |         - {port: 0}
       |                  ^

    error: `80` cannot be a port's name: at most 15 lower-case letters, digits and single dashes, with a letter
      --> m.yaml:13:18
       |
    13 |         - {port: "80"}
       |                  ^^^^
       |
       = help: write the number without quotes

    error: `tcp` is no protocol
      --> m.yaml:14:32
       |
    14 |         - {port: 80, protocol: tcp}
       |                                ^^^
       |
       = help: did you mean `TCP`?
    "#);
}

#[test]
fn policy_of_wrong_types() {
    let manifest = r#"apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec:
  podSelector: {}
  ingress:
    - ports:
        - {port: 80, endPort: "90"}
        - {port: [80]}
      from: {podSelector: {}}
"#;
    assert_snapshot!(faults_of(&[("s.yaml", SCENARIO), ("m.yaml", manifest)]), @r#"
    error: `spec.ingress[0].ports[0].endPort`: invalid type: string "90", expected a whole number
     --> m.yaml:8:31
      |
    8 |         - {port: 80, endPort: "90"}
      |                               ^^^^

    error: `spec.ingress[0].ports[1].port`: invalid type: list, expected IntOrString
     --> m.yaml:9:12
      |
    9 |         - {port: [80]}
      |            ^^^^

    error: `spec.ingress[0].from`: invalid type: mapping, expected a list
      --> m.yaml:10:7
       |
    10 |       from: {podSelector: {}}
       |       ^^^^
    "#);
}

#[test]
fn policy_selectors_that_the_api_refuses() {
    let manifest = r#"apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec:
  podSelector: {}
  ingress:
    - from:
        - podSelector: {matchLabels: {"-x": z, x: "-y"}}
        - podSelector:
            matchExpressions:
              - {key: a, operator: in, values: [b]}
              - {key: a, operator: In}
              - {key: a, operator: Exists, values: [b]}
              - {operator: Exists}
"#;
    assert_snapshot!(faults_of(&[("s.yaml", SCENARIO), ("m.yaml", manifest)]), @r#"
    error: `-x` cannot be a label's key: a name of at most 63 letters, digits, `-`, `_` and `.`, and in front of it at most a domain and a `/`
     --> m.yaml:8:39
      |
    8 |         - podSelector: {matchLabels: {"-x": z, x: "-y"}}
      |                                       ^^^^

    error: `-y` cannot be a label's value: at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends
     --> m.yaml:8:51
      |
    8 |         - podSelector: {matchLabels: {"-x": z, x: "-y"}}
      |                                                   ^^^^

    error: `in` is no operator
      --> m.yaml:11:36
       |
    11 |               - {key: a, operator: in, values: [b]}
       |                                    ^^
       |
       = help: did you mean `In`?

    error: `In` needs values
      --> m.yaml:12:18
       |
    12 |               - {key: a, operator: In}
       |                  ^^^

    error: `Exists` takes no values
      --> m.yaml:13:44
       |
    13 |               - {key: a, operator: Exists, values: [b]}
       |                                            ^^^^^^

    error: the requirement has no `key`
      --> m.yaml:14:18
       |
    14 |               - {operator: Exists}
       |                  ^^^^^^^^
    "#);
}
