//! Pure: from what was observed to a verdict, by one table, with a sentence for everything that is not a pass. What was
//! observed, and who was the witness, is decided elsewhere.
//!
//! | | expected reachable | expected blocked |
//! |---|---|---|
//! | reached, with any HTTP status | pass | fail |
//! | wrong server | fail | fail |
//! | timed out, refused, unreachable | fail if a witness was answered, else inconclusive | pass if a witness was answered and the server's log has no such nonce, else inconclusive |
//! | name not resolved | inconclusive, unless the case is about DNS | inconclusive, unless the case is about DNS |
//! | probe lost | inconclusive | inconclusive |
//!
//! Expected silent, a connection without an answer: that is a pass if a witness was answered and the server's log has such a
//! nonce, and an answer is a failure.
//!
//! Expected refused, because nothing listens: refused is a pass, whoever answers a failure, and silence is inconclusive.

use super::{Expectation, Verdict};
use std::collections::BTreeMap;

use crate::{node::diff::Change, probe::Outcome};

/// After so many relapses a deny is no deny, even when it holds at last.
pub(super) const FLAPS: u32 = 3;

/// What is known of one cell when its step is over.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each a column of the table")]
#[derive(Clone, Debug)]
pub(super) struct Evidence {
    /// The outcome; none where there was no probe.
    pub(super) outcome: Option<Outcome>,
    /// The HTTP status.
    pub(super) status: Option<u16>,
    /// Who answered instead, curl's own words, or whatever else tells more than the outcome.
    pub(super) detail: Option<String>,
    /// Whether a witness was answered around the attempts.
    pub(super) witness: WitnessEvidence,
    /// What the server's log says about the denied attempts.
    pub(super) log: LogEvidence,
    /// Whether the case is about DNS, so that an unresolved name is the way in which it is stopped.
    pub(super) about_dns: bool,
    /// Whether the cell worked before any policy.
    pub(super) baseline: BaselineEvidence,
    /// Whether the outcome held for the whole hold.
    pub(super) held: bool,
    /// How often the cell fell back to the other outcome after it had been as expected.
    pub(super) flaps: u32,
    /// `false` once the canary has found that no policy is enforced.
    pub(super) enforcing: bool,
    /// `false` for tiers that are recorded and never failed.
    pub(super) judged: bool,
}

/// Whether a witness was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WitnessEvidence {
    /// Before, during and after the attempts, without a gap longer than the window.
    Answered,
    /// It was asked and not answered: perhaps the server is down.
    Unanswered(String),
    /// It was answered, with gaps longer than the window.
    Gaps,
    /// Nobody could be one.
    Nobody,
}

/// What the server's log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LogEvidence {
    /// No attempt arrived.
    Clean,
    /// An attempt arrived.
    Arrived,
    /// There is no log to ask.
    None,
    /// The log could not be read.
    Unreadable(String),
}

/// Whether the cell worked before any policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BaselineEvidence {
    /// This step is the baseline.
    This,
    /// It was reached, or nobody claimed that it would be.
    Sound,
    /// It should have been reached and was not.
    Wrong,
}

/// A verdict and, where it is no pass, why.
pub(super) type Judgement = (Verdict, Option<String>);

