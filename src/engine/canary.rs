//! The canary: a scenario of the engine's own that finds out whether the lab enforces any policy at all, in both
//! directions and on each node. It runs before every run, with the machinery of every other scenario.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Canary, CellResult, Event, Expectation, ScenarioResult, Verdict,
    scenario::{Company, play},
    sessions::ProbeWith,
    track::Hold,
};
use crate::{
    lab::LabError,
    probe::Outcome,
    scenario::{LabSpec, LoadedScenario, Manifest, NodeName, Places},
};

/// How long a canary deny may take, whatever the lab allows: a lab that enforces nothing is found out soon.
pub(super) const PATIENCE: Duration = Duration::from_secs(8);

const NAMESPACE: &str = "pp-canary";
const LABEL: &str = "policyprobe.canary";
/// The label's values; a policed pod has its node's name.
const POLICED: &str = "policed";
const FRIEND: &str = "friend";
/// The port that no policed pod may connect to.
const CLOSED_BY_EGRESS: u16 = 80;
/// The port at which no policed pod takes anybody but the friend.
const CLOSED_BY_INGRESS: u16 = 81;

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
        Ok(loaded) => match play(&company, &loaded, &mut None).await {
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
    loaded().ok().map(|loaded| loaded.scenario.lab.clone())
}

/// The canary's scenario. Of the two pods under policy, one on each node, each is isolated for ingress but for one port, and
/// for egress but for another: so each deny has one cause. A third pod is under no policy and let in everywhere: it is the
/// witness.
fn loaded() -> Result<LoadedScenario, serde_json::Error> {
    let ports = [CLOSED_BY_EGRESS, CLOSED_BY_INGRESS].map(|port| json!({"port": port}));
    // Some CNIs enforce nothing on pods that nobody owns, and the pods that people care about are owned.
    let pod = |role: &str, name: &str, node: &str| json!({"name": name, "namespace": NAMESPACE, "labels": {LABEL: role}, "node": node, "owner": "deployment", "ports": ports});
    let full = |name: &str| format!("{NAMESPACE}/{name}");
    let (master, worker) = (NodeName::Master.as_str(), NodeName::Worker.as_str());
    let cells = |rule: &dyn Fn(String) -> Value| -> Vec<Value> {
        let mut cells = Vec::new();
        for (from, to) in [(master, worker), (worker, master)] {
            for port in [CLOSED_BY_EGRESS, CLOSED_BY_INGRESS] {
                let mut cell = rule(full(from));
                cell["to"] = json!({"pod": full(to), "port": port});
                cells.push(cell);
            }
        }
        cells
    };
    let scenario = serde_json::from_value(json!({
        "id": "canary",
        "title": "Policies are enforced, in both directions and on each node",
        "lab": {
            "namespaces": {NAMESPACE: {}},
            "pods": [pod(POLICED, master, master), pod(POLICED, worker, worker), pod(FRIEND, FRIEND, master)],
        },
        "steps": [
            {"name": "no policy", "expect": cells(&|from| json!({"allow": [from, full(FRIEND)]}))},
            {
                "name": "deny",
                "apply": ["ingress.yaml", "egress.yaml"],
                "expect": cells(&|from| json!({"allow": [full(FRIEND)], "deny": [from]})),
            },
        ],
    }))?;
    let policed = json!({"matchLabels": {LABEL: POLICED}});
    let ingress = json!({
        "podSelector": policed,
        "policyTypes": ["Ingress"],
        "ingress": [
            {"ports": [{"port": CLOSED_BY_EGRESS}]},
            {"from": [{"podSelector": {"matchLabels": {LABEL: FRIEND}}}]},
        ],
    });
    let egress = json!({
        "podSelector": policed,
        "policyTypes": ["Egress"],
        "egress": [{"ports": [{"port": CLOSED_BY_INGRESS}]}],
    });
    let manifests = BTreeMap::from([
        ("ingress.yaml".to_owned(), vec![Arc::new(manifest("canary-ingress", &ingress)?)]),
        ("egress.yaml".to_owned(), vec![Arc::new(manifest("canary-egress", &egress)?)]),
    ]);
    Ok(LoadedScenario {
        path: PathBuf::from("canary"),
        shipped: true,
        scenario,
        manifests,
        warnings: Vec::new(),
        places: Places::default(),
    })
}

fn manifest(name: &str, spec: &Value) -> Result<Manifest, serde_json::Error> {
    Manifest::network_policy("canary", (NAMESPACE, name), spec)
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
        let places: Vec<String> = open.iter().map(|cell| place(cell)).collect();
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

/// What a cell of the canary's denies stands for.
fn place(cell: &CellResult) -> String {
    let node = |pod: &str| pod.rsplit('/').next().unwrap_or(pod).split(':').next().unwrap_or(pod).to_owned();
    if cell.port == Some(CLOSED_BY_EGRESS) {
        format!("egress on node/{}", node(&cell.from))
    } else {
        format!("ingress on node/{}", node(&cell.to))
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
        let without = |left: &str| {
            let mut less = loaded.clone();
            Arc::make_mut(&mut less.scenario).steps[1].apply.retain(|file| file != left);
            plan::agree(&less, &plan::world(&less.scenario.lab)).unwrap_err().to_string()
        };
        // Each policy alone leaves the denies of the other open: no deny has two causes.
        assert!(without("egress.yaml").contains(":80") && !without("egress.yaml").contains(":81"));
        assert!(without("ingress.yaml").contains(":81") && !without("ingress.yaml").contains(":80"));
    }
}
