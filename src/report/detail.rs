//! What there is to say about cells beyond the table: everything needed to understand and repeat one that is not as
//! expected, and how the denials of a step were proved.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{
    theme::{self, Theme, pad, paint, width},
    words,
};
use crate::{
    engine::{CellResult, Expectation, StepResult, Verdict, WitnessKind},
    probe::Outcome,
};

/// Whether a verdict calls for an explanation.
pub(crate) fn is_remarkable(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Fail | Verdict::Inconclusive | Verdict::NotEnforcing | Verdict::Xpass | Verdict::Xfail)
}

/// An indented paragraph about one cell.
pub(crate) fn cell(step: &str, cell: &CellResult, theme: Theme) -> String {
    let style = theme::style(cell.verdict);
    let mut out = format!(
        "   {} {}  {}\n",
        paint(style, theme.sign(cell.verdict)),
        paint(theme::HEAD, &arrow(&cell.id, theme)),
        paint(theme::FAINT, &format!("step `{step}`")),
    );
    let facts = [
        ("expected", Some(words::expectation(&cell.expectation))),
        ("observed", Some(observed(cell))),
        ("because", cell.reason.clone()),
        ("rule", cell.decided_by.as_deref().map(str::to_owned)),
        ("witness", Some(witness(cell))),
    ];
    for (name, text) in facts.into_iter().filter_map(|(name, text)| Some((name, text?))) {
        let lines = theme::wrap(&text, theme.width.min(120) - LABELLED);
        for (index, line) in lines.iter().enumerate() {
            let label = if index == 0 { name } else { "" };
            let _ = writeln!(out, "     {}{}{line}", paint(theme::FAINT, label), pad(width(label), LABELLED - 5));
        }
    }
    // The command is never wrapped: it is there to be copied.
    if let Some(command) = &cell.command {
        let _ = writeln!(out, "     {}{}{command}", paint(theme::FAINT, "repeat"), pad(6, LABELLED - 5));
    }
    out
}

/// Where the text behind the labels begins.
const LABELLED: usize = 15;

fn observed(cell: &CellResult) -> String {
    let mut text = words::observed(cell);
    if let Some(server) = cell.server.as_ref().filter(|_| cell.outcome != Some(Outcome::NameNotResolved)) {
        let _ = write!(text, ", answered by {server}");
    }
    if let Some(status) = cell.status.filter(|_| !matches!(cell.expectation, Expectation::Status { .. })) {
        let _ = write!(text, " with status {status}");
    }
    if let Some(address) = cell.address {
        let _ = write!(text, ", at {address}");
        if let Some(port) = cell.port {
            let _ = write!(text, " port {port}");
        }
    }
    if cell.attempts > 0 {
        let tries = words::count(cell.attempts as usize, "try");
        let _ = write!(text, "; {tries} of {}", words::duration(cell.window_ms));
    }
    if cell.outcomes.len() > 1 {
        let counts: Vec<_> = cell.outcomes.iter().map(|(seen, n)| format!("{n} {}", words::outcome(*seen))).collect();
        let _ = write!(text, " ({})", counts.join(", "));
    }
    text
}

fn witness(cell: &CellResult) -> String {
    match &cell.witness {
        Some(witness) => format!("{} was answered meanwhile", words::witness(witness.kind, &witness.from)),
        None if cell.outcome == Some(Outcome::Reached) => "the answer itself".to_owned(),
        None => "none: nobody is known to have reached the server meanwhile".to_owned(),
    }
}

/// How the denials of a step were proved: a line a witness.
pub(crate) fn proofs(step: &StepResult, theme: Theme) -> String {
    let mut groups: BTreeMap<(WitnessKind, &str), Vec<&CellResult>> = BTreeMap::new();
    for cell in &step.cells {
        if let (Expectation::Blocked, Verdict::Pass, Some(witness)) = (&cell.expectation, cell.verdict, &cell.witness) {
            groups.entry((witness.kind, witness.from.as_str())).or_default().push(cell);
        }
    }
    let mut out = String::new();
    for ((kind, from), cells) in groups {
        let attempts: u32 = cells.iter().map(|cell| cell.attempts).sum();
        let window = cells.iter().map(|cell| cell.window_ms).max().unwrap_or(0);
        let text = format!(
            "{} proved: {} was answered in between ({} of up to {})",
            words::count(cells.len(), "denial"),
            words::witness(kind, from),
            words::count(attempts as usize, "try"),
            words::duration(window),
        );
        for line in theme::wrap(&text, theme.width.min(120) - 5) {
            let _ = writeln!(out, "     {}", paint(theme::FAINT, &line));
        }
    }
    out
}

/// An id with an arrow that the output can show.
pub(crate) fn arrow(id: &str, theme: Theme) -> String {
    id.replace(" -> ", theme.either(" → ", " -> "))
}
