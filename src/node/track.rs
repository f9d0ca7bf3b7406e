//! What a watch has seen becomes changes, each reported once. Pure: it is told what happens, and when.
//!
//! While a watch stands every version of every node arrives, so every change is reported, also one that is taken back.
//! When the watch was lost and its version has expired, nodes are listed again: then the net change of each field is
//! reported, marked with the gap.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use jiff::Timestamp;

use super::{
    diff::{self, Change, Nodes, UID},
    flat::Fields,
    report::{Gap, Report},
    state::NodeState,
};

/// A moment, by two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// By the clock on the wall, which may jump.
    pub wall: Timestamp,
    /// By one that only goes forward, since some start.
    pub since_start: Duration,
}

/// What a gap is for nodes that were compared with a file.
const BASELINE: &str = "the baseline file";

/// What a gap is for nodes that an earlier watch has seen.
const RESUMED: &str = "the watch was started again";

/// How many removed nodes are remembered, to know one that is made again.
const REMEMBERED: usize = 10_000;

/// All nodes, as they were last seen.
#[derive(Debug, Default)]
pub struct Tracker {
    nodes: HashMap<String, NodeState>,
    removed: HashMap<String, NodeState>,
    order: VecDeque<String>,
    origin: Origin,
    /// The last moment at which the watch stood.
    alive: Option<Moment>,
    listing: Option<Listing>,
}

/// Where what is known of nodes comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Origin {
    /// Nothing is known: nothing can be a change.
    #[default]
    Nowhere,
    /// A baseline file.
    Baseline,
    /// An earlier watch, which stood until then.
    Earlier(Timestamp),
    /// A list.
    Listed,
}

#[derive(Debug)]
struct Listing {
    seen: HashSet<String>,
    reason: String,
}

impl Tracker {
    /// Begins with what a file says. Its nodes have no versions yet.
    #[must_use]
    pub fn from_baseline(nodes: Nodes) -> Self {
        let state = |(name, fields): (String, Fields)| {
            let uid = fields.get(UID).cloned().unwrap_or_default();
            (name.clone(), NodeState { name, uid, fields, ..NodeState::default() })
        };
        Self { nodes: nodes.into_iter().map(state).collect(), origin: Origin::Baseline, ..Self::default() }
    }

    /// Goes on from what an earlier watch has seen, which stood until then.
    #[must_use]
    pub fn resumed(nodes: impl IntoIterator<Item = NodeState>, until: Timestamp) -> Self {
        let nodes = nodes.into_iter().map(|node| (node.name.clone(), node)).collect();
        Self { nodes, origin: Origin::Earlier(until), ..Self::default() }
    }

    /// Whether this watch has listed nodes before: another list is then one over a gap.
    #[must_use]
    pub fn has_listed(&self) -> bool {
        self.origin == Origin::Listed
    }

