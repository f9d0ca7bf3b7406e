//! The shipped scenarios, their schema and their catalogue.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use serde::Deserialize;
use serde_json::Value;

use super::super::{
    Diagnostic, Diagnostics, LoadedScenario, Need, SHIPPED, json_schema, load_path, packs, select, shipped,
};

fn checked_in(name: &str) -> &'static str {
    SHIPPED.get_file(name).unwrap().contents_utf8().unwrap()
}

#[test]
fn all_load_without_warnings() {
    // Rules of a direction that a policy does not have are what two cases are about.
    let meant = |warning: &Diagnostic| warning.message.contains("rules have no effect");
    let warnings = shipped().iter().flat_map(|loaded| loaded.warnings.clone());
    let warnings: Vec<_> = warnings.filter(|warning| !meant(warning)).collect();
    assert!(warnings.is_empty(), "{}", Diagnostics(warnings));
    assert!(shipped().len() >= 11);
    for loaded in shipped() {
        let beside = shipped().iter().filter(|other| other.path == loaded.path).count();
        let stem = loaded.path.file_stem().unwrap().to_str();
        assert!(beside > 1 || stem == Some(loaded.scenario.id.as_str()), "a file with one scenario is named by its id");
        assert!(loaded.scenario.cites.is_some() && !loaded.scenario.tags.is_empty(), "{}", loaded.scenario.id);
        let refused =
            |name: &String| loaded.scenario.steps.iter().any(|step| step.rejected.iter().any(|it| it.file == *name));
        let applied = loaded.manifests.iter().filter(|(name, _)| !refused(name));
        let disturbs = loaded.scenario.needs.contains(&Need::Disruptive);
        let policies =
            applied.flat_map(|(_, all)| all).all(|manifest| manifest.policy.is_some() || manifest.kind == "Service");
        assert!(policies || disturbs, "{} applies what concerns the whole cluster", loaded.scenario.id);
    }
}

#[test]
fn begin_with_a_baseline_that_allows_all() {
    for loaded in shipped() {
        let first = &loaded.scenario.steps[0];
        assert!(first.apply.is_empty() && first.label.is_empty(), "{}", loaded.scenario.id);
        assert!(first.expect.iter().all(|expect| expect.deny.is_empty() && !expect.allow.is_empty()));
    }
}

#[test]
fn are_the_same_from_the_disk() {
    let loaded = load_path(&Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")).unwrap();
    let ids = |all: &[LoadedScenario]| {
        let mut ids: Vec<_> = all.iter().map(|loaded| loaded.scenario.id.clone()).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(&loaded), ids(shipped()), "a shipped file is missing in the binary: touch src/scenario/files.rs");
}

#[test]
fn the_schema_is_not_stale() {
    let published: Value = serde_json::from_str(checked_in("schema.json")).unwrap_or_default();
    // Not `assert_eq`, which would print both in full.
    assert!(
        published == json_schema(),
        "scenarios/schema.json is stale; update it: policyprobe schema > scenarios/schema.json"
    );
}

#[test]
fn files_validate_against_the_schema_and_name_it() {
    let validator = jsonschema::validator_for(&json_schema()).unwrap();
    for loaded in shipped() {
        let text = checked_in(loaded.path.strip_prefix("scenarios").unwrap().to_str().unwrap());
        let up = "../".repeat(packs(loaded).len());
        let named = format!("# yaml-language-server: $schema={up}schema.json");
        assert_eq!(text.lines().next(), Some(named.as_str()), "{:?}", loaded.path);
        for document in serde_yaml::Deserializer::from_str(text) {
            let value: Value = serde::Deserialize::deserialize(document).unwrap();
            let errors: Vec<String> =
                validator.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path)).collect();
            assert!(errors.is_empty(), "{:?}: {errors:#?}", loaded.path);
        }
    }
}

