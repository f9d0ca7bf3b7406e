//! Wrong command lines: exit code 2, what is wrong, and a hint.

use crate::{policyprobe, transcript};

#[test]
fn flags_that_the_backend_would_ignore_are_refused() {
    let cases: &[&[&str]] = &[
        &["run", "--keep"],
        &["run", "--backend", "kind", "--deny-by", "drop"],
        &["lab", "--context", "staging"],
        &["run", "--backend", "cluster", "--node-image", "kindest/node:v1.33.0"],
        &["run", "--probe-image", "example.org/agnhost"],
    ];
    for args in cases {
        let text = transcript(&mut policyprobe(args));
        assert!(text.starts_with("exit: 2"), "{args:?}: {text}");
        assert!(text.contains("has no meaning with the backend") && text.contains("hint"), "{args:?}: {text}");
    }
    insta::assert_snapshot!(transcript(&mut policyprobe(cases[4])));
}

#[test]
fn a_node_image_in_the_environment_is_for_whom_it_may_concern() {
    let text = transcript(policyprobe(&["run", "no-such-tag"]).env("POLICYPROBE_NODE_IMAGE", "kindest/node:v1.33.0"));
    assert!(!text.contains("node-image"), "{text}");
}

#[test]
fn the_backend_may_come_from_the_environment() {
    let text = transcript(policyprobe(&["run", "--deny-by", "drop"]).env("POLICYPROBE_BACKEND", "kind"));
    assert!(text.contains("`--deny-by` has no meaning with the backend `kind`"), "{text}");
    let text = transcript(policyprobe(&["run"]).env("POLICYPROBE_BACKEND", "minikube"));
    assert!(text.starts_with("exit: 2") && text.contains("minikube"), "{text}");
}

#[test]
fn unknown_commands_and_flags() {
    for args in [&["rnu"][..], &["run", "--bakend", "kind"], &["run", "--backend", "minikube"], &["completions"]] {
        let text = transcript(&mut policyprobe(args));
        assert!(text.starts_with("exit: 2\n--- stdout\n--- stderr\nerror: "), "{args:?}: {text}");
    }
}

#[test]
fn nothing_of_that_name() {
    insta::assert_snapshot!(transcript(&mut policyprobe(&["run", "metadta-lab"])));
}

#[test]
fn piped_output_has_no_colours_unless_they_are_asked_for() {
    let escapes = |text: &str| text.contains('\u{1b}');
    let wrong = ["run", "--keep"];
    assert!(!escapes(&transcript(&mut policyprobe(&wrong))));
    assert!(!escapes(&transcript(&mut policyprobe(&["--help"]))));
    assert!(escapes(&transcript(&mut policyprobe(&["run", "--keep", "--color", "always"]))));
    assert!(escapes(&transcript(policyprobe(&wrong).env("CLICOLOR_FORCE", "1"))));
    assert!(!escapes(&transcript(policyprobe(&["run", "--keep", "--color", "never"]).env("CLICOLOR_FORCE", "1"))));
    assert!(!escapes(&transcript(policyprobe(&wrong).env("NO_COLOR", "1"))));
}

#[test]
fn an_empty_path_is_no_selection() {
    for command in ["run", "lint", "list", "explain"] {
        let text = transcript(&mut policyprobe(&[command, ""]));
        assert!(text.starts_with("exit: 2") && text.contains("the path is empty"), "{command}: {text}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_device_is_never_read() {
    let cases: &[(&str, &[&str])] = &[
        ("2", &["bench", "--compare", "/dev/zero", "/dev/zero"]),
        ("2", &["run", "--backend", "kind", "--kind-config", "/dev/zero"]),
        ("2", &["node", "diff", "/dev/zero"]),
        ("2", &["node", "manifest", "--image", "x", "--rules", "/dev/zero"]),
        ("2", &["node", "watch", "--audit-log", "/dev/zero"]),
        ("2", &["node", "watch", "--audit-webhook", "127.0.0.1:0", "--audit-token", "/dev/zero"]),
        ("5", &["node", "inventory", "--kubeconfig", "/dev/zero"]),
    ];
    for (code, args) in cases {
        let text = transcript(&mut policyprobe(args));
        assert!(text.starts_with(&format!("exit: {code}\n")), "{args:?}: {text}");
        assert!(text.contains("this is no regular file") && text.contains("/dev/zero"), "{args:?}: {text}");
    }
}

#[test]
fn what_could_not_have_an_effect_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let empty = folder.path().display().to_string();
    let file = folder.path().join("file");
    std::fs::write(&file, "").expect("a file");
    let serve = ["metadata", "serve", "--listen", "127.0.0.1:0", "--cloud"];
    let (twice, file) = ("127.0.0.1:8099", file.display().to_string());
    let cases: &[(&[&str], &str)] = &[
        (&["metadata", "audit", "--policies", &empty], "there is no manifest in this folder"),
        (&["metadata", "audit", "--namespace", "A_B"], "cannot be a name"),
        (&["metadata", "audit", "--label", "="], "cannot be a label's key"),
        (&["metadata", "audit", "--label", "a=b=c"], "cannot be a label's value"),
        (&["metadata", "audit", "--cloud", "gcp", "--imds", "v2"], "`--imds` has no meaning with `--cloud gcp`"),
        (&["node", "manifest", "--image", "x", "--namespace", "A_B"], "cannot be a name"),
        (&[&serve[..], &["gcp", "--hop-limit", "1"]].concat(), "`--hop-limit` has no meaning with `--cloud gcp`"),
        (&[&serve[..], &["oracle", "--bare"]].concat(), "`--bare` has no meaning with `--cloud oracle`"),
        (&["metadata", "serve", "--cloud", "gcp", "--listen", twice, "--listen", twice], "listened on twice"),
        (&["metadata", "serve", "--cloud", "gcp", "--listen", "localhost:8099"], "write an IP address and a port"),
        (&["run", "basics", "--profile", &empty], "this is a folder"),
        (&["run", "basics", "--profile", "calcio"], "did you mean `calico`?"),
        (&["run", "--backend", "kind", "--cni", &empty], "this is a folder"),
        (&["list", "conformance/ip-blok"], "did you mean `conformance/ip-block`"),
        (&["mutants", "--mutant", "ignore-except"], "did you mean `ignores-except`?"),
        (&["init", &file], "is a file, and a folder is meant"),
        (&["fuzz", "--out", &format!("{file}/x")], "is no folder"),
        (&["node", "watch", "--for", "99999999999999999999h"], "too long"),
    ];
    for (args, said) in cases {
        let text = transcript(&mut policyprobe(args));
        assert!(text.starts_with("exit: 2") && text.contains(said), "{args:?}: {text}");
    }
}

#[cfg(unix)]
#[test]
fn too_few_file_descriptors_are_an_error_and_no_panic() {
    let script = "ulimit -n 8 && exec \"$0\" node inventory --kubeconfig none";
    let mut shell = std::process::Command::new("sh");
    let output = shell.args(["-c", script, env!("CARGO_BIN_EXE_policyprobe")]).output().expect("there is a shell");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("hint: `ulimit -n"), "{said}");
}
