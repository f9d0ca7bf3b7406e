//! A run to look at: the document's lab, played on a script, and all that it said.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, sync::atomic::Ordering};

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    lab::{Builder, Traces},
    planted::Faults,
};
use crate::{
    engine::{CellResult, Event, Events, Options, RunResult, Verdict, run},
    scenario::{LoadedScenario, Manifest, Places},
};

pub(super) const WORKS: [&str; 4] = ["app1", "app2", "node/master", "node/worker"];

pub(super) fn manifest(name: &str, spec: &Value) -> Vec<Arc<Manifest>> {
    vec![Arc::new(Manifest::network_policy(name, ("default", name), spec).unwrap())]
}

/// The document's lab, by address or by name.
pub(super) fn document(by: &str) -> LoadedScenario {
    let to = json!({"metadata": {"by": by}});
    let scenario = serde_json::from_value(json!({
        "id": "lab", "title": "the document's lab",
        "lab": {"metadata": "gcp", "pods": [
            {"name": "app1", "labels": {"app": "app1"}},
            {"name": "app2", "labels": {"app": "app2", "role": "metadata-accessor"}},
        ]},
        "steps": [
            {"name": "no policy", "expect": [
                {"to": to, "allow": WORKS},
                {"to": {"pod": "app2", "port": 80}, "allow": ["app1"]},
            ]},
            {"name": "deny", "apply": ["deny.yaml"], "expect": [
                {"to": to, "allow": ["node/master", "node/worker"], "deny": ["app1", "app2"]},
                {"to": {"pod": "app2", "port": 80}, "allow": ["app1"]},
            ]},
            {"name": "allow", "apply": ["allow.yaml"], "expect": [
                {"to": to, "allow": ["app2", "node/master", "node/worker"], "deny": ["app1"]},
            ]},
        ],
    }))
    .unwrap();
    let deny = json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [
        {"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.169.254/32"]}}]},
    ]});
    let allow = json!({"podSelector": {"matchLabels": {"role": "metadata-accessor"}}, "policyTypes": ["Egress"],
        "egress": [{"to": [{"ipBlock": {"cidr": "169.254.169.254/32"}}]}]});
    let manifests = BTreeMap::from([
        ("deny.yaml".to_owned(), manifest("deny", &deny)),
        ("allow.yaml".to_owned(), manifest("allow", &allow)),
    ]);
    LoadedScenario {
        path: PathBuf::from("lab.yaml"),
        shipped: true,
        scenario,
        manifests,
        warnings: Vec::new(),
        places: Places::default(),
    }
}

pub(super) struct Ran {
    pub(super) result: RunResult,
    pub(super) events: Vec<Event>,
    pub(super) traces: Traces,
}

impl Ran {
    pub(super) fn cells(&self) -> impl Iterator<Item = (&str, &CellResult)> {
        let steps = self.result.scenarios.iter().flat_map(|scenario| &scenario.steps);
        steps.flat_map(|step| step.cells.iter().map(|cell| (step.name.as_str(), cell)))
    }

    pub(super) fn cell(&self, step: &str, id: &str) -> &CellResult {
        self.cells().find(|(name, cell)| *name == step && cell.id.starts_with(id)).unwrap().1
    }

    pub(super) fn denies(&self) -> Vec<&CellResult> {
        self.cells().map(|(_, cell)| cell).filter(|cell| cell.expected == "deny").collect()
    }

    /// No deny passed, and every verdict but a pass has its reason.
    pub(super) fn assert_no_deny_passed(&self) {
        assert!(self.denies().iter().all(|cell| cell.verdict != Verdict::Pass), "{:#?}", self.result);
        assert!(self.cells().all(|(_, cell)| cell.reason.is_none() == (cell.verdict == Verdict::Pass)));
    }
}

pub(super) async fn go(faults: Faults, options: &Options, scenario: LoadedScenario) -> Ran {
    let cancel = CancellationToken::new();
    go_until(faults, options, scenario, &cancel).await
}

pub(super) async fn go_until(
    faults: Faults,
    options: &Options,
    scenario: LoadedScenario,
    cancel: &CancellationToken,
) -> Ran {
    go_through(faults, options, &[scenario], cancel).await
}

pub(super) async fn go_through(
    faults: Faults,
    options: &Options,
    all: &[LoadedScenario],
    cancel: &CancellationToken,
) -> Ran {
    let (events, mut reader) = Events::channel();
    let traces = Traces::default();
    let builder = Box::new(Builder { faults, traces: traces.clone() });
    let result = run(builder, all, options, &events, cancel).await;
    let mut seen = Vec::new();
    while let Ok(event) = reader.try_recv() {
        seen.push(event);
    }
    assert_eq!(
        traces.built.load(Ordering::SeqCst),
        traces.torn_down.load(Ordering::SeqCst),
        "what is built is torn down"
    );
    Ran { result, events: seen, traces }
}

pub(super) async fn lab(faults: Faults) -> Ran {
    go(faults, &Options::default(), document("address")).await
}
