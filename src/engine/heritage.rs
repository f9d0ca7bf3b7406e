//! Pure: what a scenario leaves to the next one of its lane, where both have the very same pods.
//!
//! Once a scenario has taken everything back, it checks its baseline again. That is the next one's baseline too, as far as it
//! asks for the same; and paths whose connects were timed need not be timed again.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use super::{
    CellResult, Verdict,
    history::{History, PathKey},
    plan::PlannedCell,
};
use crate::{
    lab::{ServerId, Source, World},
    scenario::{NodeName, PortSpec},
};

/// What a scenario leaves behind.
#[derive(Clone, Debug)]
pub(super) struct Heritage {
    scenario: String,
    ground: u64,
    world: Arc<World>,
    history: History,
    /// The cells that were reached again, by their ids.
    restored: BTreeMap<String, (PlannedCell, CellResult)>,
}

impl Heritage {
    /// Of a scenario whose baseline was checked again, in a world without policies.
    #[must_use]
    pub(super) fn new(
        scenario: &str,
        (ground, world): (u64, Arc<World>),
        history: History,
        planned: &[PlannedCell],
        restored: &[CellResult],
    ) -> Self {
        let passed = restored.iter().filter(|result| result.verdict == Verdict::Pass);
        let passed: BTreeMap<&str, &CellResult> = passed.map(|result| (result.id.as_str(), result)).collect();
        let restored = planned.iter().filter_map(|cell| {
            let result = (*passed.get(cell.id.as_str())?).clone();
            Some((cell.id.clone(), (cell.clone(), result)))
        });
        Self { scenario: scenario.to_owned(), ground, world, history, restored: restored.collect() }
    }

    /// This, if the next stage is on the same ground.
    #[must_use]
    pub(super) fn on(self, ground: Option<u64>) -> Option<Self> {
        (ground == Some(self.ground)).then_some(self)
    }

    /// What was learnt of paths that are the same in another world.
    #[must_use]
    pub(super) fn history(&self, now: &World) -> History {
        self.history.of_paths(|path: &PathKey| self.is_same(path.from(), path.server(), now))
    }

    /// The scenario that leaves it.
    #[must_use]
    pub(super) fn scenario(&self) -> &str {
        &self.scenario
    }

    /// What stands for the result of a cell of another scenario's baseline, if anything does.
    #[must_use]
    pub(super) fn result(&self, cell: &PlannedCell, now: &World) -> Option<&CellResult> {
        let (before, result) = self.restored.get(&cell.id)?;
        let same = (&before.target, &before.identity, &before.expectation, before.connection)
            == (&cell.target, &cell.identity, &cell.expectation, cell.connection);
        // What a name leads to may have changed.
        let is_named = cell.by_name || cell.service.is_some();
        (same && !is_named && self.is_same(&cell.from, &cell.server, now)).then_some(result)
    }

    /// Whether both ends of a path are what they were.
    fn is_same(&self, from: &Source, server: &ServerId, now: &World) -> bool {
        let before = &self.world;
        let is_from = match from {
            Source::Pod(namespace, name) => same(before, now, |world| pod(world, namespace, name)),
            Source::Node(name) => same(before, now, |world| world.node(*name)),
            Source::Outside(name) => same(before, now, |world| world.outside_host(name)),
        };
        is_from
            && match server {
                ServerId::Pod(namespace, name) => same(before, now, |world| pod(world, namespace, name)),
                ServerId::Node(name) => same(before, now, |world| world.node(*name)),
                ServerId::Outside(name) => same(before, now, |world| world.outside_host(name)),
                ServerId::Metadata => same(before, now, |world| world.metadata.as_ref()),
                ServerId::Dns | ServerId::Apiserver | ServerId::Kubelet(_) => false,
            }
    }
}

/// Whether both worlds have it, and it is the same.
fn same<'w, T: PartialEq>(before: &'w World, now: &'w World, find: impl Fn(&'w World) -> Option<T>) -> bool {
    find(before).is_some_and(|found| Some(found) == find(now))
}

/// What makes a pod the same. Its labels may differ: without policies they mean nothing.
fn pod<'w>(world: &'w World, namespace: &str, name: &str) -> Option<(&'w [IpAddr], &'w str, NodeName, &'w [PortSpec])> {
    let pod = world.pod(namespace, name)?;
    let addresses = Some(pod.addresses.as_slice()).filter(|addresses| !addresses.is_empty())?;
    Some((addresses, &pod.identity, pod.spec.node, &pod.spec.ports))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::{
        engine::{Expectation, plan, record::unprobed},
        scenario,
    };

    #[test]
    fn only_what_was_reached_again_over_the_same_path_stands_for_a_baseline() {
        let loaded = scenario::select(&["ingress-two-namespaces".to_owned()]).unwrap().remove(0);
        let before = Arc::new(plan::world(&loaded.scenario.lab));
        let planned = plan::cells(&loaded, 0, &before).unwrap();
        assert!(planned.len() > 1, "{planned:?}");
        let mut results: Vec<CellResult> =
            planned.iter().map(|cell| unprobed(cell, (Verdict::Pass, None), None)).collect();
        let stands = |results: &[CellResult], planned_now: &[PlannedCell], now: &World| {
            let left = Heritage::new("first", (7, Arc::clone(&before)), History::default(), &planned, results);
            assert!(left.clone().on(Some(8)).is_none() && left.clone().on(None).is_none(), "other pods");
            let left = left.on(Some(7)).unwrap();
            planned_now.iter().filter(|cell| left.result(cell, now).is_some()).count()
        };
        assert_eq!(stands(&results, &planned, &before), planned.len());

        let mut moved = World::clone(&before);
        moved.pods.iter_mut().for_each(|pod| pod.addresses = vec!["10.9.9.9".parse().unwrap()]);
        assert_eq!(stands(&results, &planned, &moved), 0, "the pods are others");

        let mut other = planned.clone();
        other[0].expectation = Expectation::Blocked;
        assert_eq!(stands(&results, &other, &before), planned.len() - 1, "something else is expected of one");

        results[0].verdict = Verdict::Inconclusive;
        assert_eq!(stands(&results, &planned, &before), planned.len() - 1, "one was not reached again");
    }
}
