//! Pure: who can prove that the server of a cell is up, and whether what they saw covers the time of the attempts.
//! Asking them is `round`'s business.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Expectation, WitnessKind,
    plan::{Connection, PlannedCell},
    track::Attempt,
};
use crate::{
    lab::{ServerId, Source, World, WorldPod},
    probe::{Observation, Outcome, Target},
    scenario::{DEFAULT_NAMESPACE, Family, NodeName, Protocol},
    text::Text,
};

/// What makes two cells ask the very same server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ServerKey {
    server: ServerId,
    identity: String,
    address: Option<IpAddr>,
    port: u16,
    protocol: Protocol,
    family: Family,
}

impl ServerKey {
    /// The server that a cell asks. For names to resolve it is the DNS server, whatever the name.
    #[must_use]
    pub(super) fn of(cell: &PlannedCell) -> Self {
        Self {
            server: cell.server.clone(),
            identity: cell.identity.clone(),
            address: if cell.is_about_dns() { None } else { cell.address },
            port: cell.port,
            protocol: cell.protocol,
            family: cell.family,
        }
    }
}

impl PlannedCell {
    /// Whether the case is about the resolution of a name.
    #[must_use]
    pub(super) fn is_about_dns(&self) -> bool {
        matches!(self.target, Some(Target::Resolve { .. }))
    }

    /// Whether the destination must answer.
    #[must_use]
    pub(super) fn expects_answer(&self) -> bool {
        matches!(self.expectation, Expectation::Reachable | Expectation::Status { .. })
    }
}

/// Somebody who may be a witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// The kind.
    pub(super) kind: WitnessKind,
    /// The source.
    pub(super) source: Source,
    /// The source, as scenario files write it.
    pub(super) from: Text,
    /// What it asks. Always by address where one is known: that of a witness does not depend on DNS.
    pub(super) target: Target,
}

/// The cells of a table that must be answered, by the server that they ask.
#[must_use]
pub(super) fn answered(cells: &[PlannedCell]) -> BTreeMap<ServerKey, Vec<&PlannedCell>> {
    let mut servers: BTreeMap<ServerKey, Vec<&PlannedCell>> = BTreeMap::new();
    for cell in cells.iter().filter(|cell| cell.expects_answer()) {
        servers.entry(ServerKey::of(cell)).or_default().push(cell);
    }
    servers
}

/// Whether who asks one of these cells may be a witness of the other: another source, or over a connection that was there
/// before the same one, which makes a new one.
#[must_use]
pub(super) fn may_witness(other: &PlannedCell, cell: &PlannedCell) -> bool {
    other.from != cell.from || (other.connection == Connection::New && cell.connection != Connection::New)
}

/// Who may be the witness of a cell, the best first: other sources that should be allowed, the node that the server is
/// on (any node for a server outside the cluster), the server to itself.
#[must_use]
pub(super) fn candidates(
    answered: &BTreeMap<ServerKey, Vec<&PlannedCell>>,
    cell: &PlannedCell,
    world: &World,
    from_nodes: bool,
) -> Vec<Candidate> {
    let Some(target) = at_server(cell, world) else { return Vec::new() };
    let mut found: Vec<Candidate> = Vec::new();
    let mut add = |kind, source: Source, from: Text, target: Target| {
        if found.iter().all(|candidate| candidate.source != source) {
            found.push(Candidate { kind, source, from, target });
        }
    };
    let others = answered.get(&ServerKey::of(cell)).into_iter().flatten();
    for other in others.filter(|other| may_witness(other, cell)) {
        if let Some(target) = by_address(other) {
            add(WitnessKind::Source, other.from.clone(), (&other.from_text).into(), target);
        }
    }
    // The cluster's DNS is not what a node asks.
    if from_nodes && !cell.is_about_dns() {
        for node in nodes_near(cell, world) {
            add(WitnessKind::Node, Source::Node(node), format!("node/{}", node.as_str()).into(), target.clone());
        }
    }
    match &cell.server {
        ServerId::Pod(namespace, name) => {
            let text = if namespace == DEFAULT_NAMESPACE { name.clone() } else { format!("{namespace}/{name}") };
            add(WitnessKind::Itself, Source::Pod(namespace.clone(), name.clone()), text.into(), target);
        }
        ServerId::Node(node) if from_nodes => {
            add(WitnessKind::Itself, Source::Node(*node), format!("node/{}", node.as_str()).into(), target);
        }
        ServerId::Outside(name) => {
            add(WitnessKind::Itself, Source::Outside(name.clone()), format!("outside/{name}").into(), target);
        }
        _ => {}
    }
    found.retain(|candidate| candidate.kind == WitnessKind::Source || candidate.source != cell.from);
    found
}

