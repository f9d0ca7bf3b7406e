//! The backends as tests use them: whether they can be had here, and one scenario's result.

use std::{
    collections::BTreeMap,
    env,
    sync::{Arc, Condvar, Mutex, OnceLock},
    thread,
};

use libtest_mimic::{Arguments, Failed};
use policyprobe::{
    engine::{self, Event, Events, Options, ProbeWith, ScenarioResult, Verdict},
    lab::{LabBuilder, embedded::EmbeddedBuilder, kind},
    probe::Outcome,
    scenario::LoadedScenario,
};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// A backend under test.
pub(crate) trait Backend: Send + Sync {
    /// The first part of its tests' names.
    fn name(&self) -> &'static str;

    /// Why it cannot be had here.
    fn unavailable(&self) -> Option<String>;

    /// Runs a scenario, in a lab of its own or in a shared one.
    fn run(&self, scenario: &LoadedScenario) -> Result<Arc<ScenarioResult>, Failed>;
}

/// Whether `POLICYPROBE_REQUIRE` names a backend: it must be had.
pub(crate) fn required(name: &str) -> bool {
    env::var("POLICYPROBE_REQUIRE").is_ok_and(|names| names.split(',').any(|it| it.trim() == name))
}

/// Network namespaces: one lab for all tests, several scenarios side by side in it.
pub(crate) fn embedded(arguments: &Arguments) -> Arc<dyn Backend> {
    Arc::new(Embedded { works: OnceLock::new(), run: SharedRun::new("embedded", arguments, JOBS) })
}

/// A kind cluster, made by the first test that needs it, and gone when the last one has its result.
pub(crate) fn kind(arguments: &Arguments) -> Arc<dyn Backend> {
    Arc::new(Kind(SharedRun::new("kind", arguments, JOBS)))
}

/// Scenarios side by side, where `POLICYPROBE_JOBS` says nothing else: windows suffer on a crowded machine.
const JOBS: u32 = 2;

struct Embedded {
    works: OnceLock<Option<String>>,
    run: SharedRun,
}

/// Network namespaces, not yet made.
pub(crate) fn embedded_builder() -> EmbeddedBuilder {
    EmbeddedBuilder { binary: Some(env!("CARGO_BIN_EXE_policyprobe").into()), ..EmbeddedBuilder::default() }
}

impl Backend for Embedded {
    fn name(&self) -> &'static str {
        "embedded"
    }

    fn unavailable(&self) -> Option<String> {
        let attempt = || match runtime().map(|runtime| runtime.block_on(embedded_builder().start("pp-test"))) {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        self.works.get_or_init(attempt).clone()
    }

    fn run(&self, scenario: &LoadedScenario) -> Result<Arc<ScenarioResult>, Failed> {
        self.run.result(scenario, || Box::new(embedded_builder()))
    }
}

struct Kind(SharedRun);

impl Backend for Kind {
    fn name(&self) -> &'static str {
        "kind"
    }

    fn unavailable(&self) -> Option<String> {
        kind_unavailable()
    }

    fn run(&self, scenario: &LoadedScenario) -> Result<Arc<ScenarioResult>, Failed> {
        self.0.result(scenario, || Box::new(kind_builder()))
    }
}

/// A kind cluster, not yet made.
pub(crate) fn kind_builder() -> kind::KindBuilder {
    kind::KindBuilder {
        node_image: variable("POLICYPROBE_NODE_IMAGE"),
        cni: variable("POLICYPROBE_CNI").map_or(kind::Cni::Default, |file| kind::Cni::File(file.into())),
        ..kind::KindBuilder::default()
    }
}

