//! The words of reports: outcomes, expectations, counts, durations. One place, so that all reports say the same.

use crate::{
    engine::{CellResult, Expectation, FirstPackets, Verdict, WitnessKind},
    probe::Outcome,
};

/// An outcome in a word or two.
pub(crate) fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Reached => "reached",
        Outcome::WrongServer => "wrong server",
        Outcome::NoAnswer => "no answer",
        Outcome::TimedOut => "timed out",
        Outcome::Refused => "refused",
        Outcome::Unreachable => "unreachable",
        Outcome::NameNotResolved => "name not resolved",
        Outcome::ProbeLost => "probe lost",
    }
}

/// A verdict as people say it.
pub(crate) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "as expected",
        Verdict::Skipped => "skipped",
        Verdict::Recorded => "recorded",
        Verdict::Xfail => "known failure",
        Verdict::Xpass => "unexpected pass",
        Verdict::Inconclusive => "inconclusive",
        Verdict::Fail => "failed",
        Verdict::NotEnforcing => "not enforcing",
    }
}

/// What a cell expects, as it goes behind `expected`.
pub(crate) fn expectation(expectation: &Expectation) -> String {
    match expectation {
        Expectation::Reachable => "to be allowed".to_owned(),
        Expectation::Blocked => "to be denied".to_owned(),
        Expectation::Status { code } => format!("status {code}"),
        Expectation::Rejected { message } => format!("a refusal that says `{message}`"),
        Expectation::Noticed { shows } => {
            let fields: Vec<&str> = shows.keys().map(String::as_str).collect();
            format!("a report of {}, and of its taking back", fields.join(", "))
        }
        Expectation::Silent => "a connection without an answer".to_owned(),
        Expectation::Refused => "a refusal: nothing listens there".to_owned(),
        Expectation::Recorded => "anything".to_owned(),
    }
}

/// What was observed of a cell, in a few words.
pub(crate) fn observed(cell: &CellResult) -> String {
    if let Some(text) = cell.first_packets.as_ref().and_then(|first| first_packets(first, &cell.expectation)) {
        return text;
    }
    match (cell.outcome, cell.status, &cell.expectation) {
        (None, _, _) if cell.verdict == Verdict::Skipped => "skipped".to_owned(),
        (None, _, Expectation::Rejected { .. }) if cell.verdict == Verdict::Pass => "rejected".to_owned(),
        (None, _, Expectation::Rejected { .. }) if cell.verdict == Verdict::Fail => "accepted".to_owned(),
        (None, _, Expectation::Noticed { .. }) if cell.verdict == Verdict::Pass => "noticed".to_owned(),
        (None, _, Expectation::Noticed { .. }) if cell.verdict == Verdict::Fail => "not noticed".to_owned(),
        (None, _, _) => "not observed".to_owned(),
        (Some(Outcome::Reached), Some(status), Expectation::Status { .. }) => format!("reached, {status}"),
        // It proves as much, and may not be what the author asked for.
        (Some(Outcome::Reached), Some(status), _) if status >= 400 => format!("reached, {status}"),
        (Some(seen), _, _) => outcome(seen).to_owned(),
    }
}

/// When first packets were answered that must not have been, or after how long those were that must.
fn first_packets(first: &FirstPackets, expectation: &Expectation) -> Option<String> {
    Some(match expectation {
        Expectation::Blocked => format!("leaked until {}", duration(first.last_ms?)),
        _ => format!("reached after {}", duration(first.first_ms?)),
    })
}

/// Who the witness of a denial is.
pub(crate) fn witness(kind: WitnessKind, from: &str) -> String {
    match kind {
        WitnessKind::Source => from.to_owned(),
        WitnessKind::Node => format!("{from}, the server's own node,"),
        WitnessKind::Itself => "the server itself".to_owned(),
    }
}

/// A number and its noun.
pub(crate) fn count(number: usize, noun: &str) -> String {
    match (number, noun) {
        (1, _) => format!("1 {noun}"),
        (_, "try") => format!("{number} tries"),
        _ => format!("{number} {noun}s"),
    }
}

/// Milliseconds as people read them.
pub(crate) fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        _ => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration(0), "0 ms");
        assert_eq!(duration(999), "999 ms");
        assert_eq!(duration(1_050), "1.0 s");
        assert_eq!(duration(59_999), "59.9 s");
        assert_eq!(duration(125_000), "2 min 5 s");
    }

    #[test]
    fn counts() {
        assert_eq!(count(1, "cell"), "1 cell");
        assert_eq!(count(0, "cell"), "0 cells");
        assert_eq!(count(2, "try"), "2 tries");
    }
}
