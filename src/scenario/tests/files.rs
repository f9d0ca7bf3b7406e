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
    assert_snapshot!(load(&dir, "s.yaml"), @r"
    error: the file is too large: 10485760 bytes, and at most 1048576 are read
    --> s.yaml
     = help: split it into several files
    ");
}

#[test]
fn invalid_utf8_is_refused_with_its_place() {
    let dir = folder(&[]);
    fs::write(dir.path().join("s.yaml"), b"id: a\ntitle: caf\xe9\n").unwrap();
    assert_snapshot!(load(&dir, "s.yaml"), @r"
    error: the file is not UTF-8 text from here on
     --> s.yaml:2:11
      |
    2 | title: caf
      |           ^
      |
      = help: save the file as UTF-8
    ");
}

#[test]
fn a_byte_order_mark_is_no_fault() {
    let dir = folder(&[("s.yaml", &format!("\u{feff}{GOOD}")), ("deny.yaml", DENY)]);
    assert_eq!(load(&dir, "s.yaml"), "");
}

#[test]
fn what_is_not_there_or_no_file() {
    let dir = folder(&[("empty/x.txt", ""), ("blank.yaml", "# nothing\n"), ("deny.yaml", DENY)]);
    assert_snapshot!(load(&dir, "missing.yaml"), @r"
    error: the file cannot be read: No such file or directory (os error 2)
    --> missing.yaml
    ");
    assert_snapshot!(load(&dir, "empty"), @r"
    error: there is no scenario in this folder
    --> empty
     = help: scenarios are files named `*.yaml`; `policyprobe init DIR` writes some to begin with
    ");
    assert_snapshot!(load(&dir, "blank.yaml"), @r"
    error: the file is empty
    --> blank.yaml
     = help: a scenario has at least `id`, `title` and `steps`
    ");
    assert_snapshot!(load(&dir, "deny.yaml"), @r"
    error: this is a Kubernetes manifest, and a scenario is meant
     --> deny.yaml:2:1
      |
    2 | kind: NetworkPolicy
      | ^^^^
      |
      = help: a scenario names its manifests under `apply:`
    ");
}

#[test]
fn a_folder_is_searched_and_manifests_are_passed_over() {
    let dir = folder(&[
        ("a/s.yaml", GOOD),
        ("a/deny.yaml", DENY),
        ("b/deep/t.yml", &GOOD.replace("id: good", "id: other").replace("deny.yaml", "../../a/deny.yaml")),
        ("b/.hidden/u.yaml", "nonsense"),
    ]);
    let ids: Vec<String> =
        load_path(dir.path()).unwrap().into_iter().map(|loaded| loaded.scenario.id.clone()).collect();
    assert_eq!(ids, ["good", "other"]);
}

#[test]
fn duplicate_ids_name_both_places() {
    let dir = folder(&[("a.yaml", GOOD), ("b.yaml", GOOD), ("deny.yaml", DENY)]);
    assert_snapshot!(load(&dir, "."), @r"
    error: the id `good` is taken
     --> ./b.yaml:1:5
      |
    1 | id: good
      |     ^^^^
      |
      = help: it is also the id of ./a.yaml:1:5; reports tell scenarios apart by it
    ");
}

#[cfg(target_os = "linux")]
#[test]
fn loops_of_links_end() {
    let dir = folder(&[("a/s.yaml", GOOD), ("a/deny.yaml", DENY)]);
    std::os::unix::fs::symlink(dir.path(), dir.path().join("a/up")).unwrap();
    std::os::unix::fs::symlink("self.yaml", dir.path().join("a/self.yaml")).unwrap();
    assert_snapshot!(load(&dir, "a"), @r"
    error: cannot be read: Too many levels of symbolic links (os error 40)
    --> a/self.yaml

    error: this symbolic link leads back to a folder that it is in
    --> a/up/a
     = help: remove the link
    ");
}

#[test]
fn words_that_mean_nothing() {
    let said = |word: &str| said(Path::new("/nowhere"), select(&[word.to_owned()]));
    assert_snapshot!(said("metdata-lab"), @r"
    error: `metdata-lab` is no file or folder, and no shipped scenario, pack or tag
     |
     = help: did you mean `metadata-lab`?
    ");
    assert_snapshot!(said("banana"), @r"
    error: `banana` is no file or folder, and no shipped scenario, pack or tag
     |
     = help: `policyprobe list` shows what there is
    ");
    assert_snapshot!(said("no/such.yaml"), @r"
    error: there is no such file or folder
    --> no/such.yaml
    ");
}

#[test]
fn what_is_selected_twice_is_loaded_once() {
    let dir = folder(&[("s.yaml", GOOD), ("deny.yaml", DENY)]);
    let words = [dir.path().join("s.yaml"), dir.path().join("./s.yaml"), dir.path().to_owned()];
    let words: Vec<String> = words.iter().map(|path| path.display().to_string()).collect();
    assert_eq!(select(&words).unwrap().len(), 1);
}

#[test]
fn a_scenario_of_any_length_ends() {
    let steps = |number: usize| -> String {
        (0..number).fold("id: a\ntitle: A\nlab: {pods: [{name: b}]}\nsteps:\n".to_owned(), |text, step| {
            text + &format!("  - {{name: s{step}, expect: [{{to: {{pod: b}}, allow: [c{step}]}}]}}\n")
        })
    };
    let cells = steps(1).replace("c0", &vec!["b"; 5_001].join(", "));
    let fields = (0..40_000).fold(String::new(), |text, field| text + &format!("f{field}: 1\n"));
    let files =
        [("many.yaml", steps(200)), ("too-many.yaml", steps(600)), ("cells.yaml", cells), ("fields.yaml", fields)];
    let dir = folder(&files.each_ref().map(|(name, text)| (*name, text.as_str())));
    assert!(load(&dir, "many.yaml").ends_with("... and at least 1 more"));
    assert!(load(&dir, "too-many.yaml").contains("a scenario with 600 steps is too large: at most 500"));
    assert!(load(&dir, "cells.yaml").contains("a scenario with 5001 cells is too large: at most 5000"));
    assert!(load(&dir, "fields.yaml").contains("at most 30000 keys and values are read"));
}
