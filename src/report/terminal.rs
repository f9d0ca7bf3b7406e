//! Results for people: tables while the run is small or something is wrong, else a line a scenario.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, Write},
};

use super::{
    Reporter, detail, matrix, summary,
    theme::{self, Theme, cut, pad, paint, width},
    words,
};
use crate::engine::{Canary, Event, RunResult, ScenarioResult, StepResult, Verdict};

/// Up to so many scenarios every table is shown.
const ALL_TABLES: usize = 3;
/// So many scenarios that were not played have their reasons told by a quiet run that has played none.
const MOST_REASONS: usize = 20;

/// Writes results to a stream that takes colours (and may remove them).
pub struct Terminal<W> {
    out: W,
    theme: Theme,
    quiet: bool,
    all_tables: bool,
    /// Whether tables were written last: a line of its own needs air.
    crowded: bool,
}

impl<W: Write> Terminal<W> {
    /// A reporter to this stream. `quiet` leaves only what is not as expected, and the last line.
    pub fn new(out: W, theme: Theme, quiet: bool) -> Self {
        Self { out, theme, quiet, all_tables: true, crowded: false }
    }

    fn show(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    fn scenario(&mut self, scenario: &ScenarioResult) -> io::Result<()> {
        let remarkable = detail::is_remarkable(scenario.verdict);
        if self.quiet && !remarkable {
            return Ok(());
        }
        // Of a scenario that was not played there is only the reason to tell.
        let played = scenario.steps.iter().flat_map(|step| &step.cells).any(|cell| cell.outcome.is_some());
        let tables = if played { remarkable || self.all_tables } else { scenario.reason.is_none() && remarkable };
        let text = if tables {
            full(scenario, self.all_tables && !self.quiet, self.theme)
        } else {
            brief(scenario, self.theme)
        };
        let air = if self.crowded && !tables { "\n" } else { "" };
        self.crowded = tables;
        self.show(&format!("{air}{text}"))
    }
}

impl<W: Write + Send> Reporter for Terminal<W> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        let dot = self.theme.dot();
        match event {
            Event::RunStarted { run, backend, scenarios } => {
                self.all_tables = *scenarios <= ALL_TABLES;
                if self.quiet {
                    return Ok(());
                }
                let name = paint(theme::HEAD, &format!("policyprobe {}", env!("CARGO_PKG_VERSION")));
                let scenarios = words::count(*scenarios, "scenario");
                self.show(&format!("{name}{dot}backend {backend}{dot}{scenarios}{dot}run {run}\n"))
            }
            Event::LabReady { facts, ready_ms } if !self.quiet => self.show(&lab(facts, *ready_ms, self.theme)),
            Event::CanaryFinished(result) if !self.quiet || detail::is_remarkable(result.verdict) => {
                self.show(&canary(result, self.theme))
            }
            Event::ScenarioFinished(result) => self.scenario(result),
            _ => Ok(()),
        }
    }

    fn finish(&mut self, result: &RunResult, written: &[String]) -> io::Result<()> {
        let text = if self.quiet {
            let idle = result.scenarios.iter().all(|scenario| scenario.verdict == Verdict::Skipped);
            // Where nothing at all was played, why is not beside the point.
            let reasons: String =
                result.scenarios.iter().filter(|_| idle).take(MOST_REASONS).map(|it| brief(it, self.theme)).collect();
            let air = if self.crowded { "\n" } else { "" };
            format!("{reasons}{air}{}", summary::line(result, self.theme))
        } else {
            format!("\n{}", summary::block(result, written, self.theme))
        };
        self.show(&text)
    }
}

/// The lab and the facts about it.
pub(crate) fn lab(facts: &BTreeMap<String, String>, ready_ms: u64, theme: Theme) -> String {
    let mut parts = vec![format!("lab ready after {}", words::duration(ready_ms))];
    parts.extend(facts.iter().map(|(name, value)| format!("{name} {value}")));
    let lines = theme::wrap(&parts.join(theme.dot()), theme.width.min(120));
    lines.iter().fold(String::new(), |text, line| text + &paint(theme::FAINT, line) + "\n")
}

