//! A whole run: build the lab, canary, scenarios, tear down.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    panic::AssertUnwindSafe,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures::FutureExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Canary, Event, Events, LabTimes, Latencies, RunFailure, RunResult, Summary, Verdict, canary,
    conclude::{Ending, exit_code},
    lanes::Finished,
    plan::{self, StepOracle},
    play::Play,
    sessions::ProbeWith,
};
use crate::{
    lab::{LabBuilder, LabError},
    parallel,
    profile::{self, Known},
    scenario::{Diagnostic, LabSpec, LoadedScenario},
};

/// The version of the record's format.
const SCHEMA_VERSION: u32 = 1;

/// How long a broken lab may take to say what it knows.
const DIAGNOSIS: Duration = Duration::from_secs(30);

/// Which of a CNI's deviations are known.
#[derive(Clone, Debug, Default)]
pub enum Profiles {
    /// Those of the shipped profile of the lab's CNI, where there is one.
    #[default]
    Detect,
    /// None.
    Nothing,
    /// Those of a profile.
    Use(Known),
}

/// How a run is made.
#[expect(clippy::struct_excessive_bools, reason = "independent switches of the command line")]
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Run the scenarios although the canary found that no policy is enforced.
    pub continue_unenforced: bool,
    /// Whole seconds instead of calibrated windows.
    pub strict_timeouts: bool,
    /// What probes are made with.
    pub probe: ProbeWith,
    /// Which deviations are known.
    pub profiles: Profiles,
    /// Stop at the first failed scenario.
    pub fail_fast: bool,
    /// How many scenarios are played side by side; at least one.
    pub jobs: u32,
    /// How long a policy may take to have its effect, where less than the lab's own limit is known to be enough.
    pub converge_limit: Option<Duration>,
    /// Ask the document's questions once more after each step and send the answers as events (`lab`).
    pub show_answers: bool,
}

/// Runs the scenarios in a new lab and tears it down, also when cancelled.
///
/// Whatever goes wrong is in the result: `error` says why there are no verdicts, or not all, `exit_code` is 2 where a scenario
/// contradicts the simulator, 5 where there is no lab, 130 where `cancel` ended the run.
pub async fn run(
    builder: Box<dyn LabBuilder>,
    scenarios: &[LoadedScenario],
    options: &Options,
    events: &Events,
    cancel: &CancellationToken,
) -> RunResult {
    let began = Instant::now();
    let mut result = blank(builder.backend());
    result.selected = scenarios.len();
    events.send(Event::RunStarted { run: result.run.clone(), backend: builder.backend(), scenarios: scenarios.len() });
    let ending = match check(scenarios) {
        Err(failure) => Ending::BadScenario(failure),
        Ok(cells) => {
            let options = Options { probe: options.probe.in_run_of(cells), ..options.clone() };
            in_lab(builder, scenarios, &options, events, cancel, began, &mut result).await
        }
    };
    result.summary = Summary::of(&result.scenarios);
    result.latency = Latencies::of(&result.scenarios);
    result.exit_code = exit_code(&ending, &result.canary, &result.scenarios);
    result.error = match ending {
        Ending::BadScenario(failure) | Ending::NoLab(failure) => Some(failure),
        Ending::Complete | Ending::Interrupted => None,
    };
    result.lab.total_ms = millis(began);
    events.send(Event::RunFinished(Box::new(result.clone())));
    result
}

/// Asks the simulator about every scenario, before any lab is touched; how many cells there are.
fn check(scenarios: &[LoadedScenario]) -> Result<usize, RunFailure> {
    let (mut cells, mut faults) = (0, Vec::new());
    let of_steps = |steps: Vec<StepOracle>| steps.iter().map(|step| step.cells.len()).sum::<usize>();
    for judged in parallel::each(scenarios, |loaded| contradictions(loaded).map(of_steps)) {
        match judged {
            Ok(count) => cells += count,
            Err(found) => faults.extend(found),
        }
    }
    let Some(first) = faults.first() else { return Ok(cells) };
    let hint = first.hint.clone();
    let line = |fault: &Diagnostic| format!("{}: {}", fault.location(), fault.message);
    Err(RunFailure { message: faults.iter().map(line).collect::<Vec<_>>().join("\n"), hint })
}

/// What the simulator says of each step's cells, with no lab at hand; where a scenario cannot be planned or contradicts the
/// simulator, its faults.
pub fn contradictions(loaded: &LoadedScenario) -> Result<Vec<StepOracle>, Vec<Diagnostic>> {
    plan::agree(loaded, &plan::world(&loaded.scenario.lab)).map_err(|error| error.diagnostics(loaded))
}

