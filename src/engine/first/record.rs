//! Pure: the record of a cell of first packets.

use std::{collections::BTreeMap, time::Duration};

use super::{
    super::{
        CellResult, Expectation, FirstPackets, FirstSince, Verdict, Witness,
        judge::{BaselineEvidence, Evidence, Judgement, judge},
        plan::PlannedCell,
        record::{Logs, logged, unprobed, witnessed},
        track::most_telling,
        witness::Cover,
    },
    ask::WINDOW,
};
use crate::{
    probe::{self, Means, Outcome, Request},
    text::Text,
};

/// What is known beside a cell's attempts.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Grounds<'a> {
    /// What the servers' logs hold of the nonces.
    pub(in crate::engine) logs: &'a Logs,
    /// Whether the scenario's tier is judged.
    pub(in crate::engine) judged: bool,
    /// Whether the canary found policies enforced.
    pub(in crate::engine) enforcing: bool,
}

/// What was found of a cell.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Found<'a> {
    /// The cell.
    pub(in crate::engine) cell: &'a PlannedCell,
    /// Since when the attempts' times are told.
    pub(in crate::engine) since: FirstSince,
    /// The attempts.
    pub(in crate::engine) attempts: &'a [probe::Attempt],
    /// The command by which one of them can be repeated, and what made them.
    pub(in crate::engine) command: (Option<String>, Means),
    /// What the witness saw.
    pub(in crate::engine) witness: Option<(Cover, Witness)>,
}

/// The record of a cell.
#[must_use]
pub(in crate::engine) fn record(found: Found<'_>, known: Grounds<'_>, decided_by: Option<Text>) -> CellResult {
    let Found { cell, since, attempts, command: (command, probe), witness } = found;
    let denied = cell.expectation == Expectation::Blocked;
    // What is allowed has to be reached in the end; what is denied, never.
    let telling = if denied {
        most_telling(&cell.expectation, attempts.iter().map(|attempt| &attempt.observation))
    } else {
        attempts.last().map(|attempt| attempt.observation.clone())
    };
    let found = figures(since, attempts);
    let evidence = Evidence {
        outcome: telling.as_ref().map(|telling| telling.outcome),
        status: telling.as_ref().and_then(|telling| telling.status),
        detail: telling.as_ref().and_then(|telling| telling.detail.clone()),
        witness: witnessed(witness.as_ref()),
        log: logged(&cell.server, attempts.iter().map(|attempt| &attempt.nonce), known.logs),
        about_dns: false,
        baseline: BaselineEvidence::Sound,
        held: true,
        flaps: 0,
        enforcing: known.enforcing,
        judged: known.judged,
    };
    let judgement = explained(judge(&cell.expectation, &evidence), &found, attempts.is_empty());
    let mut outcomes: BTreeMap<Outcome, u32> = BTreeMap::new();
    for attempt in attempts {
        *outcomes.entry(attempt.observation.outcome).or_default() += 1;
    }
    let stopped = evidence.outcome.is_some_and(Outcome::is_stopped);
    CellResult {
        outcome: evidence.outcome,
        outcomes,
        status: evidence.status,
        server: telling.as_ref().and_then(|telling| telling.server.as_deref()).map(Text::from),
        witness: witness.map(|(_, witness)| witness).filter(|_| denied || stopped),
        attempts: found.attempts,
        window_ms: u64::try_from(WINDOW.as_millis()).unwrap_or(u64::MAX),
        connect_ms: slowest(attempts).map(|slowest| slowest.as_secs_f64() * 1000.0),
        command: command.map(Text::from),
        probe: Some(probe),
        first_packets: Some(found),
        ..unprobed(cell, judgement, decided_by)
    }
}

/// The command by which one attempt of a pod can be repeated in it.
pub(in crate::engine) fn command(cell: &PlannedCell) -> Option<String> {
    let (target, server) = (cell.target.clone()?, cell.identity.clone());
    Some(probe::command(&Request::new(target, String::new(), server, WINDOW)))
}

fn slowest(attempts: &[probe::Attempt]) -> Option<Duration> {
    attempts.iter().filter_map(|attempt| attempt.observation.connect).max()
}

fn figures(since: FirstSince, attempts: &[probe::Attempt]) -> FirstPackets {
    let reached = || attempts.iter().filter(|attempt| attempt.observation.outcome == Outcome::Reached);
    let millis = |attempt: &probe::Attempt| u64::try_from(attempt.at.as_millis()).unwrap_or(u64::MAX);
    FirstPackets {
        since,
        attempts: u32::try_from(attempts.len()).unwrap_or(u32::MAX),
        reached: u32::try_from(reached().count()).unwrap_or(u32::MAX),
        first_ms: reached().next().map(millis),
        last_ms: reached().next_back().map(millis),
    }
}