/// Whether policies are enforced at all.
pub(crate) fn canary(canary: &Canary, theme: Theme) -> String {
    let style = theme::style(canary.verdict);
    let sign = paint(style, theme.sign(canary.verdict));
    let heading = match canary.verdict {
        Verdict::Pass => "policies are enforced here",
        Verdict::NotEnforcing => "POLICIES ARE NOT ENFORCED HERE",
        Verdict::Skipped => "whether policies are enforced here was not tried",
        _ => "whether policies are enforced here is not known",
    };
    let mut text =
        format!("{sign} {}", paint(if canary.verdict == Verdict::Pass { theme::HEAD } else { style }, heading));
    let took = paint(theme::FAINT, &format!("({})", words::duration(canary.took_ms)));
    let _ = writeln!(text, ": {} {took}", canary.detail);
    if canary.verdict == Verdict::NotEnforcing {
        text.push_str("  no deny can pass in this lab; `--continue-unenforced` runs the scenarios all the same\n");
    }
    text
}

/// One line.
fn brief(scenario: &ScenarioResult, theme: Theme) -> String {
    let sign = theme.sign(scenario.verdict);
    let cells: usize = scenario.steps.iter().map(|step| step.cells.len()).sum();
    let figures = match &scenario.reason {
        Some(reason) => format!("{}: {reason}", words::verdict(scenario.verdict)),
        None => format!("{}{}{}", words::count(cells, "cell"), theme.dot(), words::duration(scenario.took_ms)),
    };
    let used = width(sign) + 1 + width(&scenario.id) + 2;
    let room = theme.width.min(120).saturating_sub(used + width(&figures) + 2);
    let title = if scenario.reason.is_none() && room >= 12 { cut(theme, &scenario.title, room) } else { String::new() };
    let style = theme::style(scenario.verdict);
    let (sign, id, faint) = (paint(style, sign), paint(theme::HEAD, &scenario.id), paint(theme::FAINT, &figures));
    if scenario.reason.is_some() {
        return format!("{sign} {id}  {faint}\n");
    }
    format!("{sign} {id}  {title}{}{faint}\n", pad(width(&title), room + 2))
}

/// The scenario with tables: of all its steps, or of those that are not as expected.
fn full(scenario: &ScenarioResult, all: bool, theme: Theme) -> String {
    let mut out = format!("\n{}", heading(scenario, theme));
    for (index, step) in scenario.steps.iter().enumerate() {
        if all || detail::is_remarkable(step.verdict) {
            out.push('\n');
            out.push_str(&step_heading(index + 1, step, theme));
            out.push_str(&body(step, theme));
        }
    }
    for step in &scenario.steps {
        for cell in step.cells.iter().filter(|cell| detail::is_remarkable(cell.verdict)) {
            out.push('\n');
            out.push_str(&detail::cell(&step.name, cell, theme));
        }
    }
    out
}

/// Who, what, where.
pub(crate) fn heading(scenario: &ScenarioResult, theme: Theme) -> String {
    let sign = paint(theme::style(scenario.verdict), theme.sign(scenario.verdict));
    let mut out = format!("{sign} {}\n", paint(theme::HEAD, &scenario.id));
    for line in theme::wrap(&scenario.title, theme.width.min(120) - 2) {
        let _ = writeln!(out, "  {line}");
    }
    let mut facts = vec![scenario.path.clone(), words::duration(scenario.took_ms)];
    facts.extend(scenario.dns_wait_ms.map(|ms| format!("of it {} waiting for DNS", words::duration(ms))));
    if !scenario.two_oracles {
        facts.push("one oracle: something was applied that the simulator does not model".to_owned());
    }
    facts.extend(scenario.namespaces.iter().map(|(logical, literal)| format!("namespace {logical} is {literal}")));
    for line in theme::wrap(&facts.join(theme.dot()), theme.width.min(120) - 2) {
        let _ = writeln!(out, "  {}", paint(theme::FAINT, &line));
    }
    if let Some(reason) = &scenario.reason {
        for line in theme::wrap(reason, theme.width.min(120) - 2) {
            let _ = writeln!(out, "  {}", paint(theme::style(scenario.verdict), &line));
        }
    }
    out
}

