//! A watch beside the cluster, and changes by known users.

use std::{thread, time::Duration};

use libtest_mimic::Failed;
use serde_json::{Value, json};

use super::{
    cluster::{Cluster, on, run},
    watch::Watch,
};

const RULES: &str = "\
apiVersion: policyprobe.io/v1
kind: NodeRules
authorised:
  - {name: team, users: [\"system:serviceaccount:default:labeller\"], labelPrefixes: [example.com/]}
  - {name: whoever says so, managers: [trusted], fields: [\"metadata.labels[*\"]}
";

/// What a report says, in a line.
fn said(report: &Value) -> String {
    let text = |key: &str| report[key].as_str().unwrap_or("-").to_owned();
    format!("{} {}>{} {}", text("what"), text("old"), text("new"), report["gap"]["reason"].as_str().unwrap_or("no gap"))
}

pub(super) fn the_authenticated_user_is_reported_and_rules_go_by_it(cluster: &Cluster) -> Result<(), Failed> {
    std::fs::write(cluster.path("rules.yaml"), RULES)?;
    let (worker, webhook) = (cluster.worker(), cluster.webhook.to_string());
    let (rules, token) =
        (cluster.path("rules.yaml").display().to_string(), cluster.path("token").display().to_string());
    let args = ["node", "watch", "-o", "json", "--audit-webhook", &webhook, "--audit-token", &token, "--rules", &rules];
    let mut watch = Watch::start(cluster.policyprobe(&args).args(["--audit-wait", "20s"]))?;
    assert!(watch.notes.contains("the rule `whoever says so` has no `users`"), "{}", watch.notes);

    cluster.kubectl(&["create", "serviceaccount", "labeller"])?;
    cluster.kubectl(&["create", "clusterrole", "labeller", "--verb=get,patch", "--resource=nodes"])?;
    cluster.kubectl(&[
        "create",
        "clusterrolebinding",
        "labeller",
        "--clusterrole=labeller",
        "--serviceaccount=default:labeller",
    ])?;
    let credential = format!("--token={}", cluster.kubectl(&["create", "token", "labeller"])?.trim());
    let own = cluster.control_plane();
    let as_labeller = |label: &str, manager: &str| {
        let server =
            ["kubectl", "--kubeconfig=/dev/null", "--server=https://127.0.0.1:6443", "--insecure-skip-tls-verify"];
        let change = [&credential, "label", "node", &worker, label, manager];
        on(&own, &[&server[..], &change[..]].concat())
    };
    as_labeller("example.com/team=blue", "--field-manager=kubectl-label")?;
    as_labeller("other.example/team=blue", "--field-manager=trusted")?;
    let as_node = ["kubectl", "--kubeconfig=/etc/kubernetes/kubelet.conf", "label", "node", &worker, "region=moon"];
    on(&worker, &as_node)?;

    let mut only = |field: &str| -> Result<Value, Failed> {
        let reports = watch.wait_for(1, &worker, field)?;
        assert_eq!(reports.len(), 1, "{reports:?}");
        Ok(reports[0].clone())
    };
    let labeller = json!("system:serviceaccount:default:labeller");
    let report = only("metadata.labels[example.com/team]")?;
    assert_eq!([&report["authenticated"]["user"], &report["authorised"]], [&labeller, &json!("team")], "{report}");
    assert_eq!(report["severity"], "info");
    let report = only("metadata.labels[other.example/team]")?;
    assert_eq!(
        [&report["authenticated"]["user"], &report["claimed"][0]["name"]],
        [&labeller, &json!("trusted")],
        "{report}"
    );
    assert!(report["authorised"].is_null() && report["severity"] == "warning", "a claim is no proof: {report}");
    let report = only("metadata.labels[region]")?;
    assert_eq!(report["authenticated"]["user"], format!("system:node:{worker}"), "{report}");
    assert!(report["authorised"].is_null(), "{report}");

    // Who has not the token is not believed.
    let forged = json!({"kind": "Event"}).to_string();
    let url = format!("http://{webhook}/");
    let status = run(
        "curl",
        &["-sS", "-q", "--noproxy", "*", "-o", "/dev/null", "-w", "%{http_code}", "-d", &forged, &url],
        "",
    )?;
    assert_eq!(status, "401");
    Ok(())
}

pub(super) fn each_change_is_reported_once_and_as_it_was(cluster: &Cluster) -> Result<(), Failed> {
    let first = cluster.make_ghost("ghost")?;
    cluster.kubectl(&["taint", "node", "ghost", "example.com/kept=yes:NoSchedule"])?;
    let mut watch = Watch::start(&mut cluster.policyprobe(&["node", "watch", "-o", "json"]))?;

    cluster.kubectl(&["taint", "node", "ghost", "example.com/kept-"])?;
    thread::sleep(Duration::from_secs(1));
    cluster.kubectl(&["taint", "node", "ghost", "example.com/kept=yes:NoSchedule"])?;
    let reports = watch.wait_for(2, "ghost", "spec.taints[example.com/kept:NoSchedule]")?;
    assert_eq!(reports.iter().map(said).collect::<Vec<_>>(), ["removed yes>- no gap", "added ->yes no gap"]);

    let patch = |letter: &str| {
        json!({"metadata": {"annotations": {"example.com/large": letter.repeat(200 << 10)}}}).to_string()
    };
    for letter in ["a", "b"] {
        cluster.kubectl_with(&["patch", "node", "ghost", "--patch-file=/dev/stdin"], &patch(letter))?;
    }
    let reports = watch.wait_for(2, "ghost", "metadata.annotations[example.com/large]")?;
    assert!(reports.iter().all(|report| report.to_string().len() < 4096), "{reports:?}");
    assert_eq!([&reports[0]["new"], &reports[1]["what"]], [&reports[1]["old"], &json!("changed")]);
    assert_ne!(reports[1]["old"], reports[1]["new"]);

    cluster.kubectl(&["delete", "node", "ghost"])?;
    let second = cluster.make_ghost("ghost")?;
    let reports = watch.wait_for(2, "ghost", "metadata.uid")?;
    let expected = [format!("node removed {first}>- no gap"), format!("node made again {first}>{second} no gap")];
    assert_eq!(reports.iter().map(said).collect::<Vec<_>>(), expected);
    cluster.kubectl(&["delete", "node", "ghost"])?;
    watch.wait_for(3, "ghost", "metadata.uid")?;
    assert!(watch.reports.iter().all(|report| report["gap"].is_null()), "{:?}", watch.reports);
    Ok(())
}

pub(super) fn what_changed_between_two_watches_is_reported_once(cluster: &Cluster) -> Result<(), Failed> {
    let state = cluster.path("seen.json").display().to_string();
    let start = || Watch::start(&mut cluster.policyprobe(&["node", "watch", "-o", "json", "--resume", &state]));
    let first = cluster.make_ghost("ghost")?;
    cluster.make_ghost("leaves")?;
    let change = |value: &str| {
        let overwrite = "--overwrite".to_owned();
        let (there, back) = (format!("example.com/step={value}"), format!("example.com/back-and-forth={value}"));
        cluster.kubectl(&["label", "node", "ghost", &there, &back, &overwrite])
    };
    let label = "metadata.labels[example.com/step]";
    {
        let mut watch = start()?;
        change("0")?;
        watch.wait_for(1, "ghost", label)?;
    } // Killed, with no time to say anything.
    for value in ["1", "2", "3"] {
        change(value)?;
    }
    cluster.kubectl(&["label", "node", "ghost", "--overwrite", "example.com/back-and-forth=0"])?;
    cluster.kubectl(&["delete", "node", "leaves"])?;
    {
        let mut watch = start()?;
        let reports = watch.wait_for(1, "ghost", label)?;
        assert_eq!(said(&reports[0]), "changed 0>3 the watch was started again");
        let gap = &reports[0]["gap"];
        assert_eq!([&gap["uidBefore"], &gap["uidAfter"]], [&json!(first), &json!(first)]);
        assert!(gap["from"].as_str() < gap["until"].as_str() && gap["from"].is_string(), "{gap}");
        assert_eq!(watch.wait_for(1, "leaves", "metadata.uid")?[0]["what"], "node removed");
        assert!(watch.of("ghost", "metadata.labels[example.com/back-and-forth]").is_empty(), "{:?}", watch.reports);
        change("4")?;
        let reports = watch.wait_for(2, "ghost", label)?;
        assert_eq!(said(&reports[1]), "changed 3>4 no gap");
        let second = cluster.policyprobe(&["node", "watch", "--for", "1s", "--resume", &state]).output()?;
        let text = String::from_utf8_lossy(&second.stderr).into_owned();
        assert!(second.status.code() == Some(2) && text.contains("another watch keeps"), "{text}");
    }
    cluster.kubectl(&["delete", "node", "ghost"])?;
    let second = cluster.make_ghost("ghost")?;
    let mut watch = start()?;
    let reports = watch.wait_for(1, "ghost", "metadata.uid")?;
    assert_eq!(said(&reports[0]), format!("node made again {first}>{second} the watch was started again"));
    assert_eq!([&reports[0]["gap"]["uidBefore"], &reports[0]["gap"]["uidAfter"]], [&json!(first), &json!(second)]);
    let reports = watch.wait_for(1, "ghost", label)?;
    assert_eq!(reports.iter().map(said).collect::<Vec<_>>(), ["removed 4>- the watch was started again"]);
    cluster.kubectl(&["delete", "node", "ghost"])?;
    watch.wait_for(2, "ghost", "metadata.uid")?;
    Ok(())
}

pub(super) fn over_another_api_server_and_without_history_net_changes_are_reported_once(
    cluster: &Cluster,
) -> Result<(), Failed> {
    let args = ["node", "bench", "--nodes", "40", "--watched", "30", "--changes", "60", "--restart"];
    let output = cluster.policyprobe(&args).output()?;
    let (text, notes) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}{notes}");
    assert!(text.contains("30 nodes changed 2 times while the API server was restarted"), "{text}");
    assert!(text.contains("0 lost, 0 repeated, 0 not marked, 0 reported that did not last"), "{text}");
    Ok(())
}