#[test]
fn the_schema_refuses_what_the_loader_refuses() {
    let validator = jsonschema::validator_for(&json_schema()).unwrap();
    let step = |expect: &str| format!("{{id: a, title: A, steps: [{{name: s, expect: [{expect}]}}]}}");
    let valid = |text: &str| validator.is_valid(&serde_yaml::from_str(text).unwrap());
    assert!(valid(&step("{to: {pod: a}, allow: [b, x/y, node/worker, outside/web]}")));
    for bad in [
        "{to: {}, allow: [b]}",
        "{to: {pod: a, dns: b}, allow: [b]}",
        "{to: {pod: a}, allow: [B]}",
        "{to: {pod: a}, allow: [a/b/c]}",
        "{to: {pod: a}, alow: [b]}",
        "{to: {pod: a, port: 0}, allow: [b]}",
        "{to: {pod: a, protocol: tcp}, allow: [b]}",
        "{allow: [b]}",
    ] {
        assert!(!valid(&step(bad)), "{bad}");
    }
    assert!(!valid("{id: A, title: A, steps: []}"));
}

#[test]
fn the_catalogue_is_not_stale() {
    let mut catalogue = String::new();
    let mut last = None;
    // These packs have a line a case in `policyprobe list`.
    let listed = |loaded: &&LoadedScenario| !["conformance", "cyclonus"].contains(&packs(loaded)[0]);
    for loaded in shipped().iter().filter(listed) {
        let pack = packs(loaded).join("/");
        if Some(&pack) != last.as_ref() {
            let _ = write!(catalogue, "\n## {pack}\n\n| id | tier | what is proved |\n|---|---|---|\n");
            last = Some(pack);
        }
        let tier = format!("{:?}", loaded.scenario.tier).to_lowercase();
        let _ = writeln!(catalogue, "| `{}` | {tier} | {} |", loaded.scenario.id, loaded.scenario.title);
    }
    assert!(
        checked_in("README.md").ends_with(&catalogue),
        "scenarios/README.md is stale; its end must be:\n{catalogue}"
    );
}

#[test]
fn words_select() {
    let ids = |words: &[&str]| -> Vec<String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        select(&words).unwrap().into_iter().map(|loaded| loaded.scenario.id.clone()).collect()
    };
    assert_eq!(ids(&[]).len(), shipped().len());
    assert_eq!(ids(&["metadata-lab"]), ["metadata-lab"]);
    assert_eq!(ids(&["ingress"]), ["ingress-two-namespaces", "udp-beside-tcp"]);
    assert_eq!(ids(&["basics"]), ["egress-two-namespaces", "ingress-two-namespaces", "udp-beside-tcp"]);
    assert_eq!(ids(&["ingress", "basics"]).len(), 3);
}

/// A case of another suite, and the scenario that does the same.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Equivalent {
    number: usize,
    theirs: String,
    ours: String,
}

/// What `tests/equivalents` says of another suite, by the tag of its equivalents.
fn equivalents(tag: &str) -> Vec<Equivalent> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/equivalents/{tag}.yaml"));
    serde_yaml::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

#[test]
fn every_case_of_another_suite_has_its_equivalent() {
    for (tag, cases) in [("cyclonus", 112), ("upstream-e2e", 42)] {
        let table = equivalents(tag);
        assert!(table.iter().map(|case| case.number).eq(1..=cases), "{tag}: each case once, and in order");
        let theirs: BTreeSet<_> = table.iter().map(|case| case.theirs.as_str()).collect();
        assert_eq!(theirs.len(), cases, "{tag}: two cases have one name");
        let ours: BTreeSet<_> = table.into_iter().map(|case| case.ours).collect();
        let selected = select(&[tag.to_owned()]).unwrap().into_iter().map(|loaded| loaded.scenario.id.clone());
        assert_eq!(selected.collect::<BTreeSet<_>>(), ours, "{tag}: who says the word means the equivalents");
        let tagged = shipped().iter().filter(|loaded| loaded.scenario.tags.iter().any(|it| it == tag));
        assert_eq!(tagged.map(|loaded| loaded.scenario.id.clone()).collect::<BTreeSet<_>>(), ours, "{tag}");
    }
}

#[test]
fn equivalents_ask_everybody_as_the_other_suites_do() {
    // Nine pods ask the eight others: cyclonus at two ports of two protocols, Kubernetes' suite at one port at least.
    for (tag, least) in [("cyclonus", 9 * 8 * 4), ("upstream-e2e", 9 * 8)] {
        for loaded in select(&[tag.to_owned()]).unwrap() {
            for step in &loaded.scenario.steps {
                let asked: usize = step.expect.iter().map(|expect| expect.allow.len() + expect.deny.len()).sum();
                assert!(asked >= least, "{}: `{}` asks {asked}", loaded.scenario.id, step.name);
            }
        }
    }
}
