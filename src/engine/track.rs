//! Pure: one cell over the rounds of a step. What counts as "as expected" in a round, and what as held.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{
    Expectation, Witness,
    judge::FLAPS,
    pauses::bridging,
    plan::{Connection, PlannedCell},
    witness::Cover,
};
use crate::probe::{Means, Observation, Outcome};

/// A resolution that takes so long was asked for again, by a resolver whose question or answer was lost.
pub(super) const SLOW_RESOLVE: Duration = Duration::from_secs(1);

/// What must be seen before a table counts as settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hold {
    /// Rounds in a row, the first good one included.
    pub(super) rounds: u32,
    /// From the start of the first to the end of the last.
    pub(super) span: Duration,
}

impl Hold {
    /// After a change: three rounds that span 300 ms.
    pub(super) const CHANGE: Self = Self { rounds: 3, span: Duration::from_millis(300) };
    /// Where nothing has changed and nothing is denied, once is enough.
    pub(super) const ONCE: Self = Self { rounds: 1, span: Duration::ZERO };
}

/// One attempt of a cell in a round.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    /// The request's nonce.
    pub(super) nonce: String,
    /// What was observed.
    pub(super) observation: Observation,
    /// When the harness learnt of it.
    pub(super) ended: Instant,
}

/// A cell's part of one round.
#[derive(Clone, Debug)]
pub(super) struct CellRound {
    /// When its batch began.
    pub(super) started: Instant,
    /// When the last attempt of any cell was over.
    pub(super) over: Instant,
    /// Its attempts, lost ones included.
    pub(super) attempts: Vec<Attempt>,
    /// What the witness proves, and who it was; none where there is nobody.
    pub(super) cover: Option<(Cover, Witness)>,
    /// Whether no other witness could do better, so that the window has to be longer.
    pub(super) widen: bool,
    /// Somebody else who reached the same server in this round.
    pub(super) seen_by: Option<Witness>,
}

/// One cell over the rounds of a step.
#[derive(Clone, Debug, Default)]
pub(super) struct Track {
    /// Rounds in a row in which the cell was as expected. Void ones between them do not count.
    pub(super) good_rounds: u32,
    /// The start of the first of them.
    pub(super) good_since: Option<Instant>,
    /// The end of the last of them, for the whole table.
    pub(super) good_until: Option<Instant>,
    /// Attempts in these rounds, or where the cell is not as expected, in the last round.
    pub(super) attempts: u32,
    /// Their outcomes.
    pub(super) outcomes: BTreeMap<Outcome, u32>,
    /// Their nonces, and those of the void rounds between them, as far as they were stopped.
    pub(super) nonces: Vec<String>,
    /// How many attempts are needed; none where no number would do.
    pub(super) needed: Option<u32>,
    /// What was observed last, the attempt that tells most.
    pub(super) last: Option<Observation>,
    /// What the witness proved last, void rounds of a hold aside.
    pub(super) cover: Option<(Cover, Witness)>,
    /// Somebody else who reached the server in the last round.
    pub(super) seen_by: Option<Witness>,
    /// How often a cell that had been as expected was seen to be otherwise.
    pub(super) flaps: u32,
    /// Tries in a row in which a cell that should be reached was not.
    pub(super) failed_tries: u32,
    /// Rounds in which the name of the destination was not resolved in time.
    pub(super) unresolved: u32,
    /// The window or limit of the last round.
    pub(super) window: Duration,
    /// What the window was enlarged to, because the witness was slow.
    pub(super) at_least: Duration,
    /// The slowest connect seen.
    pub(super) slowest: Option<Duration>,
    /// The literal command of a request, as the last plan that told it has it.
    pub(super) command: Option<String>,
    /// What made it.
    pub(super) means: Option<Means>,
}

