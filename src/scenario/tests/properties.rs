//! Whatever is in a file, loading it ends with scenarios or with faults, never with a panic.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::{super::shipped, faults_of};

/// Pieces that mean something to YAML or to a scenario.
const PIECES: [&str; 40] = [
    ":", "- ", "\n", "  ", "\t", "{", "}", "[", "]", "&a ", "*a", "!!str ", "!x ", "|\n", ">\n", "\"", "'", "---\n",
    "...\n", "#", "<<: ", "? ", "null", "~", "0", "-1", "70000", "1e999", ".nan", "é", "\u{0}", "id", "steps",
    "expect", "to", "metadata", "except", "ports", "endPort", "cidr",
];

fn mutate(text: &str, edits: &[(prop::sample::Index, usize, usize)]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for (at, piece, cut) in edits {
        let at = at.index(chars.len() + 1);
        let end = (at + cut).min(chars.len());
        chars.splice(at..end, PIECES[*piece].chars());
    }
    chars.into_iter().collect()
}

fn edits() -> impl Strategy<Value = Vec<(prop::sample::Index, usize, usize)>> {
    prop::collection::vec((any::<prop::sample::Index>(), 0..PIECES.len(), 0..12_usize), 1..6)
}

fn shipped_text(path: &str) -> &'static str {
    super::super::SHIPPED.get_file(path).unwrap().contents_utf8().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn mutated_scenarios_never_panic(which in any::<prop::sample::Index>(), edits in edits()) {
        let loaded = which.get(shipped());
        let text = shipped_text(loaded.path.strip_prefix("scenarios").unwrap().to_str().unwrap());
        faults_of(&[("s.yaml", &mutate(text, &edits))]);
    }

    #[test]
    fn mutated_manifests_never_panic(edits in edits()) {
        let manifest = mutate(shipped_text("basics/backend-allow-web.yaml"), &edits);
        let scenario = "id: a\ntitle: A\nsteps: [{name: s, apply: [m.yaml]}]\n";
        faults_of(&[("s.yaml", scenario), ("m.yaml", &manifest)]);
    }

    #[test]
    fn any_text_never_panics(text in "\\PC{0,80}") {
        faults_of(&[("s.yaml", &text)]);
    }
}

#[test]
fn bombs_and_depth_are_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let inner = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(bomb, "a{level}: &a{level} [{inner}]").unwrap();
    }
    assert!(faults_of(&[("s.yaml", &bomb)]).contains("this is no YAML that can be used"));
    let deep = format!("id: {}{}", "[".repeat(5_000), "]".repeat(5_000));
    assert!(faults_of(&[("s.yaml", &deep)]).contains("this is no YAML that can be used"));
    let deep: String = (0..400).flat_map(|depth| [" ".repeat(depth), "a:\n".to_owned()]).collect();
    assert!(faults_of(&[("s.yaml", &deep)]).contains("this is no YAML that can be used"));
}
