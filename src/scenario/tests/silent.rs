//! What would be taken without a word and then mean something else, or nothing: said with its place before any lab is there.

use super::{DENY, SCENARIO, folder, opened};
use crate::{
    engine,
    scenario::{Diagnostic, load_path},
};

/// Where each fault of `s.yaml` is, what the simulator contradicts included, and what is wrong.
fn told(files: &[(&str, &str)]) -> Vec<String> {
    let dir = folder(files);
    let faults: Vec<Diagnostic> = match load_path(&dir.path().join("s.yaml")) {
        Err(faults) => faults.0,
        Ok(loaded) => {
            let contradicted = loaded.iter().filter_map(|loaded| engine::contradictions(loaded).err()).flatten();
            loaded.iter().flat_map(|loaded| loaded.warnings.clone()).chain(contradicted).collect()
        }
    };
    let line = |fault: &Diagnostic| format!("{}: {}", fault.location(), fault.message);
    faults.iter().map(|fault| line(fault).replace(&format!("{}/", dir.path().display()), "")).collect()
}

#[test]
fn words_that_kubectl_reads_otherwise() {
    let policy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: deny}\nspec:\n  podSelector: \
                  {matchLabels: {a: yes, b: \"no\", c: 010}}\n";
    let expected = [
        "m.yaml:5:34: `kubectl` reads `yes` as a boolean, and not as a text",
        "m.yaml:5:51: `kubectl` reads `010` as a number, and not as a text",
    ];
    assert_eq!(told(&[("s.yaml", SCENARIO), ("m.yaml", policy)]), expected);
}

#[test]
fn two_objects_of_one_name() {
    let twice = format!("{DENY}---\n{DENY}");
    let expected = ["m.yaml:9:18: NetworkPolicy `deny` is in this file already"];
    assert_eq!(told(&[("s.yaml", SCENARIO), ("m.yaml", &twice)]), expected);
    let inside = format!("{}---\n{twice}", SCENARIO.replace("m.yaml", "'#deny'"));
    assert_eq!(told(&[("s.yaml", &inside)]), ["s.yaml:19:18: there are two documents `deny` of this kind in the file"]);
}

#[test]
fn rules_about_nobody() {
    let scenario = SCENARIO.replace("steps:", "addresses: {192.0.2.1: {pod: b}}\nsteps:");
    let policy =
        format!("{DENY}  ingress:\n  - from: [{{ipBlock: {{cidr: 192.0.2.11/32}}}}]\n    ports: [{{port: web}}]\n");
    let expected = [
        "s.yaml:4:13: no `ipBlock` of the manifests is 192.0.2.1",
        "s.yaml:9:13: no pod has a port called `web`, so that rule of `deny` allows nothing",
    ];
    assert_eq!(told(&[("s.yaml", &scenario), ("m.yaml", &policy)]), expected);
    let policy = policy.replace("2.11/", "2.1/").replace("web", "80");
    assert!(told(&[("s.yaml", &scenario), ("m.yaml", &policy)]).is_empty());
    let mapped = policy.replace("192.0.2.1/32", "\"::ffff:192.0.2.1/128\"");
    let found = told(&[("s.yaml", SCENARIO), ("m.yaml", &mapped)]);
    assert_eq!(found, ["m.yaml:7:29: `::ffff:192.0.2.1/128` is IPv4 in IPv6 notation, which no packet's address is"]);
}

#[test]
fn addresses_that_no_host_can_have() {
    let with = |address: &str| {
        let lab = format!("outside: [{{name: o, address: \"{address}\"}}], pods:");
        told(&[("s.yaml", &SCENARIO.replace("pods:", &lab)), ("m.yaml", DENY)])
    };
    for (address, why) in [
        ("127.0.0.1", "is no address that a host elsewhere can have"),
        ("0.0.0.0", "is no address that a host elsewhere can have"),
        ("fe80::1", "is no address that a host elsewhere can have"),
        ("::ffff:1.2.3.4", "is an IPv4 address in IPv6 notation"),
        ("169.254.169.254", "is a metadata server's address, or its neighbour on the link"),
    ] {
        assert_eq!(with(address), [format!("s.yaml:3:36: {address} {why}")]);
    }
    assert_eq!(with("10.244.0.5"), ["s.yaml:3:36: labs use 10.244.0.0/15 themselves, and 10.244.0.5 is in it"]);
    assert!(with("203.0.113.5").is_empty() && with("8.8.8.8").is_empty() && with("2001:db8::1").is_empty());
}

#[test]
fn steps_that_judge_nothing() {
    let scenario = SCENARIO.split("    expect").next().unwrap().to_owned() + "    apply: [m.yaml]\n";
    assert_eq!(told(&[("s.yaml", &scenario), ("m.yaml", DENY)]), ["s.yaml:4:1: this scenario expects nothing"]);
}

#[test]
fn what_the_simulator_contradicts_has_its_place() {
    let wrong = SCENARIO.replace("deny: [a]", "allow: [a]");
    let found = told(&[("s.yaml", &wrong), ("m.yaml", DENY)]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("s.yaml:1:1: this scenario has no contrast"));
    assert!(
        found[1].starts_with("s.yaml:9:15: a, step `closed`: a -> b:80/tcp: expected to be reachable"),
        "{found:?}"
    );
    let twice = opened(
        "  - name: closed\n    expect:\n    - {to: {pod: b}, allow: [a]}\n    - {to: {pod: default/b}, allow: [a]}\n",
    );
    assert!(
        told(&[("s.yaml", &twice)])
            .contains(&"s.yaml:10:8: a, step `closed`: `a -> b:80/tcp` is expected twice".to_owned())
    );
}

#[test]
fn a_deployment_makes_a_pod_by_its_template() {
    let scenario = |owner: &str| {
        let scenario = SCENARIO.replace("{name: a},", &format!("{{name: a, labels: {{app: a}}{owner}}},"));
        let relabelled =
            "    label: [{pod: a, set: {app: c}}]\n    recreate: [a]\n    expect: [{to: {pod: b}, allow: [a]}]\n";
        scenario.replace("    expect: [{to: {pod: b}, deny: [a]}]\n", relabelled)
    };
    let policy = format!("{DENY}  ingress:\n  - from: [{{podSelector: {{matchLabels: {{app: a}}}}}}]\n");
    let found = |owner: &str| told(&[("s.yaml", &scenario(owner)), ("m.yaml", &policy)]).len();
    assert_eq!((found(", owner: deployment"), found("")), (1, 2), "a contrast is lacking in both");
}

#[test]
fn a_matrix_of_too_many_pods_is_not_expanded() {
    for (pods, said) in [(3000, "a scenario with 3000 pods is too large: at most 500"), (400, "a matrix of 400 pods")] {
        let pods = (0..pods).map(|number| format!("{{name: p{number}}}")).collect::<Vec<_>>().join(",");
        let scenario = format!("id: m\ntitle: M\nlab: {{pods: [{pods}]}}\nsteps: [{{name: all, matrix: {{}}}}]\n");
        let found = told(&[("s.yaml", &scenario)]);
        assert!(found.iter().any(|fault| fault.contains(said)), "{found:?}");
    }
}
