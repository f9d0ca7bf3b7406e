//! Asking: the scripts of the pods' first processes, and the witnesses meanwhile. Who asks such pods is in `approach`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    super::{
        Expectation, Witness, WitnessKind,
        plan::{NewPod, PlannedCell},
        round::Nonces,
        sessions::{How, Sessions},
        watch::{Question, Samples, Watches, Watching},
        witness::{Candidate, Cover, Sample, ServerKey, answered, candidates, cover},
    },
    approach::Goal,
};
use crate::{
    lab::{LabError, ServerId, Source, World},
    probe::{self, Opening, Request},
};

/// How often a pod asks, and for how many seconds: the leaks that CNIs are known for are over by then.
const ATTEMPTS: u32 = 100;
const SECONDS: u32 = 2;
/// How long a connection may take to be made.
pub(super) const WINDOW: Duration = Duration::from_millis(250);
/// How often a witness asks, how long it may have to wait, and how long it may go without an answer. A shorter absence of
/// the server hides no more than the part of a leak that fell into it.
pub(super) const PERIOD: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(1);
const LONGEST_GAP: Duration = Duration::from_secs(1);
/// How many of those who could be a witness are.
const WITNESSES: usize = 2;
/// Samples that one process of a witness takes last about so long.
const STINT: Duration = Duration::from_secs(6);

/// A pod, by logical namespace and name.
pub(in crate::engine) type PodName = (String, String);

/// What the pods of a step ask at first, and are asked.
#[derive(Default)]
pub(in crate::engine) struct First {
    asked: Vec<Asked>,
    openings: BTreeMap<PodName, Opening>,
    /// Who asks them, by who is asked.
    pub(super) goals: BTreeMap<PodName, Vec<Goal>>,
}

/// By what means, and with which nonces.
#[derive(Clone, Copy)]
pub(in crate::engine) struct Asking<'a> {
    /// The stage's sessions.
    pub(in crate::engine) sessions: &'a Arc<Sessions>,
    /// Their kind.
    pub(in crate::engine) how: How,
    /// The run's nonces.
    pub(in crate::engine) nonces: &'a Arc<Nonces>,
}

/// A cell, its place among what its pod asks, and who may be its witness.
struct Asked {
    cell: PlannedCell,
    pod: PodName,
    place: usize,
    candidates: Vec<Candidate>,
}

impl First {
    /// What these cells ask. Witnesses are sources of the other cells of the step that are there already, `now`, before the pods
    /// are that are there `then`.
    pub(in crate::engine) fn new(
        cells: Vec<PlannedCell>,
        others: &[PlannedCell],
        (now, then): (&World, &World),
        from_nodes: bool,
        nonces: &Nonces,
    ) -> Self {
        let is_there = |cell: &&PlannedCell| match &cell.from {
            Source::Pod(namespace, name) => now.pod(namespace, name).is_some(),
            Source::Node(_) | Source::Outside(_) => true,
        };
        let others: Vec<PlannedCell> = others.iter().filter(is_there).cloned().collect();
        let others = answered(&others);
        let mut first = Self::default();
        for cell in cells {
            // A node is always let in, whatever the step is about to change.
            let mut candidates = candidates(&others, &cell, then, from_nodes);
            candidates.sort_by_key(|candidate| candidate.kind != WitnessKind::Node);
            if let (Some(NewPod::IsAsked), ServerId::Pod(namespace, name)) = (cell.first, cell.server.clone()) {
                // It cannot be asked to ask itself before it serves.
                candidates.retain(|candidate| candidate.kind != WitnessKind::Itself);
                candidates.truncate(WITNESSES);
                first.goals.entry((namespace, name)).or_default().push(Goal { cell, candidates });
                continue;
            }
            candidates.truncate(WITNESSES);
            let (Source::Pod(namespace, name), Some(target)) = (cell.from.clone(), cell.target.clone()) else {
                continue;
            };
            let pod = (namespace, name);
            let opening = first.openings.entry(pod.clone()).or_insert_with(|| Opening {
                requests: Vec::new(),
                attempts: ATTEMPTS,
                seconds: SECONDS,
            });
            let place = opening.requests.len();
            opening.requests.push(Request::new(target, nonces.next(), cell.identity.clone(), WINDOW));
            first.asked.push(Asked { cell, pod, place, candidates });
        }
        first
    }

    /// The script of a pod's first process; none where it asks nothing.
    #[must_use]
    pub(in crate::engine) fn script(&self, pod: &PodName) -> Option<String> {
        self.openings.get(pod).map(Opening::script)
    }

    /// Has the witnesses ask, from now on.
    pub(in crate::engine) async fn watch(&self, asking: Asking<'_>) -> Result<Vigil, LabError> {
        let mut vigil = Vigil::begin(asking, self.asked.iter().map(|it| (&it.cell, it.candidates.as_slice())));
        vigil.watches.before().await?;
        vigil.since = Instant::now();
        Ok(vigil)
    }

