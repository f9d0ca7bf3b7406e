//! Files that are not what they should be, folders, and selections over several.

use std::{fs, path::Path};

use insta::assert_snapshot;

use super::{
    super::{LARGEST_FILE, load_path, select},
    folder, said,
};

const GOOD: &str = "\
id: good
title: Good
lab: {pods: [{name: a}, {name: b}]}
steps:
  - name: open
    expect: [{to: {pod: b}, allow: [a]}]
  - name: closed
    apply: [deny.yaml]
    expect: [{to: {pod: b}, deny: [a]}]
";

const DENY: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec: {podSelector: {}}
";

fn load(dir: &tempfile::TempDir, file: &str) -> String {
    said(dir.path(), load_path(&dir.path().join(file)))
}

#[test]
fn a_good_scenario_has_no_faults() {
    let dir = folder(&[("s.yaml", GOOD), ("deny.yaml", DENY)]);
    let loaded = load_path(&dir.path().join("s.yaml")).unwrap();
    assert_eq!(loaded.len(), 1);
    assert!(loaded[0].warnings.is_empty());
    let manifest = &loaded[0].manifests["deny.yaml"][0];
    assert_eq!((manifest.kind.as_str(), manifest.name.as_str()), ("NetworkPolicy", "deny"));
    assert_eq!((manifest.namespace.as_str(), manifest.api_version.as_str()), ("default", "networking.k8s.io/v1"));
    assert!(manifest.policy.as_ref().unwrap().spec.is_some());
}

#[test]
fn a_large_file_is_refused() {
    let dir = folder(&[("s.yaml", "id: a\n")]);
    // Sparse: ten megabytes that take no place.
    fs::File::options().write(true).open(dir.path().join("s.yaml")).unwrap().set_len(10 * LARGEST_FILE).unwrap();
    assert_snapshot!(load(&dir, "s.yaml"), @"");
}

#[test]
fn invalid_utf8_is_refused_with_its_place() {
    let dir = folder(&[]);
    fs::write(dir.path().join("s.yaml"), b"id: a\ntitle: caf\xe9\n").unwrap();
    assert_snapshot!(load(&dir, "s.yaml"), @"");
}

#[test]
fn a_byte_order_mark_is_no_fault() {
    let dir = folder(&[("s.yaml", &format!("\u{feff}{GOOD}")), ("deny.yaml", DENY)]);
    assert_eq!(load(&dir, "s.yaml"), "");
}

#[test]
fn what_is_not_there_or_no_file() {
    let dir = folder(&[("empty/x.txt", ""), ("blank.yaml", "# nothing\n"), ("deny.yaml", DENY)]);
    assert_snapshot!(load(&dir, "missing.yaml"), @"");
    assert_snapshot!(load(&dir, "empty"), @"");
    assert_snapshot!(load(&dir, "blank.yaml"), @"");
    assert_snapshot!(load(&dir, "deny.yaml"), @"");
}

#[test]
fn a_folder_is_searched_and_manifests_are_passed_over() {
    let dir = folder(&[
        ("a/s.yaml", GOOD),
        ("a/deny.yaml", DENY),
        ("b/deep/t.yml", &GOOD.replace("id: good", "id: other").replace("deny.yaml", "../../a/deny.yaml")),
        ("b/.hidden/u.yaml", "nonsense"),
    ]);
    let ids: Vec<String> = load_path(dir.path()).unwrap().into_iter().map(|loaded| loaded.scenario.id).collect();
    assert_eq!(ids, ["good", "other"]);
}

#[test]
fn duplicate_ids_name_both_places() {
    let dir = folder(&[("a.yaml", GOOD), ("b.yaml", GOOD), ("deny.yaml", DENY)]);
    assert_snapshot!(load(&dir, "."), @"");
}

#[cfg(unix)]
#[test]
fn loops_of_links_end() {
    let dir = folder(&[("a/s.yaml", GOOD), ("a/deny.yaml", DENY)]);
    std::os::unix::fs::symlink(dir.path(), dir.path().join("a/up")).unwrap();
    std::os::unix::fs::symlink("self.yaml", dir.path().join("a/self.yaml")).unwrap();
    assert_snapshot!(load(&dir, "a"), @"");
}

#[test]
fn words_that_mean_nothing() {
    let said = |word: &str| said(Path::new("/nowhere"), select(&[word.to_owned()]));
    assert_snapshot!(said("metdata-lab"), @"");
    assert_snapshot!(said("banana"), @"");
    assert_snapshot!(said("no/such.yaml"), @"");
}

#[test]
fn what_is_selected_twice_is_loaded_once() {
    let dir = folder(&[("s.yaml", GOOD), ("deny.yaml", DENY)]);
    let words = [dir.path().join("s.yaml"), dir.path().join("./s.yaml"), dir.path().to_owned()];
    let words: Vec<String> = words.iter().map(|path| path.display().to_string()).collect();
    assert_eq!(select(&words).unwrap().len(), 1);
}