/// The nodes that are always allowed to reach a server: for a pod its own, otherwise any.
fn nodes_near(cell: &PlannedCell, world: &World) -> Vec<NodeName> {
    let present: BTreeSet<NodeName> = world.nodes.iter().map(|node| node.name).collect();
    let near: Vec<NodeName> = match &cell.server {
        ServerId::Pod(namespace, name) => world.pod(namespace, name).map(|pod| pod.spec.node).into_iter().collect(),
        ServerId::Metadata => {
            // Another node may get to another server.
            let is_same = |node: &NodeName| {
                world.metadata.as_ref().is_some_and(|metadata| metadata.identity_for(*node, false) == cell.identity)
            };
            [NodeName::Worker, NodeName::Master].into_iter().filter(is_same).collect()
        }
        // A node to itself is the server to itself, which comes last.
        ServerId::Node(own) | ServerId::Kubelet(own) => NodeName::ALL.into_iter().filter(|node| node != own).collect(),
        ServerId::Outside(_) | ServerId::Apiserver | ServerId::Dns => vec![NodeName::Worker, NodeName::Master],
    };
    near.into_iter().filter(|node| present.contains(node)).collect()
}

/// What a node asks, or the server itself: the pod behind a Service, whose name only pods resolve.
fn at_server(cell: &PlannedCell, world: &World) -> Option<Target> {
    let (None, ServerId::Pod(namespace, name)) = (cell.address, &cell.server) else { return by_address(cell) };
    let is_server = |pod: &&WorldPod| (&pod.spec.namespace, &pod.spec.name) == (namespace, name);
    let addresses = world.pods.iter().find(is_server).map(|pod| pod.addresses.as_slice()).unwrap_or_default();
    let address = addresses.iter().find(|address| address.is_ipv6() == (cell.family == Family::Ipv6))?;
    Some(cell.target.clone()?.at(*address).on(cell.server_port))
}

fn by_address(cell: &PlannedCell) -> Option<Target> {
    // What it is answered matters to nobody, and its credential is another source's.
    let target = cell.target.clone()?.anonymous();
    Some(match cell.address {
        Some(address) => target.at(address),
        None => target,
    })
}

/// One time that a witness asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// When it asked.
    pub(super) asked: Instant,
    /// When its answer came, or it gave up.
    pub(super) ended: Instant,
    /// What came.
    pub(super) outcome: Outcome,
    /// How long the connect took.
    pub(super) connect: Option<Duration>,
    /// How long the server had it wait besides.
    pub(super) held: Option<Duration>,
    /// When it ended by its prober's own clock.
    pub(super) clock: Option<Duration>,
}

impl Sample {
    /// What an attempt says that was asked for at this time.
    #[must_use]
    pub(super) fn of(asked: Instant, attempt: &Attempt) -> Self {
        let Observation { outcome, connect, held, clock, .. } = attempt.observation;
        Self { asked, ended: attempt.ended, outcome, connect, held, clock }
    }

    /// Whether the right server answered; for the resolution of a name, whether it was resolved.
    #[must_use]
    pub(super) fn answered(&self) -> bool {
        self.outcome == Outcome::Reached
    }

    /// How long after another one it ended. The prober's clock knows nothing of the time that its reports took to get here,
    /// which on a busy machine is most of it; it is believed as far as both could be true.
    fn after(&self, earlier: &Self) -> Duration {
        let here = self.ended.saturating_duration_since(earlier.ended);
        let there = self.clock.zip(earlier.clock).and_then(|(now, before)| now.checked_sub(before));
        there.filter(|there| there.abs_diff(here) <= ON_THE_WAY).unwrap_or(here)
    }
}