/// Why no test makes a kind cluster.
pub(crate) fn kind_unavailable() -> Option<String> {
    let chosen = env::var("POLICYPROBE_BACKEND").is_ok_and(|backend| backend == "kind");
    (!chosen).then(|| "set POLICYPROBE_BACKEND=kind; needs Docker and kind".to_owned())
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// One run of all selected scenarios, begun by the first test; each test waits for its own scenario.
struct SharedRun {
    name: &'static str,
    arguments: Arguments,
    jobs: u32,
    progress: Arc<(Mutex<Progress>, Condvar)>,
}

#[derive(Default)]
struct Progress {
    begun: bool,
    results: BTreeMap<String, Arc<ScenarioResult>>,
    /// Why there are no more results, once the run is over.
    over: Option<String>,
}

impl SharedRun {
    fn new(name: &'static str, arguments: &Arguments, jobs: u32) -> Self {
        let jobs = variable("POLICYPROBE_JOBS").and_then(|jobs| jobs.parse().ok()).unwrap_or(jobs);
        Self { name, arguments: arguments.clone(), jobs, progress: Arc::default() }
    }

    fn result(
        &self,
        scenario: &LoadedScenario,
        builder: fn() -> Box<dyn LabBuilder>,
    ) -> Result<Arc<ScenarioResult>, Failed> {
        let (progress, changed) = &*self.progress;
        let mut progress = progress.lock().map_err(|_| "the run panicked")?;
        if !progress.begun {
            progress.begun = true;
            let selected = |it: &&LoadedScenario| self.is_played(it);
            let scenarios: Vec<_> = policyprobe::scenario::shipped().iter().filter(selected).cloned().collect();
            let (jobs, shared) = (self.jobs, Arc::clone(&self.progress));
            // What policies do in network namespaces is done when they are applied.
            let by_chance = if self.name == "kind" { is_stopped_at_most } else { says_nothing };
            thread::spawn(move || {
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    whole_run(builder, by_chance, &scenarios, jobs, &shared)
                }));
                let over = match outcome {
                    Ok(Ok(())) => "the run has no result for the scenario".to_owned(),
                    Ok(Err(error)) => error,
                    Err(_) => "the run panicked".to_owned(),
                };
                tell(&shared, |progress| progress.over = Some(over));
            });
        }
        loop {
            if let Some(result) = progress.results.remove(&scenario.scenario.id) {
                // The last test must not end the process before the lab is gone.
                while progress.results.is_empty() && progress.over.is_none() && self.is_last(scenario) {
                    progress = changed.wait(progress).map_err(|_| "the run panicked")?;
                }
                return Ok(result);
            }
            if let Some(over) = &progress.over {
                return Err(over.clone().into());
            }
            progress = changed.wait(progress).map_err(|_| "the run panicked")?;
        }
    }

    /// Whether a scenario is part of the run.
    fn is_played(&self, scenario: &LoadedScenario) -> bool {
        is_selected(&self.arguments, &test_name(self.name, scenario)) && left_out(self.name, scenario).is_none()
    }

    /// Whether no selected scenario comes after this one.
    fn is_last(&self, scenario: &LoadedScenario) -> bool {
        let selected = |it: &&LoadedScenario| self.is_played(it);
        let last = policyprobe::scenario::shipped().iter().rfind(selected);
        last.is_some_and(|last| last.scenario.id == scenario.scenario.id)
    }
}

fn tell(shared: &(Mutex<Progress>, Condvar), change: impl FnOnce(&mut Progress)) {
    let (progress, changed) = shared;
    if let Ok(mut progress) = progress.lock() {
        change(&mut progress);
    }
    changed.notify_all();
}

/// Why most of the conformance suite is not run.
pub(crate) const LEFT_OUT: &str = "POLICYPROBE_SUITE=all runs the whole conformance suite";
/// Of the conformance suite, and of what does the same as cyclonus, every so manieth case is run in network namespaces,
/// and none on kind.
const EVERY: usize = 20;

/// Whether a case is one of those of the conformance suite that are only run on demand: the whole of it takes minutes.
pub(crate) fn left_out(backend: &str, scenario: &LoadedScenario) -> Option<String> {
    let suite = || policyprobe::scenario::shipped().iter().filter(|other| is_of_suite(other));
    let runs =
        || backend == "embedded" && suite().step_by(EVERY).any(|other| other.scenario.id == scenario.scenario.id);
    (!is_whole_suite() && is_of_suite(scenario) && !runs()).then(|| LEFT_OUT.to_owned())
}

fn is_whole_suite() -> bool {
    env::var("POLICYPROBE_SUITE").is_ok_and(|suite| suite == "all")
}

fn is_of_suite(scenario: &LoadedScenario) -> bool {
    matches!(policyprobe::scenario::packs(scenario).first(), Some(&("conformance" | "cyclonus")))
}

