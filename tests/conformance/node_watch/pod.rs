//! The watch in a pod, as `node manifest` has it, in an image of this very program.

use std::{
    collections::BTreeSet,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use libtest_mimic::Failed;
use serde_json::{Value, json};

use super::{
    cluster::{Cluster, container, on, run},
    watch::{PATIENCE, of},
};

const IMAGE: &str = "policyprobe/node-watch-test:dev";
/// The name of all that the manifest makes.
const NAME: &str = "policyprobe-node-watch";
const LABEL: &str = "metadata.labels[example.com/in-pod]";

/// Builds the image: the program, and the libraries that it is linked with. Nothing is pulled.
fn build() -> Result<(), Failed> {
    let folder = tempfile::TempDir::new()?;
    let root = folder.path().join("root");
    let put = |from: &str, to: &Path| -> Result<(), Failed> {
        std::fs::create_dir_all(to.parent().ok_or("no folder")?)?;
        std::fs::copy(from, to)?;
        Ok(())
    };
    let binary = root.join("usr/bin/policyprobe");
    put(env!("CARGO_BIN_EXE_policyprobe"), &binary)?;
    // It is some 100 MiB smaller, and no worse; where there is no `strip` it stays as it is.
    let _ = Command::new("strip").arg(&binary).output();
    let libraries = run("ldd", &[env!("CARGO_BIN_EXE_policyprobe")], "")?;
    for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
        put(library, &root.join(library.trim_start_matches('/')))?;
    }
    std::fs::write(folder.path().join("Dockerfile"), "FROM scratch\nCOPY root /\nENV PATH=/usr/bin\n")?;
    run("docker", &["build", "-q", "-t", IMAGE, &folder.path().display().to_string()], "").map(drop)
}

/// Applies the manifest, and waits until the watch stands in its pod.
fn apply(cluster: &Cluster) -> Result<(), Failed> {
    build()?;
    cluster.load(IMAGE)?;
    run("docker", &["image", "rm", IMAGE], "")?;
    let manifest =
        Command::new(env!("CARGO_BIN_EXE_policyprobe")).args(["node", "manifest", "--image", IMAGE]).output()?;
    cluster.kubectl_with(&["apply", "-f", "-"], &String::from_utf8(manifest.stdout)?)?;
    cluster.kubectl(&["-n", NAME, "rollout", "status", "deployment", NAME, "--timeout=180s"])?;
    until("the watch stands", || Ok(logs(cluster, &[])?.contains("watching ")))
}

fn until(what: &str, done: impl Fn() -> Result<bool, Failed>) -> Result<(), Failed> {
    let end = Instant::now() + PATIENCE;
    while !done()? {
        if Instant::now() > end {
            return Err(format!("{what}: not in time").into());
        }
        thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

fn logs(cluster: &Cluster, more: &[&str]) -> Result<String, Failed> {
    cluster.kubectl(&[&["-n", NAME, "logs", "deployment/policyprobe-node-watch"][..], more].concat())
}

fn reports(cluster: &Cluster) -> Result<Vec<Value>, Failed> {
    Ok(logs(cluster, &[])?.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

pub(super) fn the_manifest_reports_changes_and_may_do_nothing_else(cluster: &Cluster) -> Result<(), Failed> {
    apply(cluster)?;
    let worker = cluster.worker();
    cluster.kubectl(&["label", "node", &worker, "example.com/in-pod=0"])?;
    until("the change is reported", || Ok(of(&reports(cluster)?, &worker, LABEL).len() == 1))?;

    // What any account may do beside, it may too: ask who it is and what it may.
    let review =
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": NAME}});
    let account = format!("--as=system:serviceaccount:{NAME}:{NAME}");
    let args = [
        "create",
        "--validate=false",
        "-f",
        "-",
        "-o",
        "json",
        &account,
        "--as-group=system:authenticated",
        "--as-group=system:serviceaccounts",
    ];
    let answer: Value = serde_json::from_str(&cluster.kubectl_with(&args, &review.to_string())?)?;
    let rules = answer["status"]["resourceRules"].as_array().ok_or("no rules")?;
    let own = |rule: &&Value| !rule["resources"].to_string().contains("selfsubject");
    let texts = |value: &Value| {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let may: Vec<_> = rules.iter().filter(own).map(|rule| (texts(&rule["resources"]), texts(&rule["verbs"]))).collect();
    let set = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(may, [(set(&["nodes"]), set(&["get", "list", "watch"]))], "{rules:?}");
    for refused in
        [&["patch", "nodes"][..], &["get", "secrets"], &["get", "nodes", "--subresource=proxy"], &["create", "pods"]]
    {
        let args = [&["auth", "can-i"], refused, &["-A", &account]].concat();
        assert!(cluster.kubectl(&args).is_err(), "{refused:?}");
    }
    Ok(())
}

pub(super) fn nothing_is_lost_when_the_container_dies(cluster: &Cluster) -> Result<(), Failed> {
    apply(cluster)?;
    let worker = cluster.worker();
    let first = cluster.make_ghost("ghost")?;
    let label = |node: &str, value: &str| {
        cluster.kubectl(&["label", "node", node, "--overwrite", &format!("example.com/in-pod={value}")])
    };
    label(&worker, "before")?;
    until("the change is reported", || {
        let all = reports(cluster)?;
        Ok(of(&all, &worker, LABEL).iter().any(|report| report["new"] == "before"))
    })?;
    // While the kubelet is away nobody starts the container again.
    on(&worker, &["systemctl", "stop", "kubelet"])?;
    let container = container(&worker, "watch")?;
    on(&worker, &["ctr", "-n", "k8s.io", "tasks", "kill", "-s", "SIGKILL", &container])?;
    for value in ["1", "2", "after"] {
        label(&worker, value)?;
    }
    cluster.kubectl(&["delete", "node", "ghost"])?;
    let second = cluster.make_ghost("ghost")?;
    on(&worker, &["systemctl", "start", "kubelet"])?;
    let again =
        || Ok(logs(cluster, &[]).is_ok_and(|text| text.contains("as they were seen at") && text.contains("watching ")));
    until("the watch stands again", again)?;
    label(&worker, "later")?;
    let seen = || -> Result<_, Failed> { Ok((reports(cluster)?, logs(cluster, &["--previous"])?)) };
    until("the last change is reported", || {
        Ok(of(&seen()?.0, &worker, LABEL).iter().any(|report| report["new"] == "later"))
    })?;
    let (all, before) = seen()?;
    let changes: Vec<_> = of(&all, &worker, LABEL)
        .iter()
        .map(|it| (it["old"].clone(), it["new"].clone(), it["gap"]["reason"].clone()))
        .collect();
    let expected = [
        (json!("before"), json!("after"), json!("the watch was started again")),
        (json!("after"), json!("later"), Value::Null),
    ];
    assert_eq!(changes, expected, "before:\n{before}");
    let made_again = of(&all, "ghost", "metadata.uid");
    assert_eq!(made_again.len(), 1, "{made_again:?}");
    let gap = &made_again[0]["gap"];
    assert_eq!([&gap["uidBefore"], &gap["uidAfter"]], [&json!(first), &json!(second)]);
    // Nothing that was told before is told again.
    let told = |report: &Value| {
        report["resourceVersion"]
            .as_str()
            .is_some_and(|version| before.contains(&format!("\"resourceVersion\":\"{version}\"")))
    };
    assert!(
        all.iter().filter(|report| report["node"] == json!(worker)).all(|report| !told(report)),
        "{before}\n---\n{all:#?}"
    );
    cluster.kubectl(&["delete", "node", "ghost"]).map(drop)
}
