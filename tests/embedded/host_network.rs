//! Pods in the network of their node: its addresses, its ports, and no policies.

use policyprobe::{
    lab::{
        Source, Stage,
        embedded::{DenyBy, EmbeddedLab, EmbeddedStage},
    },
    probe::Outcome,
    scenario::{LabSpec, NodeName},
};
use serde_json::{Value, json};

use crate::common::*;

fn spec(pods: &Value) -> LabSpec {
    serde_json::from_value(json!({ "pods": pods, "outside": [{"name": "internet"}] })).unwrap()
}

async fn stage() -> Option<(EmbeddedLab, EmbeddedStage)> {
    let lab = lab(DenyBy::Drop).await?;
    let pods = json!([
        {"name": "app1", "labels": {"app": "app1"}, "node": "worker"},
        {"name": "app2", "labels": {"app": "app2"}, "node": "master"},
        {"name": "host", "labels": {"app": "host"}, "node": "worker", "hostNetwork": true,
         "ports": [{"port": 8181}, {"port": 8181, "protocol": "UDP"}]},
    ]);
    let stage = lab.open_stage(&spec(&pods)).await.unwrap();
    Some((lab, stage))
}

#[tokio::test]
async fn it_has_its_nodes_address_and_is_reached_on_its_own_ports_beside_the_node() {
    let Some((_lab, stage)) = stage().await else { return };
    assert_eq!(address(&stage, "host"), address(&stage, "worker"));
    let host = pod("host");
    for source in [pod("app1"), pod("app2"), node(NodeName::Master), Source::Outside("internet".to_owned())] {
        assert_eq!(outcome_on(&stage, &source, "host", 8181).await, Outcome::Reached, "{source:?}");
        assert_eq!(outcome_on(&stage, &source, "worker", 9999).await, Outcome::Reached, "{source:?}");
    }
    for to in ["app1", "app2", "internet"] {
        assert_eq!(outcome(&stage, &host, to).await, Outcome::Reached, "{to}");
    }
    assert_eq!(outcome_on(&stage, &pod("app1"), "host", 80).await, Outcome::Refused);
}

#[tokio::test]
async fn policies_take_it_for_its_node() {
    let Some((_lab, stage)) = stage().await else { return };
    let (host, app1) = (pod("host"), pod("app1"));
    let nothing = json!({"podSelector": {"matchLabels": {"app": "host"}}, "policyTypes": ["Ingress", "Egress"]});
    stage.apply(&policy("nothing", &nothing)).await.unwrap();
    assert_eq!(outcome(&stage, &host, "app2").await, Outcome::Reached, "it is not selected");
    assert_eq!(outcome_on(&stage, &pod("app2"), "host", 8181).await, Outcome::Reached, "it is not selected");
    let from = json!([{"from": [{"podSelector": {"matchLabels": {"app": "host"}}}]}]);
    stage.apply(&policy("in-host", &json!({"podSelector": {}, "ingress": from}))).await.unwrap();
    assert_eq!(outcome(&stage, &host, "app2").await, Outcome::TimedOut, "its label means nobody");
    assert_eq!(outcome(&stage, &host, "app1").await, Outcome::Reached, "it is app1's own node");
    let block = format!("{}/32", address(&stage, "worker"));
    let from = json!([{"from": [{"ipBlock": {"cidr": block}}]}]);
    stage.apply(&policy("in-host", &json!({"podSelector": {}, "ingress": from}))).await.unwrap();
    assert_eq!(outcome(&stage, &host, "app2").await, Outcome::Reached, "its address is its node's");
    assert_eq!(outcome(&stage, &app1, "app2").await, Outcome::TimedOut);
}

#[tokio::test]
async fn it_is_made_anew_at_the_same_address_and_gives_its_ports_back() {
    let Some((_lab, stage)) = stage().await else { return };
    let before = address(&stage, "host");
    stage.recreate("default", "host").await.unwrap();
    assert_eq!(address(&stage, "host"), before);
    assert_eq!(outcome_on(&stage, &pod("app2"), "host", 8181).await, Outcome::Reached);
    let late = json!({"name": "late", "node": "worker", "hostNetwork": true, "ports": [{"port": 8282}]});
    let late = serde_json::from_value(late).unwrap();
    for _ in 0..2 {
        stage.create(&late).await.unwrap();
        assert_eq!(outcome_on(&stage, &pod("app2"), "late", 8282).await, Outcome::Reached);
        stage.reset().await.unwrap();
    }
    let gone = request(&before, 8282, "/", "nobody", 1000);
    assert_eq!(probe(&stage, &pod("app2"), &gone).await.outcome, Outcome::Refused);
}

#[tokio::test]
async fn a_port_that_the_node_has_is_refused_with_a_hint() {
    let Some(lab) = lab(DenyBy::Drop).await else { return };
    let pods = json!([{"name": "host", "node": "worker", "hostNetwork": true, "ports": [{"port": 9999}]}]);
    is_broken(lab.open_stage(&spec(&pods)).await.map(drop), "something on the node has that port already");
}
