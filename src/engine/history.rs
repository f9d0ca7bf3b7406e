//! Pure: what a scenario has learnt about its paths so far. Connect times and losses from which windows and attempts
//! are calibrated, and whether the baseline was sound.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Expectation,
    calibrate::{self, Losses},
    pauses::Pauses,
    plan::PlannedCell,
    track::{Attempt, SLOW_RESOLVE},
    witness::ServerKey,
};
use crate::{
    lab::{ServerId, Source, World},
    probe::Outcome,
    scenario::{Family, Protocol},
};

/// What makes a cell of one step the same as one of another: the path, not the address, which changes when a pod is
/// created again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PathKey {
    from: Source,
    server: ServerId,
    port: u16,
    protocol: Protocol,
    family: Family,
    by_name: bool,
}

impl PathKey {
    /// The path of a cell.
    #[must_use]
    pub(super) fn of(cell: &PlannedCell) -> Self {
        Self {
            from: cell.from.clone(),
            server: cell.server.clone(),
            port: cell.port,
            protocol: cell.protocol,
            family: cell.family,
            by_name: cell.by_name,
        }
    }
}

impl PathKey {
    /// Where it begins.
    #[must_use]
    pub(super) fn from(&self) -> &Source {
        &self.from
    }

    /// Where it ends.
    #[must_use]
    pub(super) fn server(&self) -> &ServerId {
        &self.server
    }
}

/// A path that was open.
#[derive(Clone, Copy, Debug, Default)]
struct Open {
    /// The slowest connect of a volley, retransmissions taken off.
    slowest: Option<Duration>,
    /// The slowest resolution of its name.
    resolve: Option<Duration>,
    /// Whether this is from the baseline, and so is not to be blurred by later steps.
    baseline: bool,
}

/// What a scenario has learnt so far.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    open: BTreeMap<PathKey, Open>,
    from: BTreeMap<Source, Losses>,
    to: BTreeMap<ServerId, Losses>,
    last: BTreeMap<PathKey, Outcome>,
    sound: BTreeMap<PathKey, bool>,
    /// The addresses that servers last saw requests come from, where they were not the sources' own.
    translated: BTreeMap<PathKey, IpAddr>,
    /// The servers that an earlier step gave up.
    gone: BTreeSet<ServerKey>,
    /// How busy the machine is.
    pub(super) pauses: Pauses,
}