    /// A node as it was last seen.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&NodeState> {
        self.nodes.get(name)
    }

    /// All nodes as they were last seen.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeState> {
        self.nodes.values()
    }

    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The watch stands.
    pub fn alive(&mut self, now: Moment) {
        self.alive = Some(now);
    }

    /// Nodes are about to be listed, for this reason.
    pub fn list_begins(&mut self, reason: &str) {
        // A listing that was cut off and began again is one listing: what it has reported is reported.
        let reason = self.listing.take().map_or_else(|| reason.to_owned(), |before| before.reason);
        self.listing = Some(Listing { seen: HashSet::new(), reason });
    }

    /// A node of the list.
    pub fn listed(&mut self, node: NodeState, now: Moment) -> Vec<Report> {
        if let Some(listing) = &mut self.listing {
            listing.seen.insert(node.name.clone());
        }
        self.put(node, now, true)
    }

    /// The list is whole: what it does not have is gone.
    pub fn list_ends(&mut self, now: Moment) -> Vec<Report> {
        let seen = self.listing.as_ref().map(|listing| &listing.seen);
        let mut gone: Vec<_> =
            self.nodes.keys().filter(|name| seen.is_some_and(|seen| !seen.contains(*name))).cloned().collect();
        gone.sort();
        let reports = gone.iter().filter_map(|name| self.remove(name, None, now)).collect();
        self.listing = None;
        self.origin = Origin::Listed;
        self.alive(now);
        reports
    }

    /// A node was added or changed.
    pub fn applied(&mut self, node: NodeState, now: Moment) -> Vec<Report> {
        self.alive(now);
        // A list whose pages are of several versions is followed by changes that it has already.
        let known = self.nodes.get(&node.name).map(|known| &known.version);
        if known.is_some_and(|known| !newer(&node.version, known)) {
            return Vec::new();
        }
        self.put(node, now, false)
    }

    /// A node was deleted.
    pub fn deleted(&mut self, node: &NodeState, now: Moment) -> Vec<Report> {
        self.alive(now);
        let known = self.nodes.get(&node.name);
        if known.is_none_or(|known| known.uid != node.uid && !known.uid.is_empty()) {
            return Vec::new();
        }
        self.remove(&node.name, Some(&node.version), now).into_iter().collect()
    }

    fn put(&mut self, node: NodeState, now: Moment, over_gap: bool) -> Vec<Report> {
        let known = self.origin != Origin::Nowhere;
        let live = self.nodes.get(&node.name);
        let before = live.or_else(|| self.removed.get(&node.name));
        let mut changes = match before {
            _ if !known => Vec::new(),
            Some(before) => diff::fields(&node.name, &before.fields, &node.fields),
            None => vec![Change::added(&node.name, &node.uid)],
        };
        // The UID says that it is another node, whether or not it is a field that counts.
        let again = before.is_some_and(|before| before.uid != node.uid && !before.uid.is_empty());
        if known && again && !changes.iter().any(|change| change.field == UID) {
            let uid = before.map_or("", |before| before.uid.as_str());
            let change = Change { old: Some(uid.to_owned()), ..Change::removed(&node.name, uid) };
            changes.insert(0, Change { new: Some(node.uid.clone()), severity: super::Severity::Critical, ..change });
        }
        // What is most important first: that it is another node.
        changes.sort_by_key(|change| change.field != UID);
        let gap = over_gap.then(|| self.gap(live.map(|live| live.uid.clone()), Some(node.uid.clone()), now));
        let unmanaged = super::owner::Managed::default();
        let managed = before.map_or(&unmanaged, |before| &before.managed);
        let report = |change: Change| {
            let claimed = if change.field == UID { Vec::new() } else { node.managed.claimants(managed, &change.field) };
            let (uid, resource_version) = (node.uid.clone(), node.version.clone());
            report(change, uid, resource_version, claimed, gap.clone(), now)
        };
        let reports = changes.into_iter().map(report).collect();
        self.removed.remove(&node.name);
        self.nodes.insert(node.name.clone(), node);
        reports
    }

    fn remove(&mut self, name: &str, version: Option<&str>, now: Moment) -> Option<Report> {
        let node = self.nodes.remove(name)?;
        let gap = version.is_none().then(|| self.gap(Some(node.uid.clone()), None, now));
        let version = version.unwrap_or_default().to_owned();
        let report = report(Change::removed(name, &node.uid), node.uid.clone(), version, Vec::new(), gap, now);
        if self.removed.insert(name.to_owned(), node).is_none() {
            self.order.push_back(name.to_owned());
        }
        while self.order.len() > REMEMBERED {
            let oldest = self.order.pop_front().unwrap_or_default();
            self.removed.remove(&oldest);
        }
        Some(report)
    }

    fn gap(&self, uid_before: Option<String>, uid_after: Option<String>, now: Moment) -> Gap {
        let lasted = |from: Moment| now.since_start.saturating_sub(from.since_start).as_secs_f64();
        let (from, seconds, reason) = match (self.origin, self.alive) {
            (Origin::Baseline, _) => (None, None, BASELINE),
            // The clock that only goes forward does not reach back to before its process.
            (Origin::Earlier(until), _) => (Some(until), None, RESUMED),
            (_, alive) => {
                let reason = self.listing.as_ref().map_or("", |listing| &listing.reason);
                (alive.map(|from| from.wall), alive.map(lasted), reason)
            }
        };
        Gap {
            from,
            until: now.wall,
            seconds,
            reason: reason.to_owned(),
            uid_before: uid_before.filter(|uid| !uid.is_empty()),
            uid_after,
        }
    }
}

fn report(
    change: Change,
    uid: String,
    resource_version: String,
    claimed: Vec<super::owner::Manager>,
    gap: Option<Gap>,
    now: Moment,
) -> Report {
    let what = change.what();
    Report { time: now.wall, change, what, uid, resource_version, claimed, authenticated: None, authorised: None, gap }
}

/// Whether a version is newer. Versions are numbers wherever there is etcd; what is none counts as new.
fn newer(version: &str, known: &str) -> bool {
    match (version.parse::<u64>(), known.parse::<u64>()) {
        (Ok(version), Ok(known)) => version > known,
        _ => version != known,
    }
}

#[cfg(test)]
#[path = "track_test.rs"]
mod tests;
