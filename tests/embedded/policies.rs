//! What policies stop, and what they must not.

use policyprobe::{
    lab::{Source, Stage, embedded::DenyBy},
    probe::Outcome,
    scenario::{LabelAction, NodeName, PodSpec},
};
use serde_json::json;

use crate::common::*;

#[tokio::test]
async fn the_documents_lab() {
    let Some((_lab, stage)) = stage().await else { return };
    stage.apply(&deny_metadata()).await.unwrap();
    for app in ["app1", "app2"] {
        assert_eq!(outcome(&stage, &pod(app), "metadata").await, Outcome::TimedOut, "{app}");
        assert_eq!(outcome(&stage, &pod(app), "app3").await, Outcome::Reached, "{app}");
        assert_eq!(outcome(&stage, &pod(app), "internet").await, Outcome::Reached, "{app}");
    }
    for other in [pod("app3"), node(NodeName::Master), node(NodeName::Worker)] {
        assert_eq!(outcome(&stage, &other, "metadata").await, Outcome::Reached, "{other:?}");
    }
    stage.apply(&allow_metadata("app2")).await.unwrap();
    assert_eq!(outcome(&stage, &pod("app1"), "metadata").await, Outcome::TimedOut);
    assert_eq!(outcome(&stage, &pod("app2"), "metadata").await, Outcome::Reached);
    stage.delete(&deny_metadata()).await.unwrap();
    assert_eq!(outcome(&stage, &pod("app1"), "metadata").await, Outcome::Reached);
    assert_eq!(outcome(&stage, &pod("app2"), "app1").await, Outcome::TimedOut, "the allow alone isolates too");
    stage.reset().await.unwrap();
    assert_eq!(outcome(&stage, &pod("app2"), "app1").await, Outcome::Reached);
}

#[tokio::test]
async fn ingress_by_namespace_and_port_on_both_nodes() {
    let Some((_lab, stage)) = stage().await else { return };
    let from = json!([{"namespaceSelector": {"matchLabels": {"team": "other"}}}]);
    let spec = json!({"podSelector": {"matchLabels": {"app": "app2"}}, "ingress": [{"from": from, "ports": [{"port": "web"}]}]});
    stage.apply(&policy("ingress", &spec)).await.unwrap();
    assert_eq!(outcome_on(&stage, &pod("app3"), "app2", 8080).await, Outcome::Reached);
    assert_eq!(outcome_on(&stage, &pod("app3"), "app2", 80).await, Outcome::TimedOut, "another port");
    assert_eq!(outcome_on(&stage, &pod("app1"), "app2", 8080).await, Outcome::TimedOut, "the same node");
    let internet = Source::Outside("internet".to_owned());
    assert_eq!(outcome_on(&stage, &internet, "app2", 8080).await, Outcome::TimedOut);
    assert_eq!(outcome_on(&stage, &node(NodeName::Worker), "app2", 80).await, Outcome::Reached, "the pod's own node");
    assert_eq!(outcome_on(&stage, &node(NodeName::Master), "app2", 80).await, Outcome::TimedOut, "another node");
    assert_eq!(outcome(&stage, &pod("app2"), "app1").await, Outcome::Reached, "answers to the isolated pod");
}

#[tokio::test]
async fn labels_and_new_pods_change_what_is_enforced() {
    let Some((_lab, stage)) = stage().await else { return };
    stage.apply(&deny_metadata()).await.unwrap();
    stage.apply(&allow_metadata("friend")).await.unwrap();
    let label = |pod: Option<&str>, namespace: Option<&str>, key: &str, value: &str| LabelAction {
        pod: pod.map(ToOwned::to_owned),
        namespace: namespace.map(ToOwned::to_owned),
        set: [(key.to_owned(), value.to_owned())].into(),
        remove: Vec::new(),
    };
    stage.label(&label(Some("app1"), None, "app", "friend")).await.unwrap();
    assert_eq!(outcome(&stage, &pod("app1"), "metadata").await, Outcome::Reached);
    stage.label(&label(Some("default/app1"), None, "app", "app1")).await.unwrap();
    assert_eq!(outcome(&stage, &pod("app1"), "metadata").await, Outcome::TimedOut);

    let new: PodSpec =
        serde_json::from_value(json!({"name": "new", "labels": {"app": "new"}, "node": "master"})).unwrap();
    stage.create(&new).await.unwrap();
    assert_eq!(outcome(&stage, &pod("new"), "metadata").await, Outcome::TimedOut, "policies hold for new pods");
    assert_eq!(outcome(&stage, &pod("new"), "app1").await, Outcome::Reached);
    stage.reset().await.unwrap();
    assert!(stage.world().pods.iter().all(|pod| pod.spec.name != "new"));
}

#[tokio::test]
async fn a_deny_that_cuts_dns_shows_as_such() {
    let Some((_lab, stage)) = stage().await else { return };
    stage.apply(&policy("all", &json!({"podSelector": {}, "policyTypes": ["Egress"]}))).await.unwrap();
    let by_name = request("metadata.google.internal", 80, IMAGE, &identity(&stage, "metadata"), 5000);
    let observation = probe(&stage, &pod("app1"), &by_name).await;
    assert_eq!(observation.outcome, Outcome::NameNotResolved, "{observation:?}");
    let dns = json!([{"to": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}],
        "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53}]}]);
    stage.apply(&policy("dns", &json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": dns}))).await.unwrap();
    let observation = probe(&stage, &pod("app1"), &by_name).await;
    assert_eq!(observation.outcome, Outcome::TimedOut, "{observation:?}");
}

#[tokio::test]
async fn rejecting_is_an_option() {
    let Some(lab) = lab(DenyBy::Reject).await else { return };
    let stage = lab.open_stage(&spec()).await.unwrap();
    stage.apply(&deny_metadata()).await.unwrap();
    assert_eq!(outcome(&stage, &pod("app1"), "metadata").await, Outcome::Refused);
    assert_eq!(outcome(&stage, &pod("app1"), "app2").await, Outcome::Reached);
}

#[tokio::test]
async fn what_the_lab_cannot_enforce_changes_nothing_and_is_said() {
    let Some((_lab, stage)) = stage().await else { return };
    let pod_manifest = manifest(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}));
    is_broken(stage.apply(&pod_manifest).await, "no API server");
    is_broken(stage.delete(&deny_metadata()).await, "not applied");
    let faulty =
        json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": [{"ipBlock": {"cidr": "nonsense"}}]}]});
    is_broken(stage.apply(&policy("faulty", &faulty)).await, "nonsense");
    is_broken(
        stage
            .label(&LabelAction { pod: Some("nobody".to_owned()), namespace: None, set: [].into(), remove: Vec::new() })
            .await,
        "nobody",
    );
    assert_eq!(outcome(&stage, &pod("app1"), "metadata").await, Outcome::Reached);
}