impl History {
    /// Learns from the attempts of a cell in one round.
    pub(super) fn learn(
        &mut self,
        cell: &PlannedCell,
        started: Instant,
        limit: Duration,
        attempts: &[Attempt],
        baseline: bool,
    ) {
        let key = PathKey::of(cell);
        let reached = |attempt: &&Attempt| attempt.observation.outcome == Outcome::Reached;
        let is_open = attempts.iter().any(|attempt| reached(&attempt));
        let from = self.from.entry(cell.from.clone()).or_default();
        let to = self.to.entry(cell.server.clone()).or_default();
        let (mut slowest, mut resolve) = (None, None);
        for attempt in attempts.iter().filter(reached) {
            let connect = attempt.observation.connect.unwrap_or_default();
            let sent_again = attempt.observation.resent;
            let (path, lost) = sent_again.map_or_else(|| calibrate::read_connect(connect), |lost| (connect, lost));
            // Resolving a name connects to nothing.
            if !cell.is_about_dns() {
                from.connected(lost);
                to.connected(lost);
            }
            let took = attempt.ended.saturating_duration_since(started);
            let open = self.open.entry(key.clone()).or_default();
            if baseline || !open.baseline {
                open.baseline |= baseline;
                // Where a resolution's own time is not known, the whole time is.
                let path = if attempt.observation.connect.is_none() { took } else { path };
                slowest = slowest.max(Some(path));
                resolve = match (resolve, attempt.observation.resolve) {
                    (Some(before), Some(now)) if now.max(before) >= SLOW_RESOLVE => Some(before.min(now)),
                    (before, now) => before.max(now),
                };
            }
        }
        if let (Some(open), Some(slowest)) = (self.open.get_mut(&key), slowest) {
            // A path is as fast as it was in its best volley: another one may have met a machine that was still busy.
            let best = |before: Option<Duration>, now: Option<Duration>| match (before, now) {
                (Some(before), Some(now)) if baseline => Some(before.min(now)),
                (before, now) => before.max(now),
            };
            open.slowest = best(open.slowest, Some(slowest));
            open.resolve = best(open.resolve, resolve);
        }
        if is_open && cell.is_about_dns() {
            for attempt in attempts {
                match attempt.observation.outcome {
                    Outcome::Reached => to.connected(0),
                    Outcome::NameNotResolved => to.gave_up(1),
                    _ => {}
                }
            }
        } else if is_open && cell.expectation != Expectation::Blocked {
            // Where something is to be denied, a volley in which only some are answered is one in which a policy took effect.
            for Attempt { observation, .. } in attempts {
                let sent = match observation.outcome {
                    Outcome::TimedOut => {
                        observation.resent.map_or_else(|| calibrate::syns_in(limit), |again| again + 1)
                    }
                    // What was lost came after the handshake, once at least.
                    Outcome::NoAnswer => 1,
                    _ => continue,
                };
                from.gave_up(sent);
                to.gave_up(sent);
            }
        }
        if let Some(outcome) = attempts.iter().map(|attempt| attempt.observation.outcome).min() {
            self.last.insert(key, outcome);
        }
    }

    /// What was learnt of some paths, for another scenario: whether a baseline was sound, and what was given up, is not its
    /// business.
    #[must_use]
    pub(super) fn of_paths(&self, is_meant: impl Fn(&PathKey) -> bool) -> Self {
        let open = self.open.iter().filter(|(path, _)| is_meant(path)).map(|(path, open)| (path.clone(), *open));
        let last = self.last.iter().filter(|(path, _)| is_meant(path)).map(|(path, last)| (path.clone(), *last));
        let (open, last): (BTreeMap<_, _>, BTreeMap<_, _>) = (open.collect(), last.collect());
        let from = self.from.iter().filter(|(source, _)| open.keys().any(|path| path.from == **source));
        let to = self.to.iter().filter(|(server, _)| open.keys().any(|path| path.server == **server));
        Self {
            from: from.map(|(source, losses)| (source.clone(), *losses)).collect(),
            to: to.map(|(server, losses)| (server.clone(), *losses)).collect(),
            open,
            last,
            pauses: self.pauses,
            ..Self::default()
        }
    }

    /// Whether the connects of a cell's path were timed.
    #[must_use]
    pub(super) fn is_timed(&self, cell: &PlannedCell) -> bool {
        self.open.get(&PathKey::of(cell)).is_some_and(|open| open.baseline && open.slowest.is_some())
    }

    /// The slowest connect of a cell's own path.
    #[must_use]
    pub(super) fn slowest(&self, cell: &PlannedCell) -> Option<Duration> {
        self.open.get(&PathKey::of(cell))?.slowest
    }

    /// The slowest resolution of a cell's name.
    #[must_use]
    pub(super) fn resolve(&self, cell: &PlannedCell) -> Option<Duration> {
        self.open.get(&PathKey::of(cell))?.resolve
    }

    /// Whether the cell's path was open when it was last tried.
    #[must_use]
    pub(super) fn was_reached(&self, cell: &PlannedCell) -> bool {
        self.last.get(&PathKey::of(cell)) == Some(&Outcome::Reached)
    }

    /// Whether the cell's path was closed when it was last tried.
    #[must_use]
    pub(super) fn was_stopped(&self, cell: &PlannedCell) -> bool {
        self.last.get(&PathKey::of(cell)).is_some_and(|last| last.is_stopped())
    }