/// Everything that needs the lab, its making and its end included.
async fn in_lab(
    builder: Box<dyn LabBuilder>,
    scenarios: &[LoadedScenario],
    options: &Options,
    events: &Events,
    cancel: &CancellationToken,
    began: Instant,
    result: &mut RunResult,
) -> Ending {
    events.phase("building the lab");
    let run = result.run.clone();
    let first: Vec<LabSpec> =
        scenarios.first().map(|loaded| loaded.scenario.lab.clone()).into_iter().chain(canary::lab()).collect();
    // A builder clears up after itself when it is cancelled, so it is awaited and not dropped.
    let built = AssertUnwindSafe(events.timed("lab", builder.build(&run, &first, events, cancel))).catch_unwind().await;
    let lab = match built.unwrap_or_else(|panic| Err(panicked(&*panic))) {
        Ok(lab) => lab,
        Err(error) => return ending(Err(error)),
    };
    result.lab.ready_ms = millis(began);
    result.facts.clone_from(&lab.capabilities().facts);
    let known = match &options.profiles {
        Profiles::Detect => result.facts.get("cni").and_then(|cni| profile::detect(cni)),
        Profiles::Nothing => None,
        Profiles::Use(known) => Some(known.clone()),
    };
    result.facts.extend(known.as_ref().map(|known| ("profile".to_owned(), known.describe())));
    events.send(Event::LabReady { facts: result.facts.clone(), ready_ms: result.lab.ready_ms });

    let (finished, mut canary) = (Finished::default(), None);
    let play = Play { lab: &*lab, scenarios, options, known: known.as_ref(), events, cancel, run: &result.run };
    let playing = AssertUnwindSafe(play.all(&finished, &mut canary)).catch_unwind();
    let outcome = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(LabError::Cancelled),
        outcome = playing => outcome.unwrap_or_else(|panic| Err(panicked(&*panic))),
    };
    if let Some(canary) = canary {
        (result.canary, result.scenarios) = (canary, finished.take(events));
    }
    // Where scenarios are left out, nobody knows what they would have shown.
    let whole = outcome.is_ok() && result.scenarios.len() == result.selected && !options.fail_fast;
    if let Some(known) = known.as_ref().filter(|_| whole) {
        for id in known.stale(&result.scenarios) {
            let profile = known.name();
            events.note(format!("the deviation `{id}` of the profile `{profile}` did not show: it is stale, or fixed"));
        }
    }
    let unclear = matches!(outcome, Err(LabError::Broken { .. })) || result.canary.verdict == Verdict::Inconclusive;
    if unclear && !cancel.is_cancelled() {
        // What broke the lab may still be broken.
        let diagnosing = tokio::time::timeout(DIAGNOSIS, lab.diagnose());
        let diagnosis = cancel.run_until_cancelled(diagnosing).await.and_then(Result::ok).unwrap_or_default();
        if !diagnosis.trim().is_empty() {
            events.note(diagnosis);
        }
    }
    events.phase("tearing the lab down");
    match AssertUnwindSafe(events.timed("teardown", lab.teardown())).catch_unwind().await {
        Ok(problems) => problems.iter().for_each(|problem| events.note(format!("tearing down: {problem}"))),
        Err(panic) => events.note(format!("tearing down: {}", panicked(&*panic))),
    }
    ending(outcome)
}

fn ending(outcome: Result<(), LabError>) -> Ending {
    match outcome {
        Ok(()) => Ending::Complete,
        Err(LabError::Cancelled) => Ending::Interrupted,
        Err(error) => {
            let hint = error.hint().map(str::to_owned);
            Ending::NoLab(RunFailure { message: error.to_string(), hint })
        }
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> LabError {
    let words = panic.downcast_ref::<&str>().map(|words| (*words).to_owned());
    let words = words.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    LabError::with_hint(format!("a bug in policyprobe: {words}"), "please report it, with this message")
}

fn blank(backend: &str) -> RunResult {
    RunResult {
        schema_version: SCHEMA_VERSION,
        policyprobe: env!("CARGO_PKG_VERSION").to_owned(),
        run: run_id(),
        backend: backend.to_owned(),
        started: jiff::Timestamp::now().to_string(),
        facts: BTreeMap::new(),
        canary: Canary { verdict: Verdict::Skipped, detail: "it did not run".to_owned(), took_ms: 0 },
        summary: super::Summary::default(),
        latency: Latencies::default(),
        selected: 0,
        scenarios: Vec::new(),
        lab: LabTimes::default(),
        error: None,
        exit_code: super::OK,
    }
}

/// A short name for a run, of lower-case letters and digits: the time, so that runs sort, and what tells two runs of the
/// same second apart.
pub(crate) fn run_id() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let random = RandomState::new().hash_one(std::process::id());
    format!("{}{}", base36(seconds, 6), base36(random, 5))
}

/// The last digits of a number to the base of 36.
fn base36(mut number: u64, digits: usize) -> String {
    let mut text = vec![b'0'; digits];
    for digit in text.iter_mut().rev() {
        let value = u8::try_from(number % 36).unwrap_or_default();
        *digit = if value < 10 { b'0' + value } else { b'a' + value - 10 };
        number /= 36;
    }
    text.into_iter().map(char::from).collect()
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