fn step_heading(number: usize, step: &StepResult, theme: Theme) -> String {
    let sign = paint(theme::style(step.verdict), theme.sign(step.verdict));
    let mut out = format!("  {sign} {}", paint(theme::HEAD, &format!("{number}. {}", step.name)));
    if let Some(ms) = step.settled_ms {
        let _ =
            write!(out, "{}", paint(theme::FAINT, &format!("{}settled after {}", theme.dot(), words::duration(ms))));
    } else if detail::is_remarkable(step.verdict) {
        let rounds = words::count(step.rounds as usize, "round");
        let _ = write!(out, "{}", paint(theme::WARN, &format!("{}never settled in {rounds}", theme.dot())));
    }
    out.push('\n');
    for action in &step.actions {
        let _ = writeln!(out, "     {}", paint(theme::FAINT, action));
    }
    out
}

/// The table of a step, and how its denials were proved.
pub(crate) fn body(step: &StepResult, theme: Theme) -> String {
    format!("{}{}", matrix::render(&step.cells, theme), detail::proofs(step, theme))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::report::testing;

    /// What a run leaves on a terminal.
    fn shown(result: &RunResult, theme: Theme, quiet: bool) -> String {
        let mut terminal = Terminal::new(Vec::new(), theme, quiet);
        for event in testing::events(result) {
            terminal.event(&event).expect("memory takes everything");
        }
        terminal.finish(result, &["json report.json".to_owned()]).expect("memory takes everything");
        anstream::adapter::strip_str(&String::from_utf8(terminal.out).expect("text")).to_string()
    }

    const WIDE: Theme = Theme { unicode: true, width: 110 };
    const NARROW: Theme = Theme { unicode: false, width: 80 };

    #[test]
    fn everything_as_expected() {
        insta::assert_snapshot!(shown(&testing::passing(), WIDE, false));
    }

    #[test]
    fn failures_explain_themselves() {
        insta::assert_snapshot!(shown(&testing::failing(), WIDE, false));
    }

    #[test]
    fn failures_in_80_columns_of_ascii() {
        let text = shown(&testing::failing(), NARROW, false);
        assert!(text.is_ascii());
        assert!(text.lines().all(|line| width(line) <= 80 || line.trim_start().starts_with("repeat")), "{text}");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_lab_that_enforces_nothing() {
        insta::assert_snapshot!(shown(&testing::not_enforcing(), WIDE, false));
    }

    #[test]
    fn many_scenarios_take_a_line_each() {
        insta::assert_snapshot!(shown(&testing::many(), WIDE, false));
    }

    #[test]
    fn quiet_shows_what_is_wrong() {
        insta::assert_snapshot!(shown(&testing::many(), WIDE, true));
    }

    #[test]
    fn quiet_says_why_nothing_was_played() {
        let mut result = testing::passing();
        for scenario in &mut result.scenarios {
            let scenario = Arc::make_mut(scenario);
            (scenario.verdict, scenario.reason) = (Verdict::Skipped, Some("needs ipv6".to_owned()));
        }
        let text = shown(&result, WIDE, true);
        assert_eq!(
            (text.lines().count(), text.matches("needs ipv6").count()),
            (1 + result.scenarios.len(), result.scenarios.len()),
            "{text}"
        );
    }

    #[test]
    fn quiet_is_one_line_when_nothing_is_wrong() {
        let text = shown(&testing::passing(), WIDE, true);
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}
