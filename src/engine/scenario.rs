//! One scenario: its stage, its steps, the baseline once more at the end. Also the records of what was not played.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::join;
use tokio::{
    sync::RwLockReadGuard,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    CellResult, Event, Events, Expectation, ScenarioResult, StepResult, Verdict, WitnessKind, action,
    conclude::worst,
    heritage::Heritage,
    history::PathKey,
    plan::{self, StepOracle},
    plans::Plans,
    quiet::Quiet,
    record::unprobed,
    result::cells_mut,
    round::Nonces,
    sessions::Sessions,
    settle::Occasion,
    step::{Course, Rules, Staged},
    watch::Watches,
};
use crate::{
    lab::{Lab, LabError, World},
    profile::Known,
    scenario::{LoadedScenario, Need},
};

/// How long the canary's pods wait for the first tables of the scenarios beside it.
const FIRST_TABLES: Duration = Duration::from_secs(1);

/// What all scenarios of a run share.
#[derive(Clone, Copy)]
pub(super) struct Company<'a> {
    /// The lab.
    pub(super) lab: &'a dyn Lab,
    /// The run's nonces.
    pub(super) nonces: &'a Arc<Nonces>,
    /// The order in which connects are timed.
    pub(super) quiet: &'a Quiet,
    /// Where everything is told.
    pub(super) events: &'a Events,
    /// How steps are played.
    pub(super) rules: Rules,
    /// Scenarios in different lanes share nothing but the lab.
    pub(super) lane: u32,
    /// The canary gives way to others, and leaves it at its denies: its baseline is not checked again at the end.
    pub(super) canary: bool,
    /// What the CNI is known to do otherwise.
    pub(super) known: Option<&'a Known>,
    /// Ends the run.
    pub(super) cancel: &'a CancellationToken,
}

/// Plays one scenario. An error is one after which the run cannot go on.
///
/// `heritage` is what the scenario before left; afterwards it is what this one leaves.
pub(super) async fn play(
    company: &Company<'_>,
    loaded: &LoadedScenario,
    heritage: &mut Option<Heritage>,
) -> Result<Arc<ScenarioResult>, LabError> {
    let result = match plan::missing(&plan::scenario_needs(loaded), company.lab.capabilities()) {
        Some(reason) => unplayed(loaded, Verdict::Skipped, &reason),
        None => Box::pin(staged(company, loaded, heritage)).await?,
    };
    let result = Arc::new(result);
    company.events.send(Event::ScenarioFinished(Arc::clone(&result)));
    Ok(result)
}

/// Waits for a scenario's turn to make its stage; what it holds until its first table is told.
async fn begin<'a>(company: &Company<'a>) -> Option<RwLockReadGuard<'a, ()>> {
    if company.canary {
        // Where scenarios are soon under way, its pods would only slow them down.
        let _ = timeout(FIRST_TABLES, company.quiet.give_way()).await;
        return None;
    }
    Some(company.quiet.ready().await)
}

