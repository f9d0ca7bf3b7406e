//! The actions of a step, in the order of the file format's fields, and their lines in reports.

use std::collections::BTreeMap;

use super::{
    CellResult, Expectation,
    first::{Approached, Asking, First, PodName},
    judge::{Judgement, judge_drift, judge_rejection},
    plan::addressed,
    record::blank,
};
use crate::{
    lab::{LabError, Source, Stage},
    scenario::{DEFAULT_NAMESPACE, LabelAction, LoadedScenario, PodSpec, Step},
};

/// A line for each action of a step.
#[must_use]
pub(super) fn lines(step: &Step) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(step.apply.iter().map(|file| format!("apply {file}")));
    lines.extend(step.delete.iter().map(|file| format!("delete {file}")));
    lines.extend(step.label.iter().map(label_line));
    lines.extend(step.create.iter().map(|pod| format!("create pod {}", pod_text(pod))));
    lines.extend(step.recreate.iter().map(|pod| format!("recreate pod {pod}")));
    lines.extend(step.restart.iter().map(|pod| format!("restart pod {pod}")));
    lines.extend(step.rejected.iter().map(|rejected| format!("apply {}, which must be refused", rejected.file)));
    lines.extend(step.drift.iter().map(|drift| {
        let fields: Vec<&str> = drift.shows.keys().map(String::as_str).collect();
        format!("change {} of node {}, and take it back", fields.join(", "), drift.node.as_str())
    }));
    lines
}

/// Whether a step changes anything.
#[must_use]
pub(super) fn is_change(step: &Step) -> bool {
    !lines(step).is_empty()
}

fn label_line(action: &LabelAction) -> String {
    let what = match (&action.pod, &action.namespace) {
        (Some(pod), _) => format!("pod {pod}"),
        (None, Some(namespace)) => format!("namespace {namespace}"),
        (None, None) => "nothing".to_owned(),
    };
    let set = action.set.iter().map(|(key, value)| format!(" {key}={value}"));
    let removed = action.remove.iter().map(|key| format!(" {key}-"));
    format!("label {what}{}", set.chain(removed).collect::<String>())
}

fn pod_text(pod: &PodSpec) -> String {
    if pod.namespace == DEFAULT_NAMESPACE { pod.name.clone() } else { format!("{}/{}", pod.namespace, pod.name) }
}

/// What comes of a step's actions.
#[derive(Default)]
pub(super) struct Acted {
    /// The cells of what the harness itself asked the API server for.
    pub(super) cells: Vec<CellResult>,
    /// What the first processes of new pods have said.
    pub(super) said: BTreeMap<PodName, Vec<String>>,
    /// What came of asking new pods.
    pub(super) approached: Vec<Approached>,
}

/// Takes a step's actions, one after the other.
pub(super) async fn act(
    stage: &dyn Stage,
    asking: Asking<'_>,
    loaded: &LoadedScenario,
    step: &Step,
    first: &First,
) -> Result<Acted, LabError> {
    for file in &step.apply {
        for manifest in loaded.manifests.get(file).into_iter().flatten() {
            let manifest = addressed(&loaded.scenario, manifest, &stage.world())
                .map_err(|fault| LabError::Broken { message: fault.message, hint: fault.hint })?;
            stage.apply(&manifest).await?;
        }
    }
    for file in &step.delete {
        for manifest in loaded.manifests.get(file).into_iter().flatten().rev() {
            stage.delete(manifest).await?;
        }
    }
    for action in &step.label {
        stage.label(action).await?;
    }
    let (mut said, mut approached) = (BTreeMap::new(), Vec::new());
    for pod in &step.create {
        let (lines, came) = first.create(stage, asking, pod).await?;
        said.insert((pod.namespace.clone(), pod.name.clone()), lines);
        approached.extend(came);
    }
    for text in &step.recreate {
        let (namespace, pod) = find(stage, text)?;
        asking.sessions.forget(&Source::Pod(namespace.clone(), pod.clone()));
        stage.recreate(&namespace, &pod).await?;
    }
    for text in &step.restart {
        let (namespace, pod) = find(stage, text)?;
        asking.sessions.forget(&Source::Pod(namespace.clone(), pod.clone()));
        stage.restart(&namespace, &pod).await?;
    }
    let mut cells = refused(stage, loaded, step).await?;
    for spec in &step.drift {
        let changes = stage.drift(spec.node, &spec.patch).await?;
        let patch = serde_json::Value::Object(spec.patch.clone());
        let id = format!("watch nodes/{} PATCH {patch}", spec.node.as_str());
        let expectation = Expectation::Noticed { shows: spec.shows.clone() };
        cells.push(of_harness(id, expectation, judge_drift(&spec.shows, &changes)));
    }
    Ok(Acted { cells, said, approached })
}

/// Applies the manifests that the API server must refuse.
async fn refused(stage: &dyn Stage, loaded: &LoadedScenario, step: &Step) -> Result<Vec<CellResult>, LabError> {
    let mut cells = Vec::new();
    for rejected in &step.rejected {
        let mut refusal = None;
        for manifest in loaded.manifests.get(&rejected.file).into_iter().flatten() {
            match stage.apply(manifest).await {
                Ok(()) => {}
                Err(LabError::Rejected { message, .. }) => refusal = Some(message),
                Err(error) => return Err(error),
            }
        }
        let judgement = judge_rejection(&rejected.message, refusal.as_deref());
        let expectation = Expectation::Rejected { message: rejected.message.clone() };
        cells.push(of_harness(format!("apply {}", rejected.file), expectation, judgement));
    }
    Ok(cells)
}

/// The record of what the harness itself asked the API server for.
fn of_harness(id: String, expectation: Expectation, judgement: Judgement) -> CellResult {
    let (from, to) = ("harness".into(), "apiserver".into());
    CellResult { from, to, attempts: 1, ..blank(id.into(), expectation, judgement) }
}

/// The pod that a file means by `name` or `namespace/name`.
fn find(stage: &dyn Stage, text: &str) -> Result<(String, String), LabError> {
    if let Some((namespace, name)) = text.split_once('/') {
        return Ok((namespace.to_owned(), name.to_owned()));
    }
    let world = stage.world();
    let mut named = world.pods.iter().filter(|pod| pod.spec.name == text);
    match (named.next(), named.next()) {
        (Some(pod), None) => Ok((pod.spec.namespace.clone(), pod.spec.name.clone())),
        (None, _) => {
            Err(LabError::with_hint(format!("there is no pod `{text}`"), "name a pod of the scenario's `lab`"))
        }
        (Some(_), Some(_)) => {
            Err(LabError::with_hint(format!("pod `{text}` is in several namespaces"), "write `namespace/name`"))
        }
    }
}