impl Track {
    /// Takes a round in.
    pub(super) fn record(&mut self, cell: &PlannedCell, round: CellRound) {
        let Some(telling) = most_telling(&cell.expectation, round.attempts.iter().map(|attempt| &attempt.observation))
        else {
            return;
        };
        let good = as_expected(cell, &round) && self.is_steady(cell, &telling);
        let was_good = self.good_rounds > 0;
        let void = was_good && is_void(cell, &round);
        if !(good || void) || !was_good {
            self.attempts = 0;
            self.outcomes.clear();
            self.nonces.clear();
            self.good_rounds = 0;
            self.good_since = None;
        }
        if good {
            self.good_rounds += 1;
            self.good_since.get_or_insert(round.started);
            self.good_until = Some(round.over);
        } else if was_good && contradicts(&cell.expectation, telling.outcome) {
            self.flaps += 1;
        }
        for attempt in round.attempts.iter().filter(|attempt| !(good && tried_nothing(cell, attempt))) {
            if !void {
                self.attempts += 1;
                *self.outcomes.entry(attempt.observation.outcome).or_default() += 1;
            }
            if attempt.observation.outcome != Outcome::Reached {
                self.nonces.push(attempt.nonce.clone());
            }
            self.slowest = self.slowest.max(attempt.observation.connect);
        }
        if let Some((Cover::Gap(gap), _)) = round.cover
            && round.widen
        {
            // A window may always be longer; one that the witness can keep up with lets a busy machine finish.
            self.at_least = self.at_least.max(bridging(gap));
        }
        self.failed_tries = if telling.outcome == Outcome::Reached { 0 } else { self.failed_tries + 1 };
        self.unresolved += u32::from(telling.outcome == Outcome::NameNotResolved);
        self.last = Some(telling);
        self.seen_by = round.seen_by;
        // What was seen around the rounds that count stands.
        if !void {
            self.cover = round.cover;
        }
    }

    /// Whether what is only recorded, of a connection that was there before, is what it was in the last round. When it turned
    /// is what is worth knowing about it.
    fn is_steady(&self, cell: &PlannedCell, now: &Observation) -> bool {
        let may_turn = cell.connection == Connection::Kept && cell.expectation == Expectation::Recorded;
        let reached = |observation: &Observation| observation.outcome == Outcome::Reached;
        !may_turn || self.last.as_ref().is_none_or(|last| reached(last) == reached(now))
    }

    /// Whether the last round was as expected, or would have been if the witness had been answered more often.
    #[must_use]
    pub(super) fn is_good_or_void(&self) -> bool {
        let stopped = self.last.as_ref().is_some_and(|last| last.outcome.is_stopped());
        self.good_rounds > 0 || (stopped && matches!(self.cover, Some((Cover::Gap(_), _))))
    }

    /// Rounds in a row that make a hold. What was as expected and then was not has to be so for longer the next time.
    #[must_use]
    pub(super) fn rounds(&self, hold: Hold) -> u32 {
        hold.rounds + 2 * self.flaps.min(FLAPS)
    }

    /// Whether the cell was as expected for a whole hold.
    #[must_use]
    pub(super) fn held(&self, hold: Hold) -> bool {
        let (Some(since), Some(until)) = (self.good_since, self.good_until) else { return false };
        self.good_rounds >= self.rounds(hold)
            && until.saturating_duration_since(since) >= hold.span
            && self.needed.is_some_and(|needed| self.attempts >= needed)
    }
}

/// Whether a cell's round was as expected: for an absence that means of every attempt, and with a witness around them.
fn as_expected(cell: &PlannedCell, round: &CellRound) -> bool {
    let covered = !cell.expectation.is_absence() || matches!(round.cover, Some((Cover::Confirmed, _)));
    covered && looks_good(cell, &round.attempts)
}

/// Whether only the witness keeps a round from being as expected, with a gap between its answers. That proves nothing, and speaks
/// against nothing: a hold goes on with the next round.
fn is_void(cell: &PlannedCell, round: &CellRound) -> bool {
    cell.expectation.is_absence()
        && matches!(round.cover, Some((Cover::Gap(_), _)))
        && looks_good(cell, &round.attempts)
}