async fn staged(
    company: &Company<'_>,
    loaded: &LoadedScenario,
    heritage: &mut Option<Heritage>,
) -> Result<ScenarioResult, LabError> {
    let began = Instant::now();
    let id = &loaded.scenario.id;
    let ready = begin(company).await;
    let staging = company.lab.stage(&loaded.scenario.lab, company.lane, company.cancel);
    let stage = company.events.timed(format!("{id} › stage"), staging).await?;
    let world = stage.world();
    let mut result = ScenarioResult {
        namespaces: renamed(&world),
        ready_ms: millis(began),
        two_oracles: true,
        ..empty(loaded, Verdict::Pass)
    };
    company.events.send(Event::ScenarioStarted {
        id: result.id.clone(),
        title: result.title.clone(),
        steps: loaded.scenario.steps.len(),
        namespaces: result.namespaces.clone(),
    });
    let oracles = match plan::agree(loaded, &world) {
        Ok(oracles) => oracles,
        Err(error) => {
            let reason = format!("in this lab the simulator disagrees with the file: {error}");
            let unplayed = unplayed(loaded, Verdict::Inconclusive, &reason);
            return Ok(ScenarioResult {
                steps: unplayed.steps,
                verdict: unplayed.verdict,
                reason: unplayed.reason,
                ..result
            });
        }
    };
    result.two_oracles = oracles.iter().all(|step| step.two_oracles);
    let needs_dns = oracles.iter().flat_map(|step| &step.cells).any(|oracle| oracle.cell.needs.contains(&Need::Dns));
    let cells = oracles.iter().flat_map(|step| &step.cells).map(|oracle| &oracle.cell);
    let denied = cells.filter(|cell| cell.expectation.is_absence() && cell.first.is_none()).map(PathKey::of);
    let staged = Staged {
        loaded,
        sessions: Arc::new(Sessions::new(Arc::clone(&stage))),
        stage,
        oracles: oracles.iter().map(StepOracle::by_id).collect(),
        plans: Plans::new(loaded, company.lab.capabilities()),
        capabilities: company.lab.capabilities(),
        nonces: company.nonces,
        quiet: company.quiet,
        events: company.events,
        rules: company.rules,
        denied: denied.collect(),
        known: company.known,
    };
    let watches = Watches::new(Arc::clone(&staged.sessions), Arc::clone(company.nonces));
    let before = heritage.take().and_then(|before| before.on(staged.stage.ground()));
    let mut course = Course {
        history: before.as_ref().map(|before| before.history(&world)).unwrap_or_default(),
        before,
        watches,
        opening: Vec::new(),
        ready,
    };
    match open(&staged, needs_dns).await {
        Ok(took) => result.dns_wait_ms = took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
        Err(error) => return broken(company, &oracles, result, 0, began, error),
    }
    if company.canary {
        company.quiet.give_way().await;
    }
    for index in 0..oracles.len() {
        match staged.play(index, &mut course).await {
            Ok(mut step) => {
                if let Some(known) = company.known {
                    known.excuse(id, &mut step.cells);
                    step.verdict = worst(step.cells.iter().map(|cell| cell.verdict));
                }
                tell(company.events, &mut result, step);
            }
            Err(error) => return broken(company, &oracles, result, index, began, error),
        }
    }
    course.rest().await;
    if loaded.scenario.steps.iter().any(action::is_change) {
        if !company.canary && staged.occasion(0) == Occasion::Baseline {
            match staged.restore(&mut course).await {
                Ok(step) => {
                    taint(&mut result.steps, &step);
                    *heritage = staged.bequeath(&step, &mut course);
                    tell(company.events, &mut result, step);
                }
                Err(error) => return broken(company, &oracles, result, oracles.len(), began, error),
            }
        } else if let Err(error) = staged.stage.reset().await {
            company.events.note(format!("{}: taking the changes back failed: {error}", result.id));
        }
    }
    course.rest().await;
    if let Some(known) = company.known {
        known.surprise(&mut result);
    }
    conclude(&mut result, began);
    Ok(result)
}

/// Opens the sessions, and waits for the cluster's DNS where that is needed; how long that took.
async fn open(staged: &Staged<'_>, needs_dns: bool) -> Result<Option<Duration>, LabError> {
    let (id, events) = (&staged.loaded.scenario.id, staged.events);
    let sessions = events.timed(format!("{id} › sessions"), staged.open_sessions());
    let dns = async {
        if !needs_dns || !staged.capabilities.has.contains(&Need::Dns) {
            return Ok(None);
        }
        events.timed(format!("{id} › DNS"), staged.stage.dns_ready()).await.map(Some)
    };
    join(sessions, dns).await.1
}

fn tell(events: &Events, result: &mut ScenarioResult, step: StepResult) {
    let step = Arc::new(step);
    events.send(Event::StepFinished { scenario: result.id.clone(), result: Arc::clone(&step) });
    result.steps.push(step);
}

fn conclude(result: &mut ScenarioResult, began: Instant) {
    for step in &mut result.steps {
        let verdict = worst(step.cells.iter().map(|cell| cell.verdict));
        // Whoever was told of the step shares it, unless something has changed.
        if step.verdict != verdict {
            Arc::make_mut(step).verdict = verdict;
        }
    }
    // A step without cells (it only prepares the next one) says nothing.
    let steps = result.steps.iter().filter(|step| !step.cells.is_empty());
    result.verdict = worst(steps.map(|step| step.verdict).chain(result.reason.as_ref().map(|_| Verdict::Inconclusive)));
    result.took_ms = millis(began);
}

