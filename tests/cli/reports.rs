//! Report files are checked before a lab is built.

use std::fs;

use crate::{policyprobe, transcript};

#[test]
fn a_report_that_cannot_be_written_stops_a_run_before_it_begins() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(folder.path().join("file"), "").expect("a file");
    for target in [path("missing/report.json"), path("file/report.json"), folder.path().display().to_string()] {
        let text = transcript(&mut policyprobe(&["run", "metadata-lab", "--report", &format!("json={target}")]));
        assert!(
            text.starts_with("exit: 2\n--- stdout\n--- stderr\nerror: the json report cannot be written"),
            "{text}"
        );
        assert!(text.contains(&target), "{text}");
    }
    assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 1, "something was left behind");
}

#[test]
fn a_read_only_file_is_not_replaced() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("report.xml");
    fs::write(&path, "precious").expect("a file");
    let mut permissions = fs::metadata(&path).expect("the file").permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&path, permissions).expect("a read-only file");
    let report = format!("junit={}", path.display());
    let text = transcript(&mut policyprobe(&["run", "metadata-lab", "--report", &report]));
    assert!(text.starts_with("exit: 2") && text.contains("the file is read-only"), "{text}");
    assert_eq!(fs::read_to_string(&path).expect("the file"), "precious");
}

#[test]
fn wrong_report_flags() {
    for (flag, words) in [
        ("html=report.html", "there are `json` and `junit`"),
        ("report.json", "expected `json=FILE` or `junit=FILE`"),
        ("json=", "no file"),
    ] {
        let text = transcript(&mut policyprobe(&["run", "--report", flag]));
        assert!(text.starts_with("exit: 2") && text.contains(words), "{flag}: {text}");
    }
}

#[test]
fn two_reports_to_one_file() {
    let text = transcript(&mut policyprobe(&["run", "metadata-lab", "--report", "json=-", "--report", "junit=-"]));
    assert!(text.starts_with("exit: 2") && text.contains("two reports are to be written to stdout"), "{text}");
}

#[cfg(target_os = "linux")]
#[test]
fn results_that_cannot_be_written_are_an_error_and_no_panic() {
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let binary = || std::process::Command::new(env!("CARGO_BIN_EXE_policyprobe"));
    let commands: &[&[&str]] = &[
        &["list"],
        &["lint", "basics"],
        &["explain", "metadata-lab"],
        &["schema"],
        &["node", "manifest", "--image", "x"],
        &["completions", "bash"],
        &["mutants", "--list"],
    ];
    for args in commands {
        let output = binary().args(*args).stdout(full()).output().expect("the binary can be started");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains("the results could not be written"), "{args:?}: {said}");
    }
    for args in [["lint", "no-such"], ["list", "no-such"], ["explain", "no-such"]] {
        let status = binary().args(args).stderr(full()).status().expect("the binary can be started");
        assert_eq!(status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn a_report_takes_the_place_of_nothing_that_is_run() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let scenario = "id: mine\ntitle: Mine\nlab: {pods: [{name: a, ports: [{port: 80}]}, {name: b}]}\nsteps:\n\
                    - {name: open, expect: [{to: {pod: a, port: 80}, allow: [b]}]}\n\
                    - {name: shut, apply: [deny.yaml], expect: [{to: {pod: a, port: 80}, deny: [b]}]}\n";
    let policy =
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: deny}\nspec: {podSelector: {}}\n";
    let profile = "profile: mine\ndeviations: []\n";
    for (name, text) in [("mine.yaml", scenario), ("deny.yaml", policy), ("profile.yaml", profile)] {
        fs::write(path(name), text).expect("a file");
    }
    for name in ["mine.yaml", "deny.yaml", "profile.yaml"] {
        let report = format!("json={}", path(name));
        let args = ["run", &path("mine.yaml"), "--profile", &path("profile.yaml"), "--report", &report];
        let text = transcript(&mut policyprobe(&args));
        assert!(text.starts_with("exit: 2") && text.contains("would overwrite"), "{text}");
    }
    assert_eq!(fs::read_to_string(path("mine.yaml")).expect("the file"), scenario);
}

#[cfg(target_os = "linux")]
#[test]
fn a_report_to_a_stdout_that_is_closed_stops_a_run_before_it_begins() {
    let command = format!("{} run metadata-lab --report json=/dev/stdout >&-", env!("CARGO_BIN_EXE_policyprobe"));
    let output = std::process::Command::new("sh").args(["-c", &command]).output().expect("there is a shell");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("to stdout: it is closed"), "{said}");
}
