//! The JUnit report: a suite a scenario, a case a cell. A wrong verdict is a `failure`, what could not be judged an
//! `error`: tools count and colour the two apart.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};

use super::words;
use crate::engine::{self, CellResult, RunResult, ScenarioResult, StepResult, Verdict};

/// The report.
#[must_use]
#[expect(clippy::missing_panics_doc, reason = "it cannot fail, as the message says")]
pub fn render(result: &RunResult) -> Vec<u8> {
    let class = class(result);
    let mut report = Report::new("policyprobe");
    // A clock that cannot be read leaves the attribute out: no report is lost for its date.
    report.timestamp = result.started.parse().ok();
    report.set_time(Duration::from_millis(result.lab.total_ms));
    report.add_test_suite(canary(result, &class));
    report.add_test_suites(unfinished(result, &class));
    for scenario in &result.scenarios {
        report.add_test_suite(suite(result, scenario, &class));
    }
    report.to_string().expect("a report in memory is always writable").into_bytes()
}

/// `backend::cni`, by which tools group the cases.
fn class(result: &RunResult) -> String {
    let cni = result.facts.get("cni").map_or(result.backend.as_str(), String::as_str);
    format!("{}::{}", result.backend, cni.split_whitespace().next().unwrap_or("unknown"))
}

/// The canary is a case of its own: a run that ended with it would else be an empty report.
fn canary(result: &RunResult, class: &str) -> TestSuite {
    let mut suite = TestSuite::new("canary");
    suite.timestamp = result.started.parse().ok();
    suite.add_properties(result.facts.iter().map(|(key, value)| Property::new(key.as_str(), value.as_str())));
    let status = status(result.canary.verdict, &result.canary.detail);
    let mut case = TestCase::new("policies are enforced", status);
    case.set_classname(class).set_time(Duration::from_millis(result.canary.took_ms));
    suite.add_test_case(case);
    suite
}

/// A run that did not come to its end has an error, whatever its finished scenarios say.
fn unfinished(result: &RunResult, class: &str) -> Option<TestSuite> {
    let played = format!("{} of {} scenarios were played", result.scenarios.len(), result.selected);
    let why = match &result.error {
        Some(failure) => failure.message.clone(),
        None if result.exit_code == engine::INTERRUPTED => format!("interrupted: {played}"),
        None => return None,
    };
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
    status.set_message(why);
    let mut case = TestCase::new("the run came to its end", status);
    case.set_classname(class);
    let mut suite = TestSuite::new("run");
    suite.timestamp = result.started.parse().ok();
    suite.add_test_case(case);
    Some(suite)
}

fn suite(result: &RunResult, scenario: &ScenarioResult, class: &str) -> TestSuite {
    let mut suite = TestSuite::new(scenario.id.as_str());
    suite.timestamp = result.started.parse().ok();
    suite.set_time(Duration::from_millis(scenario.took_ms));
    suite.add_property(Property::new("title", scenario.title.as_str()));
    suite.add_property(Property::new("file", scenario.path.as_str()));
    suite.add_property(Property::new("oracles", if scenario.two_oracles { "2" } else { "1" }));
    let cells = scenario.steps.iter().flat_map(|step| step.cells.iter().map(move |cell| (step, cell)));
    suite.add_test_cases(cells.map(|(step, cell)| case(step, cell, class)));
    // What went wrong with a scenario as a whole has no cell to hang on.
    if let Some(reason) = &scenario.reason {
        let mut case = TestCase::new("scenario", status(scenario.verdict, reason));
        case.set_classname(class);
        suite.add_test_case(case);
    }
    suite
}

fn case(step: &StepResult, cell: &CellResult, class: &str) -> TestCase {
    let observed = words::observed(cell);
    let message = match &cell.reason {
        Some(reason) => format!("{observed}: {reason}"),
        None => observed,
    };
    let mut status = status(cell.verdict, &message);
    if cell.verdict != Verdict::Pass {
        status.set_description(describe(cell));
    }
    let mut case = TestCase::new(format!("{}: {}", step.name, cell.id), status);
    case.set_classname(class);
    if let Some(first) = &cell.first_packets {
        let found = first.words().unwrap_or_else(|| format!("in none of {} attempts", first.attempts));
        case.set_system_out(format!("first packets: answered {found}"));
    }
    if let Some(settled) = step.settled_ms {
        case.set_time(Duration::from_millis(settled));
    }
    case
}

fn status(verdict: Verdict, message: &str) -> TestCaseStatus {
    let mut status = match verdict {
        Verdict::Pass | Verdict::Recorded => return TestCaseStatus::success(),
        Verdict::Skipped | Verdict::Xfail => TestCaseStatus::skipped(),
        Verdict::Fail | Verdict::Xpass => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Verdict::Inconclusive | Verdict::NotEnforcing => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    if !matches!(verdict, Verdict::Skipped | Verdict::Xfail) {
        status.set_type(words::verdict(verdict));
    }
    status.set_message(message);
    status
}

fn describe(cell: &CellResult) -> String {
    let expected = format!("expected {}", words::expectation(&cell.expectation));
    let rule = cell.decided_by.as_ref().map(|rule| format!("decided by {rule}"));
    let command = cell.command.as_ref().map(|command| format!("repeat with: {command}"));
    [Some(expected), rule, command].into_iter().flatten().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use crate::report::testing;

    #[test]
    fn failure_error_and_skip_are_told_apart() {
        let text = String::from_utf8(super::render(&testing::failing())).expect("XML is UTF-8");
        insta::assert_snapshot!(text);
    }
}
