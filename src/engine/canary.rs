//! The canary: a scenario of the engine's own that finds out whether the lab enforces any policy at all, in both
//! directions and on each node. It runs before every run, with the machinery of every other scenario.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Canary, Event, Expectation, ScenarioResult, Verdict,
    scenario::{Company, play},
    sessions::ProbeWith,
    track::Hold,
};
use crate::{
    lab::LabError,
    probe::Outcome,
    scenario::{LabSpec, LoadedScenario, Manifest},
};

/// How long a canary deny may take, whatever the lab allows: a lab that enforces nothing is found out soon.
pub(super) const PATIENCE: Duration = Duration::from_secs(8);

const NAMESPACE: &str = "pp-canary";
const LABEL: &str = "policyprobe.canary";

/// Runs the canary. An error is one after which the run cannot go on.
pub(super) async fn run(company: &Company<'_>) -> Result<Canary, LabError> {
    let (began, told) = (Instant::now(), company.events);
    // What the canary does in detail is told nobody, but for the time that it took.
    let (events, mut details) = company.events.aside();
    let mut company = Company { events: &events, canary: true, known: None, ..*company };
    company.rules.limit = company.rules.limit.min(PATIENCE);
    company.rules.show_answers = false;
    // Nobody repeats its commands, and open probers take the least from the scenarios beside it.
    company.rules.probe = ProbeWith::Agent;
    // Where nothing is enforced no round is ever as expected, so one that is says enough.
    company.rules.hold = Hold::ONCE;
    let (verdict, detail) = match loaded() {
        Ok(loaded) => match play(&company, &loaded).await {
            Ok(result) => judge(&result),
            Err(error @ (LabError::RealMetadata { .. } | LabError::Cancelled)) => return Err(error),
            Err(error) => (Verdict::Inconclusive, error.to_string()),
        },
        Err(error) => (Verdict::Inconclusive, format!("the canary is broken: {error}")),
    };
    while let Ok(detail) = details.try_recv() {
        if let Event::Span { .. } = detail {
            told.send(detail);
        }
    }
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Canary { verdict, detail, took_ms })
}

/// What the canary's stage asks for.
pub(super) fn lab() -> Option<LabSpec> {
    loaded().ok().map(|loaded| loaded.scenario.lab)
}

/// The canary's scenario. Two pods on each node: those labelled `in` are isolated for ingress and take only `out`, those
/// labelled `out` are isolated for egress and reach only `in`. So each deny has one cause, and its witness is a source
/// that the same policies let through.
fn loaded() -> Result<LoadedScenario, serde_json::Error> {
    // Some CNIs enforce nothing on pods that nobody owns, and the pods that people care about are owned.
    let pod = |role: &str, node: &str| {
        let name = format!("{role}-{node}");
        json!({"name": name, "namespace": NAMESPACE, "labels": {LABEL: role}, "node": node, "owner": "deployment"})
    };
    let to = |role: &str, node: &str| json!({"pod": format!("{NAMESPACE}/{role}-{node}"), "port": 80});
    let from = |role: &str, node: &str| format!("{NAMESPACE}/{role}-{node}");
    let nodes = [("master", "worker"), ("worker", "master")];
    let baseline: Vec<Value> = nodes
        .iter()
        .flat_map(|(here, there)| {
            ["in", "out"].map(|role| json!({"to": to(role, there), "allow": [from("in", here), from("out", here)]}))
        })
        .collect();
    let denied: Vec<Value> = nodes
        .iter()
        .flat_map(|(here, there)| {
            [("in", "out"), ("out", "in")].map(|(role, friend)| {
                json!({"to": to(role, there), "allow": [from(friend, here)], "deny": [from(role, here)]})
            })
        })
        .collect();
    let scenario = serde_json::from_value(json!({
        "id": "canary",
        "title": "Policies are enforced, in both directions and on each node",
        "lab": {
            "namespaces": {NAMESPACE: {}},
            "pods": nodes.iter().flat_map(|(node, _)| [pod("in", node), pod("out", node)]).collect::<Vec<_>>(),
        },
        "steps": [
            {"name": "no policy", "expect": baseline},
            {"name": "deny", "apply": ["ingress.yaml", "egress.yaml"], "expect": denied},
        ],
    }))?;
    let peer = |role: &str| json!([{"podSelector": {"matchLabels": {LABEL: role}}}]);
    let ingress = json!({
        "podSelector": {"matchLabels": {LABEL: "in"}},
        "policyTypes": ["Ingress"],
        "ingress": [{"from": peer("out")}],
    });
    let egress = json!({
        "podSelector": {"matchLabels": {LABEL: "out"}},
        "policyTypes": ["Egress"],
        "egress": [{"to": peer("in")}],
    });
    let manifests = BTreeMap::from([
        ("ingress.yaml".to_owned(), vec![Arc::new(manifest("canary-ingress", &ingress)?)]),
        ("egress.yaml".to_owned(), vec![Arc::new(manifest("canary-egress", &egress)?)]),
    ]);
    Ok(LoadedScenario { path: PathBuf::from("canary"), shipped: true, scenario, manifests, warnings: Vec::new() })
}

