//! The end of a run: the counts, and what else somebody wants to know of it at a glance.

use std::fmt::Write as _;

use super::{
    theme::{self, Theme, pad, paint, width},
    words,
};
use crate::engine::{self, Latency, Leaks, RunResult, Summary, Verdict};

/// One line: the counts, the time, and the exit code where it is not 0.
pub(crate) fn line(result: &RunResult, theme: Theme) -> String {
    let mut text = headline(result, theme);
    let _ = write!(text, "{}{}", theme.dot(), words::duration(result.lab.total_ms));
    if result.exit_code != engine::OK {
        let _ = write!(text, "{}exit code {}", theme.dot(), result.exit_code);
    }
    text.push('\n');
    text
}

fn headline(result: &RunResult, theme: Theme) -> String {
    let counts: Vec<_> = counts(result.summary)
        .into_iter()
        .filter(|(_, number)| *number > 0)
        .map(|(verdict, number)| paint(theme::style(verdict), &format!("{number} {}", words::verdict(verdict))))
        .collect();
    let verdict = verdict(result);
    let counts = if counts.is_empty() { "nothing was judged".to_owned() } else { counts.join(", ") };
    let mut scenarios = words::count(result.scenarios.len(), "scenario");
    if result.scenarios.len() < result.selected {
        scenarios = format!("{} of {}", result.scenarios.len(), words::count(result.selected, "scenario"));
    }
    format!("{} {counts} in {scenarios}", paint(theme::style(verdict), theme.sign(verdict)))
}

/// The line, and the facts below it.
pub(crate) fn block(result: &RunResult, written: &[String], theme: Theme) -> String {
    let mut out = format!("{}\n{}\n", paint(theme::FAINT, &theme.rule()), headline(result, theme));
    let mut facts: Vec<(&str, String)> = Vec::new();
    if let Some(slowest) = slowest(result) {
        facts.push(("slowest", slowest));
    }
    for (name, latency) in [("denied", result.latency.enforced), ("opened", result.latency.opened)] {
        facts.extend(latency.map(|latency| (name, after(latency))));
    }
    facts.extend(result.latency.leaked.map(|leaks| ("leaked", leaked(leaks))));
    facts.extend(result.latency.connected.map(|latency| ("connected", after(latency))));
    // A run that ended before it has no canary to speak of.
    if result.canary.verdict != Verdict::Skipped || result.canary.took_ms > 0 {
        let canary = format!("{}: {}", words::verdict(result.canary.verdict), result.canary.detail);
        facts.push(("canary", format!("{canary} ({})", words::duration(result.canary.took_ms))));
    }
    let ready = match result.lab.ready_ms {
        0 if result.exit_code != engine::OK => "never ready".to_owned(),
        ready => format!("ready after {}", words::duration(ready)),
    };
    let lab = format!("{} {ready}", result.backend);
    facts.push(("lab", format!("{lab}, {} in all", words::duration(result.lab.total_ms))));
    if result.exit_code != engine::OK {
        facts.push(("exit code", format!("{}: {}", result.exit_code, meaning(result.exit_code))));
    }
    facts.extend(written.iter().map(|report| ("report", report.clone())));
    for (name, text) in facts {
        for (index, line) in theme::wrap(&text, theme.width.min(120) - LABELLED).iter().enumerate() {
            let label = if index == 0 { name } else { "" };
            let _ = writeln!(out, "  {}{}{line}", paint(theme::FAINT, label), pad(width(label), LABELLED - 2));
        }
    }
    out
}

/// Where the text behind the labels begins.
const LABELLED: usize = 13;

fn counts(summary: Summary) -> [(Verdict, u32); 8] {
    [
        (Verdict::Fail, summary.fail),
        (Verdict::NotEnforcing, summary.not_enforcing),
        (Verdict::Inconclusive, summary.inconclusive),
        (Verdict::Pass, summary.pass),
        (Verdict::Xfail, summary.xfail),
        (Verdict::Xpass, summary.xpass),
        (Verdict::Recorded, summary.recorded),
        (Verdict::Skipped, summary.skipped),
    ]
}

/// The sign before the line follows the exit code, so that the two can never disagree.
fn verdict(result: &RunResult) -> Verdict {
    match result.exit_code {
        engine::OK => Verdict::Pass,
        engine::INCONCLUSIVE | engine::INTERRUPTED => Verdict::Inconclusive,
        engine::NOT_ENFORCING => Verdict::NotEnforcing,
        _ => Verdict::Fail,
    }
}

/// What an exit code means, in a few words.
fn meaning(code: u8) -> &'static str {
    match code {
        engine::FAILED => "not as expected",
        engine::USAGE => "usage",
        engine::NOT_ENFORCING => "no policy is enforced here",
        engine::INCONCLUSIVE => "inconclusive, or nothing was run",
        engine::NO_LAB => "the lab could not be built, or broke",
        engine::INTERRUPTED => "interrupted",
        _ => "as expected",
    }
}

/// How soon after a step's actions cells were as the step wanted them.
fn after(latency: Latency) -> String {
    let Latency { cells, p50_ms, p95_ms, max_ms } = latency;
    let [median, most, all] = [p50_ms, p95_ms, max_ms].map(words::duration);
    format!("after {median} (median), {most} (95 %), {all} at most, over {}", words::count(cells, "cell"))
}

/// For how long new pods could send what is denied, or get it.
fn leaked(Leaks { cells, until }: Leaks) -> String {
    let of = format!("of {} of new pods", words::count(cells, "denial"));
    match until {
        None => format!("none {of}, from the start on"),
        Some(until) => format!("{} {of}, {}", until.cells, after(until).replacen("after", "until", 1)),
    }
}

/// The step that took longest to settle.
fn slowest(result: &RunResult) -> Option<String> {
    let steps = result.scenarios.iter().flat_map(|scenario| scenario.steps.iter().map(move |step| (scenario, step)));
    let (settled, scenario, step) = steps
        .filter_map(|(scenario, step)| Some((step.settled_ms?, scenario, step)))
        // Of equals the first, so that the line does not depend on anything but the times.
        .reduce(|best, next| if next.0 > best.0 { next } else { best })?;
    Some(format!("`{}` of {} settled after {}", step.name, scenario.id, words::duration(settled)))
}
