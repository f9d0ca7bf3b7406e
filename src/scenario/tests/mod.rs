//! Tests of the loader as a whole: bad inputs and what is said of them, hostile inputs, and the shipped scenarios.
#![expect(clippy::unwrap_used, reason = "tests")]

mod established;
mod files;
mod manifests;
mod meaning;
mod packets;
mod policies;
mod properties;
mod shipped;
mod silent;
mod steps;
mod syntax;

use std::{fs, path::Path};

use super::{Diagnostics, LoadedScenario, load_path};

/// A scenario around the manifest `m.yaml`.
const SCENARIO: &str = r"id: a
title: A
lab: {pods: [{name: a}, {name: b}]}
steps:
  - name: open
    expect: [{to: {pod: b}, allow: [a]}]
  - name: closed
    apply: [m.yaml]
    expect: [{to: {pod: b}, deny: [a]}]
";

/// A policy that selects every pod.
const DENY: &str = r"apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec:
  podSelector: {}
";

/// The same with other steps after the first.
fn opened(steps: &str) -> String {
    let (opened, _) = SCENARIO.split_once("  - name: closed").unwrap();
    format!("{opened}{steps}")
}

/// Writes files into a new folder.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

/// What is said of a load, errors or warnings, without the folder's name.
fn said(dir: &Path, loaded: Result<Vec<LoadedScenario>, Diagnostics>) -> String {
    let faults = match loaded {
        Ok(loaded) => Diagnostics(loaded.into_iter().flat_map(|loaded| loaded.warnings).collect()),
        Err(faults) => faults,
    };
    faults.to_string().replace(&format!("{}/", dir.display()), "")
}

/// What is said of the scenario `s.yaml` among some files.
fn faults_of(files: &[(&str, &str)]) -> String {
    let dir = folder(files);
    said(dir.path(), load_path(&dir.path().join("s.yaml")))
}
