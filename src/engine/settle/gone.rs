//! Pure: which servers are gone, so that nothing can be proved of them however long a step waits. A server is gone when
//! for long enough nobody was answered at its address, not even the nodes and the server itself, whom no policy stops.
//!
//! This only ends a step sooner. What its cells are worth without a witness is `judge`'s business.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    super::{
        WitnessKind,
        witness::{Candidate, ServerKey},
    },
    patience::LOST_PATIENCE,
};
use crate::{lab::Source, probe::Outcome};

/// A server may be away for this long, as one that is started again, before it is gone.
const AWAY_PATIENCE: Duration = Duration::from_secs(10);

/// Who was answered by which server, in one step.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers {
    last: BTreeMap<ServerKey, Instant>,
    silent: BTreeMap<ServerKey, BTreeSet<Source>>,
}

impl Answers {
    /// Takes in what came of a request that ended at `at`. The same may be told again.
    pub(super) fn note(&mut self, source: &Source, key: &ServerKey, outcome: Outcome, at: Instant) {
        if outcome == Outcome::ProbeLost || self.last.get(key).is_some_and(|last| at <= *last) {
            return;
        }
        // Somebody else at the address is no sign of death: what is wrong there may be put right.
        if matches!(outcome, Outcome::Reached | Outcome::WrongServer) {
            self.silent.remove(key);
            self.last.insert(key.clone(), at);
        } else {
            self.silent.entry(key.clone()).or_default().insert(source.clone());
        }
    }

    /// Whether a server is gone at `now`, of a step that began at `since`. One that was gone in an earlier step gets
    /// less time.
    pub(super) fn is_gone(
        &self,
        key: &ServerKey,
        candidates: impl FnOnce() -> Arc<[Candidate]>,
        (since, now): (Instant, Instant),
        was_gone: bool,
    ) -> bool {
        let patience = if was_gone { LOST_PATIENCE } else { AWAY_PATIENCE };
        let last = self.last.get(key).map_or(since, |last| since.max(*last));
        if now.saturating_duration_since(last) <= patience {
            return false;
        }
        let candidates = candidates();
        let mut ungoverned = candidates.iter().filter(|candidate| is_ungoverned(candidate)).peekable();
        ungoverned.peek().is_some()
            && self.silent.get(key).is_some_and(|silent| ungoverned.all(|one| silent.contains(&one.source)))
    }

    /// The servers that answered somebody.
    pub(super) fn answering(&self) -> impl Iterator<Item = &ServerKey> {
        self.last.keys()
    }
}

/// Whether no policy stands between a witness and its server.
fn is_ungoverned(candidate: &Candidate) -> bool {
    matches!(candidate.source, Source::Node(_)) || candidate.kind == WitnessKind::Itself
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::{Expectation, plan::PlannedCell},
        probe::Target,
        scenario::{Family, NodeName},
    };

    fn key() -> ServerKey {
        ServerKey::of(&PlannedCell::to_metadata(Source::Node(NodeName::Worker), Expectation::Blocked))
    }

    fn pod() -> Source {
        Source::Pod("default".to_owned(), "app".to_owned())
    }

    fn witnesses(sources: impl IntoIterator<Item = Source>) -> Vec<Candidate> {
        let candidate = |source| Candidate {
            kind: WitnessKind::Source,
            source,
            from: "".into(),
            target: Target::Resolve { name: String::new(), family: Family::Ipv4 },
        };
        sources.into_iter().map(candidate).collect()
    }

    /// What these answers say after so many seconds.
    fn gone(answers: &[(Source, Outcome, u64)], candidates: &[Candidate], after: u64, was_gone: bool) -> bool {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut seen = Answers::default();
        // Told twice, as samples are.
        for (source, outcome, second) in answers.iter().chain(answers) {
            seen.note(source, &key(), *outcome, at(*second));
        }
        seen.is_gone(&key(), || candidates.into(), (start, at(after)), was_gone)
    }

    #[test]
    fn who_is_silent_to_all_nodes_for_long_enough_is_gone() {
        let [master, worker] = NodeName::ALL.map(Source::Node);
        let both = witnesses([master.clone(), worker.clone()]);
        let died =
            [(master.clone(), Outcome::Reached, 2), (master, Outcome::TimedOut, 3), (worker, Outcome::Refused, 4)];
        assert!(!gone(&died, &both, 12, false), "ten seconds since the last answer");
        assert!(gone(&died, &both, 13, false));
        assert!(gone(&died, &both, 6, true), "an earlier step has waited already");
        assert!(!gone(&died[..2], &both, 13, false), "the other node was not asked");
        assert!(!gone(&died, &witnesses([pod()]), 13, false), "policies may stop all who were asked");
    }

    #[test]
    fn an_answer_or_somebody_else_at_the_address_counts_and_a_lost_probe_does_not() {
        let [_, worker] = NodeName::ALL.map(Source::Node);
        let only = witnesses([worker.clone()]);
        let silent = (worker.clone(), Outcome::TimedOut, 3);
        for outcome in [Outcome::Reached, Outcome::WrongServer] {
            assert!(!gone(&[silent.clone(), (pod(), outcome, 9)], &only, 13, false));
        }
        assert!(gone(&[silent, (worker.clone(), Outcome::ProbeLost, 9)], &only, 13, false));
        assert!(!gone(&[(worker, Outcome::ProbeLost, 3)], &only, 13, false));
    }
}