/// Ends a scenario whose lab failed at a step: this step and those after it are inconclusive.
fn broken(
    company: &Company<'_>,
    oracles: &[StepOracle],
    mut result: ScenarioResult,
    index: usize,
    began: Instant,
    error: LabError,
) -> Result<ScenarioResult, LabError> {
    if matches!(error, LabError::RealMetadata { .. } | LabError::Cancelled) {
        return Err(error);
    }
    let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
    let reason = format!("{error}{hint}");
    for oracle in oracles.iter().skip(index) {
        let cells: Vec<CellResult> = oracle
            .cells
            .iter()
            .map(|oracle| unprobed(&oracle.cell, (Verdict::Inconclusive, Some(reason.clone())), oracle.decided_by()))
            .collect();
        tell(company.events, &mut result, unplayed_step(&oracle.name, Verdict::Inconclusive, cells));
    }
    if index == oracles.len() {
        // Nobody knows whether the denies were the policies' work.
        for cell in cells_mut(&mut result.steps).filter(|cell| is_passed_deny(cell)) {
            cell.verdict = Verdict::Inconclusive;
            cell.reason = Some(format!("the baseline could not be checked again: {reason}"));
        }
    }
    result.reason = Some(reason);
    conclude(&mut result, began);
    Ok(result)
}

/// Takes back the denies that rest on a part of the baseline that did not come back.
fn taint(steps: &mut [Arc<StepResult>], restored: &StepResult) {
    for lost in restored.cells.iter().filter(|cell| matches!(cell.verdict, Verdict::Fail | Verdict::Inconclusive)) {
        for cell in cells_mut(steps).filter(|cell| is_passed_deny(cell)) {
            let same_path = cell.from == lost.from && cell.to == lost.to;
            let own_witness = cell.witness.as_ref().is_some_and(|witness| witness.kind == WitnessKind::Itself);
            if same_path || (own_witness && cell.to == lost.to) {
                cell.verdict = Verdict::Inconclusive;
                cell.reason = Some(format!(
                    "once everything was taken back, {} was still not as in the baseline: the deny may have had another cause",
                    lost.id
                ));
            }
        }
    }
}

fn is_passed_deny(cell: &CellResult) -> bool {
    cell.verdict == Verdict::Pass && cell.expectation == Expectation::Blocked
}

/// The record of a scenario that was not played, with all its cells.
#[must_use]
pub(super) fn unplayed(loaded: &LoadedScenario, verdict: Verdict, reason: &str) -> ScenarioResult {
    let oracles = plan::judge(loaded, &plan::world(&loaded.scenario.lab)).unwrap_or_default();
    let steps = oracles.iter().map(|step| {
        let cells = step
            .cells
            .iter()
            .map(|oracle| unprobed(&oracle.cell, (verdict, Some(reason.to_owned())), oracle.decided_by()));
        unplayed_step(&step.name, verdict, cells.collect())
    });
    ScenarioResult {
        reason: Some(reason.to_owned()),
        two_oracles: oracles.iter().all(|step| step.two_oracles),
        steps: steps.map(Arc::new).collect(),
        ..empty(loaded, verdict)
    }
}

fn unplayed_step(name: &str, verdict: Verdict, cells: Vec<CellResult>) -> StepResult {
    StepResult { name: name.to_owned(), actions: Vec::new(), settled_ms: None, rounds: 0, shares: None, verdict, cells }
}

fn empty(loaded: &LoadedScenario, verdict: Verdict) -> ScenarioResult {
    ScenarioResult {
        id: loaded.scenario.id.clone(),
        title: loaded.scenario.title.clone(),
        path: loaded.path.display().to_string(),
        verdict,
        reason: None,
        two_oracles: true,
        namespaces: BTreeMap::new(),
        took_ms: 0,
        ready_ms: 0,
        dns_wait_ms: None,
        steps: Vec::new(),
    }
}

/// Literal names of namespaces, where they differ from the logical ones.
fn renamed(world: &World) -> BTreeMap<String, String> {
    let names = world.namespaces.iter().map(|(logical, namespace)| (logical.clone(), namespace.literal.clone()));
    names.filter(|(logical, literal)| logical != literal).collect()
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