/// The verdict of one cell.
#[must_use]
pub(super) fn judge(expectation: &Expectation, evidence: &Evidence) -> Judgement {
    let Some(outcome) = evidence.outcome else { return inconclusive("it was never probed") };
    if *expectation == Expectation::Recorded || !evidence.judged {
        return (Verdict::Recorded, Some(format!("not judged, only recorded: {}", words(outcome))));
    }
    let denied = *expectation == Expectation::Blocked;
    if denied && !evidence.enforcing {
        return (Verdict::NotEnforcing, Some("no policy is enforced here, so nothing proves a deny".to_owned()));
    }
    match outcome {
        Outcome::ProbeLost => inconclusive(detailed("the probe was lost, so nothing is known", evidence)),
        Outcome::WrongServer => fail(detailed("another server answered", evidence)),
        Outcome::NoAnswer if *expectation == Expectation::Silent => silent(evidence),
        Outcome::NoAnswer if *expectation != Expectation::Refused => {
            fail(detailed("the connection was made, and then nothing was answered", evidence))
        }
        Outcome::Reached if *expectation == Expectation::Silent => {
            fail("the connection should be made and nothing be answered, and there was an answer")
        }
        Outcome::Reached | Outcome::NoAnswer if *expectation == Expectation::Refused => {
            fail("nothing should listen there, and something does")
        }
        Outcome::Refused if *expectation == Expectation::Refused && evidence.held => (Verdict::Pass, None),
        Outcome::Refused if *expectation == Expectation::Refused => {
            inconclusive("it was refused, but not for a whole hold before the deadline")
        }
        stopped if *expectation == Expectation::Refused => inconclusive(detailed(
            &format!("whether something listens there is not known: {}", words(stopped)),
            evidence,
        )),
        Outcome::NameNotResolved if !evidence.about_dns => {
            inconclusive(detailed("the name was not resolved, so the destination was never tried", evidence))
        }
        Outcome::Reached if denied => {
            fail(if evidence.flaps >= FLAPS { flapping(evidence) } else { reached(evidence) })
        }
        Outcome::Reached => allowed(expectation, evidence),
        stopped if denied => blocked(stopped, evidence),
        stopped => unreached(stopped, evidence),
    }
}

fn allowed(expectation: &Expectation, evidence: &Evidence) -> Judgement {
    if let Expectation::Status { code } = expectation
        && evidence.status != Some(*code)
    {
        let got = evidence.status.map_or_else(|| "no HTTP status".to_owned(), |status| format!("HTTP status {status}"));
        return fail(format!("it was answered with {got} instead of {code}"));
    }
    match (evidence.held, evidence.flaps) {
        (true, _) => (Verdict::Pass, None),
        (false, 0) => inconclusive("it was reached, but not for a whole hold before the deadline"),
        (false, flaps) => fail(format!("it is not reached reliably: it was stopped again {}", times(flaps))),
    }
}

fn unreached(outcome: Outcome, evidence: &Evidence) -> Judgement {
    match (evidence.baseline, &evidence.witness) {
        (BaselineEvidence::This, _) => {
            inconclusive(detailed(&format!("it was not reached before any policy ({})", words(outcome)), evidence))
        }
        (BaselineEvidence::Wrong, _) => {
            inconclusive(format!("it was never reached, not even before any policy ({})", words(outcome)))
        }
        (BaselineEvidence::Sound, WitnessEvidence::Answered | WitnessEvidence::Gaps) => {
            fail(detailed(&format!("it should be reached, and was not: {}", words(outcome)), evidence))
        }
        (BaselineEvidence::Sound, WitnessEvidence::Unanswered(who)) => inconclusive(format!(
            "{}, but neither was the witness {who} answered: perhaps the server is down",
            words(outcome)
        )),
        (BaselineEvidence::Sound, WitnessEvidence::Nobody) => {
            inconclusive(format!("{}, and nobody could witness that the server is up", words(outcome)))
        }
    }
}

fn blocked(outcome: Outcome, evidence: &Evidence) -> Judgement {
    if evidence.baseline == BaselineEvidence::Wrong {
        return inconclusive("it was never reached, not even before any policy: there was nothing to deny");
    }
    let arrived = evidence.log == LogEvidence::Arrived;
    let against = arrived.then_some("the request arrived, the answer was stopped");
    absent(outcome, against, "it was stopped, but not for a whole hold before the deadline", evidence)
}

/// The verdict on a connection that was made and not answered, where that is expected.
fn silent(evidence: &Evidence) -> Judgement {
    let lost = evidence.log == LogEvidence::Clean;
    let against =
        lost.then_some("the connection was made, but the request never arrived: it was not the answer that was lost");
    absent(Outcome::NoAnswer, against, "nothing was answered, but not for a whole hold before the deadline", evidence)
}