/// Whether the attempts alone are as expected.
#[must_use]
pub(super) fn looks_good(cell: &PlannedCell, attempts: &[Attempt]) -> bool {
    let outcome = |attempt: &Attempt| attempt.observation.outcome;
    match &cell.expectation {
        Expectation::Reachable => {
            let was = |wanted| move |attempt: &&Attempt| outcome(attempt) == wanted;
            let mut reached = attempts.iter().filter(was(Outcome::Reached)).peekable();
            let unresolved = attempts.iter().any(|attempt| outcome(attempt) == Outcome::NameNotResolved);
            let slow = |attempt: &Attempt| attempt.observation.resolve.is_some_and(|took| took >= SLOW_RESOLVE);
            // Where only slow ones of several were resolved, the name servers are not all up yet, and the next deny would
            // look worse than it is.
            reached.peek().is_some()
                && !(unresolved && reached.all(slow))
                && !attempts.iter().any(|attempt| outcome(attempt) == Outcome::WrongServer)
        }
        Expectation::Status { code } => {
            let mut reached = attempts.iter().filter(|attempt| outcome(attempt) == Outcome::Reached).peekable();
            reached.peek().is_some() && reached.all(|attempt| attempt.observation.status == Some(*code))
        }
        // Who had no address tried nothing: on a lossy path that is no reason to try for ever.
        Expectation::Blocked => {
            attempts.iter().any(|attempt| stops(cell, outcome(attempt)))
                && attempts.iter().all(|attempt| stops(cell, outcome(attempt)) || tried_nothing(cell, attempt))
        }
        Expectation::Silent => {
            attempts.iter().any(|attempt| outcome(attempt) == Outcome::NoAnswer)
                && attempts.iter().all(|attempt| outcome(attempt) == Outcome::NoAnswer || tried_nothing(cell, attempt))
        }
        Expectation::Refused => attempts.iter().all(|attempt| outcome(attempt) == Outcome::Refused),
        Expectation::Recorded | Expectation::Rejected { .. } | Expectation::Noticed { .. } => {
            attempts.iter().any(|attempt| outcome(attempt) != Outcome::ProbeLost)
        }
    }
}

/// Whether an attempt did not get as far as what is to be proved, so that it neither counts nor speaks against it: one of a
/// deny that got no address, one of a silence that got no connection.
fn tried_nothing(cell: &PlannedCell, attempt: &Attempt) -> bool {
    match (&cell.expectation, attempt.observation.outcome) {
        (Expectation::Blocked | Expectation::Silent, Outcome::NameNotResolved) => !cell.is_about_dns(),
        (Expectation::Silent, Outcome::TimedOut) => true,
        _ => false,
    }
}

/// Whether an outcome is a way in which this cell can be stopped.
fn stops(cell: &PlannedCell, outcome: Outcome) -> bool {
    outcome.is_stopped() || (cell.is_about_dns() && outcome == Outcome::NameNotResolved)
}

/// Whether an outcome proves the opposite of what is expected, rather than nothing.
fn contradicts(expectation: &Expectation, outcome: Outcome) -> bool {
    match expectation {
        Expectation::Blocked => matches!(outcome, Outcome::Reached | Outcome::WrongServer | Outcome::NoAnswer),
        Expectation::Silent => outcome == Outcome::Reached,
        Expectation::Refused => matches!(outcome, Outcome::Reached | Outcome::WrongServer | Outcome::NoAnswer),
        Expectation::Reachable | Expectation::Status { .. } => outcome != Outcome::ProbeLost,
        Expectation::Recorded | Expectation::Rejected { .. } | Expectation::Noticed { .. } => false,
    }
}