fn manifest(name: &str, spec: &Value) -> Result<Manifest, serde_json::Error> {
    let raw = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": spec,
    });
    Ok(Manifest {
        path: PathBuf::from("canary"),
        policy: Some(Arc::new(serde_json::from_value(raw.clone())?)),
        raw,
        api_version: "networking.k8s.io/v1".to_owned(),
        kind: "NetworkPolicy".to_owned(),
        name: name.to_owned(),
        namespace: NAMESPACE.to_owned(),
    })
}

/// The canary's conclusion. A deny that had no effect anywhere is a lab that enforces nothing; one that had an effect in
/// some places only is a failure, and no reason not to look closer.
fn judge(result: &ScenarioResult) -> (Verdict, String) {
    let denies: Vec<_> = result
        .steps
        .iter()
        .flat_map(|step| &step.cells)
        .filter(|cell| cell.expectation == Expectation::Blocked)
        .collect();
    let open: Vec<_> =
        denies.iter().filter(|cell| cell.verdict == Verdict::Fail && cell.outcome == Some(Outcome::Reached)).collect();
    if result.verdict == Verdict::Skipped {
        return (Verdict::Skipped, result.reason.clone().unwrap_or_default());
    }
    if !denies.is_empty() && open.len() == denies.len() {
        return (
            Verdict::NotEnforcing,
            "neither an ingress nor an egress deny had any effect, on either node".to_owned(),
        );
    }
    if !open.is_empty() {
        let places: Vec<String> = open.iter().map(|cell| place(&cell.from)).collect();
        return (Verdict::Fail, format!("a deny had no effect for {}", places.join(", ")));
    }
    match denies.iter().find(|cell| cell.verdict != Verdict::Pass) {
        None if !denies.is_empty() => {
            (Verdict::Pass, "ingress and egress denies are enforced, between both nodes".to_owned())
        }
        None => (Verdict::Inconclusive, result.reason.clone().unwrap_or_else(|| "nothing was tried".to_owned())),
        Some(cell) => {
            let reason = cell.reason.as_deref().unwrap_or("no reason is known");
            (Verdict::Inconclusive, format!("{}: {reason}", cell.id))
        }
    }
}

/// What a canary pod stands for.
fn place(from: &str) -> String {
    let name = from.rsplit('/').next().unwrap_or(from);
    match name.split_once('-') {
        Some(("in", "master")) => "ingress on node/worker".to_owned(),
        Some(("in", "worker")) => "ingress on node/master".to_owned(),
        Some((_, node)) => format!("egress on node/{node}"),
        None => name.to_owned(),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::engine::plan;

    #[test]
    fn the_canary_agrees_with_the_simulator() {
        let loaded = loaded().unwrap();
        let oracles = plan::agree(&loaded, &plan::world(&loaded.scenario.lab)).unwrap();
        let denied = oracles[1].cells.iter().filter(|oracle| oracle.cell.expectation == Expectation::Blocked);
        assert_eq!(denied.count(), 4, "two directions on two nodes");
    }
}
