//! The backends as tests use them: whether they can be had here, and one scenario's result.

use std::{
    collections::BTreeMap,
    env,
    sync::{Arc, Mutex, OnceLock},
};

use libtest_mimic::{Arguments, Failed};
use policyprobe::{
    engine::{self, Events, Options, RunResult, ScenarioResult},
    lab::{LabBuilder, embedded::EmbeddedBuilder, kind},
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
    fn run(&self, scenario: &LoadedScenario) -> Result<ScenarioResult, Failed>;
}

/// Whether `POLICYPROBE_REQUIRE` names a backend: it must be had.
pub(crate) fn required(name: &str) -> bool {
    env::var("POLICYPROBE_REQUIRE").is_ok_and(|names| names.split(',').any(|it| it.trim() == name))
}

/// Network namespaces. Each test has a lab of its own, which takes some tens of milliseconds.
pub(crate) fn embedded() -> Arc<dyn Backend> {
    Arc::new(Embedded(OnceLock::new()))
}

struct Embedded(OnceLock<Option<String>>);

fn builder() -> EmbeddedBuilder {
    EmbeddedBuilder { binary: Some(env!("CARGO_BIN_EXE_policyprobe").into()), ..EmbeddedBuilder::default() }
}

impl Backend for Embedded {
    fn name(&self) -> &'static str {
        "embedded"
    }

    fn unavailable(&self) -> Option<String> {
        let attempt = || match runtime().map(|runtime| runtime.block_on(builder().start("pp-test"))) {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        self.0.get_or_init(attempt).clone()
    }

    fn run(&self, scenario: &LoadedScenario) -> Result<ScenarioResult, Failed> {
        let result = whole_run(Box::new(builder()), std::slice::from_ref(scenario))?;
        result.scenarios.into_iter().next().ok_or_else(|| "the run has no result for the scenario".into())
    }
}

/// A kind cluster, made by the first test that needs it. One run holds every selected scenario, so that the cluster is
/// gone when the last test has its result.
pub(crate) fn kind(arguments: &Arguments) -> Arc<dyn Backend> {
    Arc::new(Kind { arguments: arguments.clone(), results: Mutex::new(None) })
}

struct Kind {
    arguments: Arguments,
    results: Mutex<Option<Result<BTreeMap<String, ScenarioResult>, String>>>,
}

impl Kind {
    /// The results of all selected scenarios, from a run that the first caller makes while the others wait.
    fn results(&self) -> Result<BTreeMap<String, ScenarioResult>, String> {
        let mut results = self.results.lock().map_err(|_| "an earlier test panicked".to_owned())?;
        results
            .get_or_insert_with(|| {
                let selected = |it: &&LoadedScenario| is_selected(&self.arguments, &test_name("kind", it));
                let scenarios: Vec<_> = policyprobe::scenario::shipped().iter().filter(selected).cloned().collect();
                let variable = |name| env::var(name).ok().filter(|value: &String| !value.is_empty());
                let builder = kind::KindBuilder {
                    node_image: variable("POLICYPROBE_NODE_IMAGE"),
                    cni: variable("POLICYPROBE_CNI").map_or(kind::Cni::Default, |file| kind::Cni::File(file.into())),
                    ..kind::KindBuilder::default()
                };
                let result = whole_run(Box::new(builder), &scenarios)?;
                Ok(result.scenarios.into_iter().map(|scenario| (scenario.id.clone(), scenario)).collect())
            })
            .clone()
    }
}

impl Backend for Kind {
    fn name(&self) -> &'static str {
        "kind"
    }

    fn unavailable(&self) -> Option<String> {
        let chosen = env::var("POLICYPROBE_BACKEND").is_ok_and(|backend| backend == "kind");
        (!chosen).then(|| "set POLICYPROBE_BACKEND=kind; needs Docker and kind".to_owned())
    }

    fn run(&self, scenario: &LoadedScenario) -> Result<ScenarioResult, Failed> {
        let mut results = self.results()?;
        results.remove(&scenario.scenario.id).ok_or_else(|| "the run has no result for the scenario".into())
    }
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

/// One run from the making of its lab to its end. A lab that cannot be made is an error here.
fn whole_run(builder: Box<dyn LabBuilder>, scenarios: &[LoadedScenario]) -> Result<RunResult, String> {
    let (events, _) = Events::channel();
    let runtime = runtime().map_err(|error| error.to_string())?;
    let options = Options::default();
    let result = runtime.block_on(engine::run(builder, scenarios, &options, &events, &CancellationToken::new()));
    match &result.error {
        Some(error) => Err(format!(
            "{}{}",
            error.message,
            error.hint.as_deref().map_or(String::new(), |h| format!("\n  hint: {h}"))
        )),
        None => Ok(result),
    }
}

fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}