/// The observation that stands for all attempts of a round. For an absence it is the worst, so that one connection outweighs
/// any number of time-outs, and a lost probe is never covered up by a stopped one; otherwise one answer is enough, as on a
/// lossy path those of other attempts may be lost.
pub(super) fn most_telling<'o>(
    expectation: &Expectation,
    observations: impl Iterator<Item = &'o Observation>,
) -> Option<Observation> {
    let denied = expectation.is_absence();
    let silent = *expectation == Expectation::Silent;
    let rank = |outcome: Outcome| match outcome {
        Outcome::WrongServer => 7,
        Outcome::ProbeLost if silent => 4,
        Outcome::NoAnswer if silent => 3,
        Outcome::NoAnswer if denied => 6,
        Outcome::Reached => 5,
        Outcome::NoAnswer => 4,
        Outcome::ProbeLost if denied => 4,
        // It is no deny, and takes nothing from those that got as far as that.
        Outcome::NameNotResolved if denied => -1,
        Outcome::NameNotResolved => 3,
        Outcome::Refused => 2,
        Outcome::Unreachable => 1,
        Outcome::TimedOut => 0,
        Outcome::ProbeLost => -2,
    };
    observations.max_by_key(|observation| rank(observation.outcome)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{engine::WitnessKind, lab::Source, scenario::NodeName};

    const CONFIRMED: Cover = Cover::Confirmed;
    const GAP: Cover = Cover::Gap(Duration::from_millis(200));

    /// A deny after rounds 150 ms apart, each with one attempt that ended so and a witness that saw so much.
    fn after(rounds: &[(Outcome, Cover)]) -> Track {
        let cell = PlannedCell::to_metadata(Source::Node(NodeName::Worker), Expectation::Blocked);
        let (mut track, began) = (Track { needed: Some(3), ..Track::default() }, Instant::now());
        for ((outcome, cover), number) in rounds.iter().zip(0..) {
            let started = began + Duration::from_millis(150) * number;
            let ended = started + Duration::from_millis(100);
            let observation = Observation { outcome: *outcome, ..Observation::lost(None) };
            let attempts = vec![Attempt { nonce: format!("n{number}"), observation, ended }];
            let witness = Witness { kind: WitnessKind::Node, from: "node/worker".into() };
            let cover = Some((*cover, witness));
            track.record(&cell, CellRound { started, over: ended, attempts, cover, widen: false, seen_by: None });
        }
        track
    }

    #[test]
    fn a_gap_between_the_witnesss_answers_does_not_count_and_does_not_end_a_hold() {
        let stopped = Outcome::TimedOut;
        let three = [(stopped, CONFIRMED), (stopped, GAP), (stopped, CONFIRMED)];
        let track = after(&three);
        assert_eq!((track.good_rounds, track.attempts, track.held(Hold::CHANGE)), (2, 2, false));
        let track = after(&[&three[..], &[(stopped, CONFIRMED)]].concat());
        assert_eq!((track.good_rounds, track.attempts, track.held(Hold::CHANGE)), (3, 3, true));
        let one_more = after(&[&[(stopped, CONFIRMED); 3][..], &[(stopped, GAP)]].concat());
        assert!(one_more.held(Hold::CHANGE) && one_more.cover.is_some_and(|(cover, _)| cover == CONFIRMED));
        assert_eq!(track.nonces.len(), 4, "what was tried meanwhile may be in the server's log all the same");
        let track = after(&[(stopped, GAP), (stopped, CONFIRMED)]);
        assert_eq!((track.good_rounds, track.nonces.len()), (1, 1));
    }

    #[test]
    fn one_answer_of_several_is_enough_for_who_should_be_reached_and_too_many_for_who_is_denied() {
        let telling = |expectation, outcomes: &[Outcome]| {
            let observations =
                outcomes.iter().map(|outcome| Observation { outcome: *outcome, ..Observation::lost(None) });
            let observations: Vec<Observation> = observations.collect();
            most_telling(&expectation, observations.iter()).map(|telling| telling.outcome)
        };
        let one_of_two = [Outcome::Reached, Outcome::NoAnswer];
        assert_eq!(telling(Expectation::Reachable, &one_of_two), Some(Outcome::Reached));
        assert_eq!(telling(Expectation::Reachable, &[Outcome::NoAnswer, Outcome::TimedOut]), Some(Outcome::NoAnswer));
        assert_eq!(telling(Expectation::Blocked, &one_of_two), Some(Outcome::NoAnswer));
        assert_eq!(telling(Expectation::Silent, &one_of_two), Some(Outcome::Reached));
    }

    #[test]
    fn a_witness_without_an_answer_and_an_answer_in_a_gap_end_a_hold() {
        let stopped = Outcome::TimedOut;
        for end in [(stopped, Cover::Unanswered), (Outcome::Reached, GAP)] {
            let track = after(&[(stopped, CONFIRMED), (stopped, CONFIRMED), end, (stopped, CONFIRMED)]);
            assert_eq!((track.good_rounds, track.held(Hold::CHANGE)), (1, false), "{end:?}");
        }
    }
}
