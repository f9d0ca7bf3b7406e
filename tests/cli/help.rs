//! Help and completions.

use crate::{policyprobe, transcript};

#[test]
fn help_of_every_command() {
    let root = transcript(&mut policyprobe(&["--help"]));
    insta::assert_snapshot!("help", root);
    // The list of commands decides: a new command cannot be without a snapshot.
    let commands = root.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names: Vec<_> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.contains(&"lab") && names.contains(&"run"), "{names:?}");
    for name in names {
        let text = transcript(&mut policyprobe(&[name, "--help"]));
        assert!(text.starts_with("exit: 0"), "{text}");
        assert!(text.contains("Examples:"), "`{name} --help` has no example:\n{text}");
        insta::assert_snapshot!(format!("help_{name}"), text);
    }
}

#[test]
fn help_of_every_node_command() {
    let root = transcript(&mut policyprobe(&["node", "--help"]));
    let commands = root.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    for name in commands.filter_map(|line| line.split_whitespace().next()) {
        let text = transcript(&mut policyprobe(&["node", name, "--help"]));
        assert!(text.starts_with("exit: 0") && text.contains("Examples:"), "{text}");
        insta::assert_snapshot!(format!("help_node_{name}"), text);
    }
}

#[test]
fn no_command_shows_the_help_and_is_a_usage_error() {
    let text = transcript(&mut policyprobe(&[]));
    assert!(text.starts_with("exit: 2") && text.contains("Usage: policyprobe"), "{text}");
}

#[test]
fn version() {
    let text = transcript(&mut policyprobe(&["--version"]));
    assert_eq!(text, format!("exit: 0\n--- stdout\npolicyprobe {}\n--- stderr\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn completions_name_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let text = transcript(&mut policyprobe(&["completions", shell]));
        assert!(text.starts_with("exit: 0"), "{shell}: {text}");
        for word in ["doctor", "backend", "embedded"] {
            assert!(text.contains(word), "the script for {shell} lacks `{word}`");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_reader_who_has_seen_enough_is_no_error() {
    use std::process::{Command, Stdio};
    let mut child = Command::new(env!("CARGO_BIN_EXE_policyprobe"))
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary can be started");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
