//! Every shipped scenario as a `cargo test`: `embedded::ID` in network namespaces, `kind::ID` on a kind cluster. And, as
//! `kind::node-watch-…`, what no scenario can say: `node watch` against a real API server, also in a pod.
//!
//! The `kind` tests are always listed. They run with `POLICYPROBE_BACKEND=kind` and are ignored, with the reason,
//! without it. `POLICYPROBE_REQUIRE=embedded,kind` turns what would be ignored into failures. Listing makes nothing.

mod backend;
mod node_watch;
mod speed;

use std::{fmt::Write as _, process::ExitCode, sync::Arc};

use backend::Backend;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use policyprobe::{
    engine::{CellResult, ScenarioResult, StepResult, Verdict},
    scenario,
};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // A test only waits for its scenario; one backend comes after the other, because windows suffer on a crowded machine.
    arguments.test_threads.get_or_insert(1);
    let backends = [backend::embedded(&arguments), backend::kind(&arguments)];
    let nodes = Arc::default();
    let trials = backends.iter().flat_map(trials).chain(node_watch::trials(&nodes)).chain(speed::trials()).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    nodes.remove();
    conclusion.exit_code()
}

/// One trial a scenario.
fn trials(backend: &Arc<dyn Backend>) -> Vec<Trial> {
    let trial = |scenario: &scenario::LoadedScenario| {
        let (backend, scenario) = (Arc::clone(backend), scenario.clone());
        let name = backend::test_name(backend.name(), &scenario);
        let left_out = backend::left_out(backend.name(), &scenario);
        Trial::ignorable_test(name, move || match left_out.or_else(|| backend.unavailable()) {
            Some(reason) if reason == backend::LEFT_OUT => Ok(Completion::ignored_with(reason)),
            Some(reason) if backend::required(backend.name()) => Err(format!("required, and {reason}").into()),
            Some(reason) => Ok(Completion::ignored_with(reason)),
            None => backend.run(&scenario).and_then(|result| conclude(&result)),
        })
    };
    scenario::shipped().iter().map(trial).collect()
}

/// A scenario of which nothing was run is ignored; anything but passes and skips fails.
fn conclude(result: &ScenarioResult) -> Result<Completion, Failed> {
    if is_wrong(result.verdict) {
        return Err(describe(result).into());
    }
    if cells(result).all(|(_, cell)| cell.verdict == Verdict::Skipped) {
        return Ok(Completion::ignored_with(
            result.reason.clone().unwrap_or_else(|| "every cell was skipped".to_owned()),
        ));
    }
    Ok(Completion::Completed)
}

/// What is wrong with a result, and how to see it by hand.
fn describe(result: &ScenarioResult) -> String {
    let mut text = format!("{}: {:?}", result.id, result.verdict);
    text.extend(result.reason.iter().map(|reason| format!("\n  {reason}")));
    for (step, cell) in cells(result).filter(|(_, cell)| is_wrong(cell.verdict)) {
        let reason = cell.reason.as_deref().unwrap_or_default();
        let command = cell.command.as_deref().unwrap_or_default();
        let _ = write!(text, "\n  {}: {}: {:?}: {reason}\n    {command}", step.name, cell.id, cell.verdict);
    }
    text
}

fn cells(result: &ScenarioResult) -> impl Iterator<Item = (&StepResult, &CellResult)> {
    result.steps.iter().flat_map(|step| step.cells.iter().map(move |cell| (&**step, cell)))
}

fn is_wrong(verdict: Verdict) -> bool {
    !matches!(verdict, Verdict::Pass | Verdict::Skipped | Verdict::Recorded | Verdict::Xfail)
}
