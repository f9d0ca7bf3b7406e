//! One mutant: cases are played in a lab with its fault, until one fails.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::record::{CANARY, Trial};
use crate::{
    engine::{self, Event, Events, Options, RunResult, ScenarioResult, Verdict},
    lab::embedded::{EmbeddedBuilder, enforcer::Mutant},
    scenario::LoadedScenario,
};

/// How long a policy may take: the enforcer has done its work when applying a policy returns.
const SOON: Duration = Duration::from_secs(2);

/// Cases that are played in one lab.
pub(super) struct Batch {
    /// How long a policy may take; none where it is the lab's own limit.
    limit: Option<Duration>,
    /// How many cases are played side by side.
    lanes: u32,
    cases: Vec<LoadedScenario>,
}

impl Batch {
    /// Cases that are soon over.
    pub(super) fn soon(cases: Vec<LoadedScenario>, lanes: u32) -> Self {
        Self { limit: Some(SOON), lanes, cases }
    }

    /// Cases that get all the time that the lab gives, as on a machine that is too busy for less.
    pub(super) fn patient(cases: Vec<LoadedScenario>) -> Self {
        Self { limit: None, lanes: 1, cases }
    }
}

/// How a mutant is tried.
#[derive(Clone, Copy)]
pub(super) struct Manner<'a> {
    /// The lab, but for the mutant.
    pub(super) builder: &'a EmbeddedBuilder,
    /// Play every case, whatever has failed before.
    pub(super) all_kills: bool,
    /// Ends the campaign.
    pub(super) cancel: &'a CancellationToken,
}

/// Tries a mutant: the batches one after the other, each in a lab of its own, until a case fails.
pub(super) async fn attempt(manner: Manner<'_>, mutant: Mutant, batches: &[Batch]) -> Trial {
    let began = Instant::now();
    let mut trial = Trial::new(mutant);
    for batch in batches.iter().filter(|batch| !batch.cases.is_empty()) {
        if manner.cancel.is_cancelled() || trial.error.is_some() || !(trial.killed_by.is_empty() || manner.all_kills) {
            break;
        }
        let enough = manner.cancel.child_token();
        let result = play(manner, Some(mutant), batch, &enough, |event| {
            if note(&mut trial, event) && !manner.all_kills {
                enough.cancel();
            }
        });
        let result = result.await;
        trial.error = result.error;
    }
    trial.took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    trial
}

/// The ids of those cases that do not pass with the correct enforcer, the canary's among them.
pub(super) async fn unsound(manner: Manner<'_>, batch: &Batch) -> Result<Vec<String>, engine::RunFailure> {
    let result = play(manner, None, batch, manner.cancel, |_| {}).await;
    let wrong = |verdict| !matches!(verdict, Verdict::Pass | Verdict::Recorded | Verdict::Skipped);
    let canary = wrong(result.canary.verdict).then(|| CANARY.to_owned());
    let failed = result.scenarios.iter().filter(|case| wrong(case.verdict)).map(|case| case.id.clone());
    result.error.map_or_else(|| Ok(canary.into_iter().chain(failed).collect()), Err)
}

/// Plays cases in a lab, and tells each event as it comes.
async fn play(
    manner: Manner<'_>,
    mutant: Option<Mutant>,
    batch: &Batch,
    cancel: &CancellationToken,
    mut told: impl FnMut(&Event),
) -> RunResult {
    let (events, mut reader) = Events::channel();
    let options = Options {
        continue_unenforced: manner.all_kills,
        converge_limit: batch.limit,
        jobs: batch.lanes,
        ..Options::default()
    };
    let builder = Box::new(EmbeddedBuilder { mutant, ..manner.builder.clone() });
    let run = engine::run(builder, &batch.cases, &options, &events, cancel);
    tokio::pin!(run);
    let result = loop {
        tokio::select! {
            biased;
            Some(event) = reader.recv() => told(&event),
            result = &mut run => break result,
        }
    };
    while let Ok(event) = reader.try_recv() {
        told(&event);
    }
    result
}

/// Takes an event into the record. Returns whether it is a kill.
fn note(trial: &mut Trial, event: &Event) -> bool {
    match event {
        Event::CanaryFinished(canary) if matches!(canary.verdict, Verdict::Fail | Verdict::NotEnforcing) => {
            trial.killed_by.push(CANARY.to_owned());
            true
        }
        Event::ScenarioFinished(case) => {
            // It may have been played before.
            trial.inconclusive.retain(|id| *id != case.id);
            trial.reasons.remove(&case.id);
            match case.verdict {
                Verdict::Skipped => trial.skipped += 1,
                Verdict::Inconclusive => {
                    trial.inconclusive.push(case.id.clone());
                    trial.reasons.extend(reason(case).map(|reason| (case.id.clone(), reason)));
                }
                _ => {}
            }
            trial.played += usize::from(!matches!(case.verdict, Verdict::Skipped | Verdict::NotEnforcing));
            if case.verdict == Verdict::Fail {
                trial.killed_by.push(case.id.clone());
            }
            case.verdict == Verdict::Fail
        }
        _ => false,
    }
}

/// Of the first cell about which nothing could be said.
fn reason(case: &ScenarioResult) -> Option<String> {
    let mut cells = case.steps.iter().flat_map(|step| step.cells.iter().map(move |cell| (step, cell)));
    let (step, cell) = cells.find(|(_, cell)| cell.verdict == Verdict::Inconclusive)?;
    Some(format!("`{}`, {}: {}", step.name, cell.id, cell.reason.as_deref().unwrap_or_default()))
}