    /// Whether this source was answered by the cell's server when it last asked, by name or by address.
    #[must_use]
    pub(super) fn reached_from(&self, source: &Source, cell: &PlannedCell) -> bool {
        [false, true].into_iter().any(|by_name| {
            let key = PathKey { from: source.clone(), by_name, ..PathKey::of(cell) };
            self.last.get(&key) == Some(&Outcome::Reached)
        })
    }

    /// Learns from which address the server saw the requests come. A source's addresses change when a pod is created again,
    /// so they are those of the world at that time.
    pub(super) fn see(&mut self, cell: &PlannedCell, attempts: &[Attempt], world: &World) {
        // What leaves the cluster may be translated as the CNI likes.
        let Some(client) = attempts.iter().find_map(|attempt| attempt.observation.client) else { return };
        if matches!(cell.server, ServerId::Pod(..)) && !world.may_come_from(&cell.from, client) {
            self.translated.insert(PathKey::of(cell), client);
        } else {
            self.translated.remove(&PathKey::of(cell));
        }
    }

    /// The address that the cell's server last saw its source come from, where it was not the source's own.
    #[must_use]
    pub(super) fn translated(&self, cell: &PlannedCell) -> Option<IpAddr> {
        self.translated.get(&PathKey::of(cell)).copied()
    }

    /// The upper bound of the loss on a cell's path: the worse of its two ends.
    #[must_use]
    pub(super) fn loss(&self, cell: &PlannedCell) -> Option<f64> {
        let ends = [self.from.get(&cell.from), self.to.get(&cell.server)];
        ends.into_iter().flatten().filter_map(|losses| losses.bound()).reduce(f64::max)
    }

    /// Remembers whether the baseline of a cell was as it should be.
    pub(super) fn set_baseline(&mut self, cell: &PlannedCell, sound: bool) {
        let known = self.sound.entry(PathKey::of(cell)).or_insert(true);
        *known &= sound;
    }

    /// Whether the cell was found wrong in the baseline.
    #[must_use]
    pub(super) fn is_baseline_wrong(&self, cell: &PlannedCell) -> bool {
        self.sound.get(&PathKey::of(cell)) == Some(&false)
    }

    /// Remembers which servers answered in a step, and which were given up.
    pub(super) fn set_gone<'a>(
        &mut self,
        answering: impl IntoIterator<Item = &'a ServerKey>,
        gone: impl IntoIterator<Item = &'a ServerKey>,
    ) {
        for key in answering {
            self.gone.remove(key);
        }
        self.gone.extend(gone.into_iter().cloned());
    }

    /// Whether an earlier step gave the server up.
    #[must_use]
    pub(super) fn was_gone(&self, key: &ServerKey) -> bool {
        self.gone.contains(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{probe::Observation, scenario::NodeName};

    fn attempts(outcomes: &[Outcome]) -> Vec<Attempt> {
        let attempt = |outcome: &Outcome| Attempt {
            nonce: String::new(),
            observation: Observation { outcome: *outcome, ..Observation::lost(None) },
            ended: Instant::now(),
        };
        outcomes.iter().map(attempt).collect()
    }

    /// The bound of a cell's loss after one attempt that was answered and one that was not.
    fn bound(expectation: Expectation) -> Option<f64> {
        let (mut history, mixed) = (History::default(), attempts(&[Outcome::Reached, Outcome::TimedOut]));
        let cell = PlannedCell::to_metadata(Source::Node(NodeName::Worker), expectation);
        history.learn(&cell, Instant::now(), calibrate::SHORTEST_WINDOW, &mixed, false);
        history.loss(&cell)
    }

    #[test]
    fn what_a_policy_stops_is_no_loss_of_the_path() {
        let losses = |trials, lost| Losses { trials, lost }.bound();
        assert_eq!(bound(Expectation::Reachable), losses(2, 1));
        assert_eq!(bound(Expectation::Blocked), losses(1, 0));
    }
}