/// The name of a scenario's test.
pub(crate) fn test_name(backend: &str, scenario: &LoadedScenario) -> String {
    format!("{backend}::{}", scenario.scenario.id)
}

/// Whether libtest-mimic will run a test of this name: its own rule, which it does not export.
fn is_selected(arguments: &Arguments, name: &str) -> bool {
    let matches = |pattern: &String| if arguments.exact { name == pattern } else { name.contains(pattern.as_str()) };
    arguments.filter.as_ref().is_none_or(matches) && !arguments.skip.iter().any(matches)
}

/// All scenarios, and those that may have suffered by chance once more, one after the other in a new lab. Whatever fails
/// twice has failed.
fn whole_run(
    builder: fn() -> Box<dyn LabBuilder>,
    by_chance: fn(&ScenarioResult) -> bool,
    scenarios: &[LoadedScenario],
    jobs: u32,
    shared: &Arc<(Mutex<Progress>, Condvar)>,
) -> Result<(), String> {
    let unclear = one_run(builder(), scenarios, jobs, shared, by_chance)?;
    let again: Vec<_> = scenarios.iter().filter(|it| unclear.contains_key(&it.scenario.id)).cloned().collect();
    if again.is_empty() {
        return Ok(());
    }
    for result in unclear.values() {
        eprintln!("played once more in a new lab:\n{}", super::describe(result));
    }
    one_run(builder(), &again, 1, shared, |_| false).map(drop)
}

/// Whether a result says nothing: a crowded machine can do that.
fn says_nothing(result: &ScenarioResult) -> bool {
    result.verdict == Verdict::Inconclusive
}

/// Whether nothing in a result is wrong but that something did not get through: a CNI that is slow to follow can do that.
/// A deny that was open is never by chance.
fn is_stopped_at_most(result: &ScenarioResult) -> bool {
    let mut wrong = result.steps.iter().flat_map(|step| &step.cells).filter(|cell| super::is_wrong(cell.verdict));
    let stopped = |outcome: Option<Outcome>| outcome.is_some_and(Outcome::is_stopped);
    matches!(result.verdict, Verdict::Inconclusive | Verdict::Fail)
        && wrong.all(|cell| match cell.verdict {
            Verdict::Inconclusive => true,
            Verdict::Fail => cell.expected == "allow" && stopped(cell.outcome),
            _ => false,
        })
}

/// One run from the making of its lab to its end. A lab that cannot be made is an error here. Results that are held back
/// are told nobody, but returned.
fn one_run(
    builder: Box<dyn LabBuilder>,
    scenarios: &[LoadedScenario],
    jobs: u32,
    shared: &Arc<(Mutex<Progress>, Condvar)>,
    held_back: fn(&ScenarioResult) -> bool,
) -> Result<BTreeMap<String, Arc<ScenarioResult>>, String> {
    let (events, mut reader) = Events::channel();
    let shared = Arc::clone(shared);
    let reading = thread::spawn(move || {
        let mut unclear = BTreeMap::new();
        while let Some(event) = reader.blocking_recv() {
            match event {
                Event::ScenarioFinished(result) if held_back(&result) => {
                    unclear.insert(result.id.clone(), result);
                }
                Event::ScenarioFinished(result) => {
                    tell(&shared, |progress| drop(progress.results.insert(result.id.clone(), result)));
                }
                _ => {}
            }
        }
        unclear
    });
    let runtime = runtime().map_err(|error| error.to_string())?;
    // By the same means in both runs.
    let probe = if is_whole_suite() { ProbeWith::Agent } else { ProbeWith::Auto };
    let options = Options { jobs, probe, ..Options::default() };
    let result = runtime.block_on(engine::run(builder, scenarios, &options, &events, &CancellationToken::new()));
    drop(events);
    let unclear = reading.join().map_err(|_| "the reader of events panicked")?;
    match &result.error {
        Some(error) => Err(format!(
            "{}{}",
            error.message,
            error.hint.as_deref().map_or(String::new(), |h| format!("\n  hint: {h}"))
        )),
        None => Ok(unclear),
    }
}

pub(crate) fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}