/// The verdict where nothing came and nothing should: what the server's log says against it, and why it is too `short`.
fn absent(outcome: Outcome, against: Option<&str>, short: &str, evidence: &Evidence) -> Judgement {
    if let Some(why) = unwitnessed(outcome, &evidence.witness) {
        return inconclusive(why);
    }
    if let LogEvidence::Unreadable(why) = &evidence.log {
        return inconclusive(format!("whether the request arrived is not known: {why}"));
    }
    if let Some(against) = against {
        inconclusive(against)
    } else if evidence.flaps >= FLAPS {
        fail(flapping(evidence))
    } else if evidence.held {
        (Verdict::Pass, None)
    } else {
        inconclusive(short)
    }
}

/// Why it is not known that the server was up when nothing came; none where it is.
fn unwitnessed(outcome: Outcome, witness: &WitnessEvidence) -> Option<String> {
    match witness {
        WitnessEvidence::Answered => None,
        WitnessEvidence::Unanswered(who) => Some(format!(
            "{}, but the witness {who} was not answered either: perhaps the server was down",
            words(outcome)
        )),
        WitnessEvidence::Gaps => {
            Some("the witness was not answered often enough: the server may have been down in between".to_owned())
        }
        WitnessEvidence::Nobody => Some("nobody could witness that the server was up".to_owned()),
    }
}

/// The verdict on a manifest that the API server must refuse; `refusal` has its words, none where it took the manifest.
#[must_use]
pub(super) fn judge_rejection(message: &str, refusal: Option<&str>) -> Judgement {
    match refusal {
        Some(words) if words.contains(message) => (Verdict::Pass, None),
        Some(words) => fail(format!("it was refused for another reason: {words}")),
        None => fail("the API server took it"),
    }
}

/// The verdict on a change of a Node that was made and taken back: each of the fields must have been reported once with its
/// new value and once with its old one, and nothing else of the node.
#[must_use]
pub(super) fn judge_drift(shows: &BTreeMap<String, Option<String>>, changes: &[Change]) -> Judgement {
    for (field, new) in shows {
        let own: Vec<&Change> = changes.iter().filter(|change| change.field == *field).collect();
        let said = || {
            let words = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
            let all = own.iter().map(|change| format!("{} to {}", words(&change.old), words(&change.new)));
            all.collect::<Vec<_>>().join(", then ")
        };
        match own[..] {
            [] => return fail(format!("a watch reports nothing of {field}")),
            [there, back] if there.new == *new && there.old == back.new && there.new == back.old => {}
            _ => return fail(format!("a watch reports of {field}: {}", said())),
        }
    }
    match changes.iter().find(|change| !shows.contains_key(&change.field)) {
        Some(other) => inconclusive(format!("something else changed meanwhile: {}", other.field)),
        None => (Verdict::Pass, None),
    }
}

/// An outcome in words.
#[must_use]
pub(super) fn words(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Reached => "it was reached",
        Outcome::WrongServer => "another server answered",
        Outcome::NoAnswer => "the connection was made, and nothing was answered",
        Outcome::TimedOut => "the connection timed out",
        Outcome::Refused => "the connection was refused",
        Outcome::Unreachable => "the destination was unreachable",
        Outcome::NameNotResolved => "the name was not resolved",
        Outcome::ProbeLost => "the probe was lost",
    }
}

fn reached(evidence: &Evidence) -> String {
    let status = evidence.status.map(|status| format!(" (HTTP status {status})")).unwrap_or_default();
    format!("it should be blocked, and was reached{status}")
}

fn flapping(evidence: &Evidence) -> String {
    format!("it flaps: after it had been stopped it was reached again {}", times(evidence.flaps))
}

fn times(count: u32) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

fn detailed(reason: &str, evidence: &Evidence) -> String {
    evidence.detail.as_ref().map_or_else(|| reason.to_owned(), |detail| format!("{reason}: {detail}"))
}

fn inconclusive(reason: impl Into<String>) -> Judgement {
    (Verdict::Inconclusive, Some(reason.into()))
}

fn fail(reason: impl Into<String>) -> Judgement {
    (Verdict::Fail, Some(reason.into()))
}

#[cfg(test)]
#[path = "judge_test.rs"]
mod tests;
