//! The inner half's own prober: UDP, and the same verdicts as by `curl`.

use std::time::Duration;

use futures::StreamExt;
use policyprobe::{
    engine::{self, CellResult, Events, Options, ProbeWith, RunResult, Verdict},
    lab::{
        ServerId, Source, Stage,
        embedded::{DenyBy, EmbeddedBuilder, EmbeddedStage},
    },
    probe::{Means, Observation, Outcome, Request, Target},
    scenario::{self, Family, NodeName},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::common::*;

/// [`stage`] with a resolver that serves two UDP ports beside TCP.
async fn stage_with_resolver(deny_by: DenyBy) -> Option<(impl Sized, EmbeddedStage)> {
    let lab = lab(deny_by).await?;
    let ports = json!([{"port": 53, "protocol": "UDP", "name": "dns"}, {"port": 54, "protocol": "UDP"}, {"port": 80}]);
    let spec = serde_json::from_value(json!({"pods": [
        {"name": "app1", "labels": {"app": "app1"}, "node": "master"},
        {"name": "resolver", "labels": {"app": "resolver"}, "node": "worker", "ports": ports},
    ]}))
    .unwrap();
    let stage = lab.open_stage(&spec).await.unwrap();
    Some((lab, stage))
}

/// A question over UDP to a pod.
fn question(stage: &EmbeddedStage, to: &str, port: u16) -> Request {
    let target = Target::Udp { host: address(stage, to), port, family: Family::Ipv4 };
    let resolve_limit = Duration::ZERO;
    Request { target, resolve_limit, ..request("", port, "/", &identity(stage, to), 1000) }
}

async fn ask(stage: &EmbeddedStage, from: &Source, request: &Request) -> Observation {
    let mut session = stage.open_fast(from, Means::Agent).await.unwrap();
    assert_eq!(session.means(request), Means::Agent);
    let answers: Vec<_> = session.probe(std::slice::from_ref(request)).collect().await;
    assert_eq!(answers.len(), 1, "one answer to one request");
    answers[0].observation.clone()
}

#[tokio::test]
async fn policies_stop_udp_by_port_and_by_name() {
    let Some((_lab, stage)) = stage_with_resolver(DenyBy::Drop).await else { return };
    let outcome = async |port| ask(&stage, &pod("app1"), &question(&stage, "resolver", port)).await.outcome;
    assert_eq!((outcome(53).await, outcome(54).await), (Outcome::Reached, Outcome::Reached));
    for ports in [json!([{"port": 53, "protocol": "UDP"}]), json!([{"port": "dns", "protocol": "UDP"}])] {
        let selector = json!({"matchLabels": {"app": "resolver"}});
        stage
            .apply(&policy("ingress", &json!({"podSelector": selector, "ingress": [{"ports": ports}]})))
            .await
            .unwrap();
        assert_eq!((outcome(53).await, outcome(54).await), (Outcome::Reached, Outcome::TimedOut), "{ports}");
        let web = request(&address(&stage, "resolver"), 80, "/", "pod/default/resolver", 500);
        assert_eq!(ask(&stage, &pod("app1"), &web).await.outcome, Outcome::TimedOut, "TCP is another protocol");
    }
    let own_node = ask(&stage, &node(NodeName::Worker), &question(&stage, "resolver", 54)).await;
    assert_eq!(own_node.outcome, Outcome::Reached, "the pod's own node");
}

#[tokio::test]
async fn what_arrived_over_udp_is_in_the_log_and_what_was_denied_is_not() {
    let Some((_lab, stage)) = stage_with_resolver(DenyBy::Drop).await else { return };
    let (arrives, denied) = (question(&stage, "resolver", 53), question(&stage, "resolver", 53));
    assert_eq!(ask(&stage, &pod("app1"), &arrives).await.outcome, Outcome::Reached);
    stage.apply(&policy("all", &json!({"podSelector": {}, "policyTypes": ["Ingress"]}))).await.unwrap();
    let observation = ask(&stage, &pod("app1"), &denied).await;
    assert_eq!((observation.outcome, observation.resent), (Outcome::TimedOut, Some(2)));
    let nonces = [&arrives, &denied].map(|request| request.nonce.clone()).into();
    let seen = stage.seen(&ServerId::Pod("default".to_owned(), "resolver".to_owned()), &nonces).await.unwrap();
    assert_eq!(seen, [arrives.nonce].into());
}

#[tokio::test]
async fn refusals_silence_and_missing_routes_are_told_apart_over_udp() {
    let Some((_lab, stage)) = stage_with_resolver(DenyBy::Reject).await else { return };
    let closed = ask(&stage, &pod("app1"), &question(&stage, "resolver", 99)).await;
    assert_eq!(closed.outcome, Outcome::Refused, "{closed:?}");
    stage.apply(&policy("all", &json!({"podSelector": {}, "policyTypes": ["Ingress"]}))).await.unwrap();
    let rejected = ask(&stage, &pod("app1"), &question(&stage, "resolver", 53)).await;
    assert_eq!(rejected.outcome, Outcome::Refused, "{rejected:?}");
    // A metadata address, to which every node of a lab without an emulator has an unreachable route alone.
    let mut nowhere = question(&stage, "resolver", 53);
    nowhere.target = Target::Udp { host: "169.254.169.254".to_owned(), port: 53, family: Family::Ipv4 };
    let unreachable = ask(&stage, &pod("app1"), &nowhere).await;
    assert_eq!(unreachable.outcome, Outcome::Unreachable, "{unreachable:?}");
}

#[tokio::test]
async fn names_are_resolved_in_the_source_and_by_the_labs_own_dns() {
    let Some((_lab, stage)) = stage().await else { return };
    let by_name = request("metadata.google.internal", 80, IMAGE, &identity(&stage, "metadata"), 1000);
    let observation = ask(&stage, &pod("app1"), &by_name).await;
    assert_eq!(observation.outcome, Outcome::Reached, "{observation:?}");
    assert!(observation.resolve.is_some() && observation.address == Some("169.254.169.254".parse().unwrap()));
    let unknown = request("nobody.example", 80, "/", "nobody", 1000);
    assert_eq!(ask(&stage, &pod("app1"), &unknown).await.outcome, Outcome::NameNotResolved);
    stage.apply(&policy("all", &json!({"podSelector": {}, "policyTypes": ["Egress"]}))).await.unwrap();
    let observation = ask(&stage, &pod("app1"), &by_name).await;
    assert_eq!(observation.outcome, Outcome::NameNotResolved, "{observation:?}");
}

/// A run of one shipped scenario; none where this system has no namespaces for us.
async fn run(id: &str, probe: ProbeWith) -> Option<RunResult> {
    lab(DenyBy::Drop).await?;
    let scenarios = scenario::select(&[id.to_owned()]).unwrap();
    let builder = Box::new(EmbeddedBuilder { binary: Some(binary()), ..EmbeddedBuilder::default() });
    let (events, _) = Events::channel();
    let options = Options { probe, ..Options::default() };
    Some(engine::run(builder, &scenarios, &options, &events, &CancellationToken::new()).await)
}

fn cells(result: &RunResult) -> Vec<(&str, &CellResult)> {
    let steps = result.scenarios.iter().flat_map(|scenario| &scenario.steps);
    steps.flat_map(|step| step.cells.iter().map(|cell| (step.name.as_str(), cell))).collect()
}

#[tokio::test]
async fn the_agent_and_curl_come_to_the_same_verdicts() {
    let Some(by_curl) = run("ingress-two-namespaces", ProbeWith::Curl).await else { return };
    let by_agent = run("ingress-two-namespaces", ProbeWith::Agent).await.unwrap();
    let verdicts = |result| -> Vec<_> {
        let verdict =
            |(step, cell): (&str, &CellResult)| (step.to_owned(), cell.id.clone(), cell.verdict, cell.outcome);
        cells(result).into_iter().map(verdict).collect()
    };
    assert_eq!(verdicts(&by_curl), verdicts(&by_agent));
    for (result, means) in [(&by_curl, Means::Curl), (&by_agent, Means::Agent)] {
        let cells = cells(result);
        assert!(!cells.is_empty() && cells.iter().all(|(_, cell)| cell.verdict == Verdict::Pass), "{cells:#?}");
        assert!(cells.iter().all(|(_, cell)| cell.probe == Some(means)), "{cells:#?}");
        assert!(cells.iter().all(|(_, cell)| cell.command.as_deref().is_some_and(|it| it.starts_with("curl "))));
    }
}

#[tokio::test]
async fn a_udp_deny_rests_on_a_witness_over_udp() {
    for (probe, tcp) in [(ProbeWith::Auto, Means::Agent), (ProbeWith::Curl, Means::Curl)] {
        let Some(result) = run("udp-beside-tcp", probe).await else { return };
        for (step, cell) in cells(&result) {
            assert_eq!(cell.verdict, Verdict::Pass, "{step}: {cell:#?}");
            let means = if cell.id.ends_with("/udp") { Means::Agent } else { tcp };
            assert_eq!(cell.probe, Some(means), "{step}: {}", cell.id);
            assert_eq!(cell.witness.is_some(), cell.expected == "deny", "{step}: {cell:#?}");
        }
    }
}