    /// What each cell's attempts were, by what the pods' first processes have said.
    #[must_use]
    pub(in crate::engine) fn attempts(&self, said: &BTreeMap<PodName, Vec<String>>) -> Vec<Vec<probe::Attempt>> {
        let read = |(pod, opening): (&PodName, &Opening)| {
            let lines = said.get(pod).map(Vec::as_slice).unwrap_or_default();
            (pod.clone(), opening.read(lines.iter().map(String::as_str)))
        };
        let all: BTreeMap<PodName, Vec<probe::Attempt>> = self.openings.iter().map(read).collect();
        let of = |asked: &Asked| {
            let own = all.get(&asked.pod).into_iter().flatten();
            own.filter(|attempt| attempt.request == asked.place).cloned().collect()
        };
        self.asked.iter().map(of).collect()
    }

    /// The nonces of what was denied, by the server whose log may hold them.
    #[must_use]
    pub(in crate::engine) fn denied(&self, attempts: &[Vec<probe::Attempt>]) -> BTreeMap<ServerId, BTreeSet<String>> {
        let mut servers: BTreeMap<ServerId, BTreeSet<String>> = BTreeMap::new();
        for (asked, attempts) in self.asked.iter().zip(attempts) {
            if asked.cell.expectation == Expectation::Blocked {
                let nonces = attempts.iter().map(|attempt| attempt.nonce.clone());
                servers.entry(asked.cell.server.clone()).or_default().extend(nonces);
            }
        }
        servers
    }

    /// The cells, each with its attempts and what its witnesses saw.
    pub(in crate::engine) fn cells<'a>(
        &'a self,
        attempts: &'a [Vec<probe::Attempt>],
        seen: &'a Seen,
    ) -> impl Iterator<Item = (&'a PlannedCell, &'a [probe::Attempt], Option<(Cover, Witness)>)> {
        self.asked.iter().zip(attempts).map(|(Asked { cell, candidates, .. }, attempts)| {
            (cell, attempts.as_slice(), seen.best(cell, candidates, |_| Some(seen.since)))
        })
    }
}

/// Witnesses at work.
pub(in crate::engine) struct Vigil {
    watches: Watches,
    since: Instant,
}

/// What witnesses saw, and from when to when it counts.
pub(in crate::engine) struct Seen {
    samples: Samples,
    since: Instant,
    until: Instant,
}

impl Vigil {
    /// Has those who could be the witnesses of some cells ask from now on.
    pub(super) fn begin<'a>(
        asking: Asking<'_>,
        cells: impl Iterator<Item = (&'a PlannedCell, &'a [Candidate])>,
    ) -> Self {
        let mut wanted: BTreeMap<Source, Watching> = BTreeMap::new();
        for (cell, candidates) in cells {
            for candidate in candidates {
                let watching = wanted.entry(candidate.source.clone());
                let watching = watching.or_insert_with(|| Watching { questions: BTreeMap::new(), period: PERIOD });
                let (target, identity) = (candidate.target.clone(), cell.identity.clone());
                let question = || Question { target, identity, limit: PATIENCE };
                watching.questions.entry(ServerKey::of(cell)).or_insert_with(question);
            }
        }
        let mut watches = Watches::new(Arc::clone(asking.sessions), Arc::clone(asking.nonces));
        watches.begin(asking.how);
        watches.set(&wanted, STINT);
        Self { watches, since: Instant::now() }
    }

    /// Ends it, once everybody was asked after all else.
    pub(in crate::engine) async fn end(mut self) -> Seen {
        let until = Instant::now();
        self.watches.after().await;
        let samples = self.watches.samples().clone();
        self.watches.stop().await;
        Seen { samples, since: self.since, until }
    }
}

impl Seen {
    /// The witness of a cell that has seen most, of these candidates, each from when it could prove something, if it ever could.
    pub(super) fn best(
        &self,
        cell: &PlannedCell,
        candidates: &[Candidate],
        since: impl Fn(&[Sample]) -> Option<Instant>,
    ) -> Option<(Cover, Witness)> {
        let key = ServerKey::of(cell);
        let covers = candidates.iter().map(|candidate| {
            let samples = self.samples.get(&(candidate.source.clone(), key.clone()));
            let samples = samples.map_or(&[][..], Vec::as_slice);
            let since = since(samples);
            let cover = since.map_or(Cover::Unanswered, |since| cover(samples, since, self.until, LONGEST_GAP));
            (cover, Witness { kind: candidate.kind, from: candidate.from.clone() })
        });
        let rank = |cover: &Cover| match cover {
            Cover::Confirmed => 0,
            Cover::Gap(_) => 1,
            Cover::Unanswered => 2,
        };
        covers.min_by_key(|(cover, _)| rank(cover))
    }
}