/// The judgement, with how long it leaked where that is what it is about.
fn explained((verdict, reason): Judgement, found: &FirstPackets, said_nothing: bool) -> Judgement {
    if said_nothing {
        let why = match found.since {
            FirstSince::Instruction => "the pod's first process told of no attempt",
            FirstSince::Address => "nobody asked the pod",
        };
        return (Verdict::Inconclusive, Some(why.to_owned()));
    }
    let reason = reason.map(|reason| match found.words() {
        Some(words) => format!("{reason}, {words}"),
        None => reason,
    });
    (verdict, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::plan::NewPod;
    use crate::{
        engine::WitnessKind,
        lab::{ServerId, Source},
        probe::{Observation, Target},
        scenario::{Family, NodeName},
    };

    fn cell(expectation: Expectation) -> PlannedCell {
        PlannedCell {
            id: "x/late -> x/b:80/tcp at first".to_owned(),
            from_text: "x/late".to_owned(),
            to_text: "x/b:80/tcp at first".to_owned(),
            server: ServerId::Node(NodeName::Worker),
            identity: "pod/x/b".to_owned(),
            target: Some(Target::Resolve { name: "x".to_owned(), family: Family::Ipv4 }),
            first: Some(NewPod::Asks),
            ..PlannedCell::to_metadata(Source::Pod("x".to_owned(), "late".to_owned()), expectation)
        }
    }

    fn attempts(outcomes: &[Outcome]) -> Vec<probe::Attempt> {
        let attempt = |(number, outcome): (usize, &Outcome)| probe::Attempt {
            request: 0,
            at: Duration::from_millis(100 * number as u64),
            nonce: format!("n-{number}"),
            observation: Observation { outcome: *outcome, ..Observation::lost(None) },
        };
        outcomes.iter().enumerate().map(attempt).collect()
    }

    fn judged(expectation: Expectation, outcomes: &[Outcome], cover: Option<Cover>, logs: &Logs) -> CellResult {
        let witness = Witness { kind: WitnessKind::Node, from: "node/worker".into() };
        let known = Grounds { logs, judged: true, enforcing: true };
        let found = Found {
            cell: &cell(expectation),
            since: FirstSince::Instruction,
            attempts: &attempts(outcomes),
            command: (None, Means::Curl),
            witness: cover.map(|cover| (cover, witness)),
        };
        record(found, known, None)
    }

    #[test]
    fn one_attempt_that_is_answered_is_a_leak_and_when_it_was_is_said() {
        use Outcome::{Reached, Refused, TimedOut};
        let none = Logs::new();
        let found = judged(Expectation::Blocked, &[TimedOut, Reached, Reached, Refused], Some(Cover::Confirmed), &none);
        assert_eq!(found.verdict, Verdict::Fail);
        assert_eq!(
            found.reason.as_deref(),
            Some(
                "it should be blocked, and was reached, in 2 of 4 attempts, from 100 ms to 200 ms after the pod's first instruction"
            )
        );
        let since = FirstSince::Instruction;
        let figures = FirstPackets { since, attempts: 4, reached: 2, first_ms: Some(100), last_ms: Some(200) };
        assert_eq!(found.first_packets, Some(figures));
        let clean = judged(Expectation::Blocked, &[TimedOut, Refused], Some(Cover::Confirmed), &none);
        assert_eq!((clean.verdict, clean.reason), (Verdict::Pass, None));
    }

    #[test]
    fn without_a_witness_or_with_a_lost_attempt_nothing_is_denied() {
        use Outcome::{ProbeLost, TimedOut};
        let none = Logs::new();
        let verdict = |outcomes: &[Outcome], cover| judged(Expectation::Blocked, outcomes, cover, &none).verdict;
        for cover in [None, Some(Cover::Unanswered), Some(Cover::Gap(Duration::from_secs(2)))] {
            assert_eq!(verdict(&[TimedOut], cover), Verdict::Inconclusive, "{cover:?}");
        }
        assert_eq!(verdict(&[TimedOut, ProbeLost], Some(Cover::Confirmed)), Verdict::Inconclusive);
        assert_eq!(verdict(&[], Some(Cover::Confirmed)), Verdict::Inconclusive);
        let arrived = Logs::from([(ServerId::Node(NodeName::Worker), Ok(["n-0".to_owned()].into()))]);
        let found = judged(Expectation::Blocked, &[TimedOut], Some(Cover::Confirmed), &arrived);
        assert_eq!(found.verdict, Verdict::Inconclusive);
    }

    #[test]
    fn what_is_allowed_has_to_be_reached_in_the_end() {
        use Outcome::{Reached, TimedOut};
        let none = Logs::new();
        let verdict = |outcomes: &[Outcome]| judged(Expectation::Reachable, outcomes, Some(Cover::Confirmed), &none);
        let opened = verdict(&[TimedOut, TimedOut, Reached]);
        assert_eq!((opened.verdict, opened.first_packets.and_then(|it| it.first_ms)), (Verdict::Pass, Some(200)));
        assert_eq!(verdict(&[Reached, TimedOut]).verdict, Verdict::Fail);
    }
}