/// What reports may differ in the time that they take to get here.
const ON_THE_WAY: Duration = Duration::from_millis(500);

/// What a witness' samples prove for the time of some attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cover {
    /// It was answered before, during and after.
    Confirmed,
    /// It was answered before and after, and in between not for this long.
    Gap(Duration),
    /// It was not answered before, or not after.
    Unanswered,
}

/// Whether a witness was answered before `from`, after `to`, and never longer apart than `window`.
#[must_use]
pub(super) fn cover(samples: &[Sample], from: Instant, to: Instant, window: Duration) -> Cover {
    let answered: Vec<&Sample> = samples.iter().filter(|sample| sample.answered()).collect();
    let Some(before) = answered.iter().rposition(|sample| sample.ended <= from) else { return Cover::Unanswered };
    let Some(after) = answered.iter().position(|sample| sample.asked >= to) else { return Cover::Unanswered };
    let Some(between) = answered.get(before..=after) else { return Cover::Unanswered };
    let gap = between.windows(2).map(|pair| pair[1].after(pair[0])).max();
    match gap {
        Some(gap) if gap > window => Cover::Gap(gap),
        _ => Cover::Confirmed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_millis(100);

    /// Samples at these milliseconds, each answered after one.
    fn samples(start: Instant, answered: &[(u64, bool)]) -> Vec<Sample> {
        let sample = |(at, answered): &(u64, bool)| Sample {
            asked: start + Duration::from_millis(*at),
            ended: start + Duration::from_millis(at + 1),
            outcome: if *answered { Outcome::Reached } else { Outcome::Refused },
            connect: None,
            held: None,
            clock: None,
        };
        answered.iter().map(sample).collect()
    }

    fn covers(answered: &[(u64, bool)]) -> Cover {
        let start = Instant::now();
        let (from, to) = (start + Duration::from_millis(10), start + Duration::from_millis(110));
        cover(&samples(start, answered), from, to, WINDOW)
    }

    #[test]
    fn a_witness_is_answered_before_during_and_after() {
        assert_eq!(covers(&[(5, true), (40, true), (80, true), (110, true)]), Cover::Confirmed);
        assert_eq!(covers(&[(5, true), (60, true), (120, true)]), Cover::Confirmed);
    }

    #[test]
    fn an_answer_that_was_asked_for_too_early_is_not_after() {
        // Asked at 109 ms, before the last attempt was over.
        assert_eq!(covers(&[(5, true), (60, true), (109, true)]), Cover::Unanswered);
    }

    #[test]
    fn without_an_answer_before_or_after_nothing_is_covered() {
        assert_eq!(covers(&[]), Cover::Unanswered);
        assert_eq!(covers(&[(40, true), (110, true)]), Cover::Unanswered);
        assert_eq!(covers(&[(5, true), (40, true), (110, false)]), Cover::Unanswered);
        assert_eq!(covers(&[(5, false), (40, true), (110, true)]), Cover::Unanswered);
    }

    #[test]
    fn what_came_late_is_no_gap_unless_it_came_much_too_late() {
        let clocked = |late: u64| {
            let (start, ms) = (Instant::now(), Duration::from_millis);
            let (from, to) = (start + ms(10), start + ms(110));
            let mut samples = samples(start, &[(5, true), (60 + late, true), (111 + late, true)]);
            for (sample, at) in samples.iter_mut().zip([5, 60, 111]) {
                sample.clock = Some(ms(at));
            }
            cover(&samples, from, to, WINDOW)
        };
        assert_eq!(clocked(60), Cover::Confirmed);
        // Whoever was asleep for so long, its clock with it, has seen nothing meanwhile.
        assert_eq!(clocked(560), Cover::Gap(Duration::from_millis(615)));
    }

    #[test]
    fn a_gap_longer_than_the_window_is_found() {
        assert_eq!(covers(&[(5, true), (110, true)]), Cover::Gap(Duration::from_millis(105)));
        // What was not answered closes no gap.
        assert_eq!(covers(&[(5, true), (60, false), (110, true)]), Cover::Gap(Duration::from_millis(105)));
    }
}
