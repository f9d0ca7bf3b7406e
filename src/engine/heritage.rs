//! Pure: what a scenario leaves to the next one of its lane, where both have the very same pods.
//!
//! Once a scenario has taken everything back, it checks its baseline again. That is the next one's baseline too, as far as it
//! asks for the same; and paths whose connects were timed need not be timed again.

use std::collections::BTreeMap;

use super::{
    CellResult, Verdict,
    history::{History, PathKey},
    plan::PlannedCell,
};
use crate::{
    lab::{ServerId, Source, World},
    scenario::NodeName,
};

/// What a scenario leaves behind.
#[derive(Clone, Debug)]
pub(super) struct Heritage {
    scenario: String,
    ground: u64,
    world: World,
    history: History,
    /// The cells that were reached again, by their ids.
    restored: BTreeMap<String, (PlannedCell, CellResult)>,
}

/// Results that stand for those of a baseline.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    /// The scenario that they are of.
    pub(super) scenario: String,
    /// The results, by the cells' ids.
    pub(super) results: BTreeMap<String, CellResult>,
}

impl Heritage {
    /// Of a scenario whose baseline was checked again, in a world without policies.
    #[must_use]
    pub(super) fn new(
        scenario: &str,
        (ground, world): (u64, World),
        history: History,
        planned: Vec<PlannedCell>,
        restored: &[CellResult],
    ) -> Self {
        let passed = restored.iter().filter(|result| result.verdict == Verdict::Pass);
        let passed: BTreeMap<&str, &CellResult> = passed.map(|result| (result.id.as_str(), result)).collect();
        let restored = planned.into_iter().filter_map(|cell| {
            let result = (*passed.get(cell.id.as_str())?).clone();
            Some((cell.id.clone(), (cell, result)))
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

    /// Results that another scenario's baseline need not ask for again.
    #[must_use]
    pub(super) fn baseline(&self, cells: &[PlannedCell], now: &World) -> Inherited {
        let stands = |cell: &&PlannedCell| {
            // What a name leads to may have changed.
            !cell.by_name && cell.service.is_none() && self.is_same(&cell.from, &cell.server, now)
        };
        let results = cells.iter().filter(stands).filter_map(|cell| {
            let (before, result) = self.restored.get(&cell.id)?;
            let same = (&before.target, &before.identity, &before.expectation, before.connection)
                == (&cell.target, &cell.identity, &cell.expectation, cell.connection);
            same.then(|| (cell.id.clone(), result.clone()))
        });
        Inherited { scenario: self.scenario.clone(), results: results.collect() }
    }

    /// Whether both ends of a path are what they were.
    fn is_same(&self, from: &Source, server: &ServerId, now: &World) -> bool {
        let before = &self.world;
        let is_from = match from {
            Source::Pod(namespace, name) => same_pod(before, now, namespace, name),
            Source::Node(name) => same_node(before, now, *name),
            Source::Outside(name) => same_outside(before, now, name),
        };
        is_from
            && match server {
                ServerId::Pod(namespace, name) => same_pod(before, now, namespace, name),
                ServerId::Node(name) => same_node(before, now, *name),
                ServerId::Outside(name) => same_outside(before, now, name),
                ServerId::Metadata => before.metadata == now.metadata && now.metadata.is_some(),
                ServerId::Dns | ServerId::Apiserver | ServerId::Kubelet(_) => false,
            }
    }
}

/// Labels may differ: without policies they mean nothing.
fn same_pod(before: &World, now: &World, namespace: &str, name: &str) -> bool {
    let find = |world: &World| {
        let pod = world.pods.iter().find(|pod| pod.spec.namespace == namespace && pod.spec.name == name)?;
        Some((pod.addresses.clone(), pod.identity.clone(), pod.spec.node, pod.spec.ports.clone()))
    };
    find(before).is_some_and(|pod| !pod.0.is_empty() && Some(pod) == find(now))
}

fn same_node(before: &World, now: &World, name: NodeName) -> bool {
    let find = |world: &World| world.nodes.iter().find(|node| node.name == name).cloned();
    find(before).is_some() && find(before) == find(now)
}

fn same_outside(before: &World, now: &World, name: &str) -> bool {
    let find = |world: &World| world.outside.iter().find(|host| host.name == name).cloned();
    find(before).is_some() && find(before) == find(now)
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
        let before = plan::world(&loaded.scenario.lab);
        let planned = plan::cells(&loaded, 0, &before).unwrap();
        assert!(planned.len() > 1, "{planned:?}");
        let mut results: Vec<CellResult> =
            planned.iter().map(|cell| unprobed(cell, (Verdict::Pass, None), None)).collect();
        let stands = |results: &[CellResult], planned_now: &[PlannedCell], now: &World| {
            let left = Heritage::new("first", (7, before.clone()), History::default(), planned.clone(), results);
            assert!(left.clone().on(Some(8)).is_none() && left.clone().on(None).is_none(), "other pods");
            left.on(Some(7)).map_or(0, |left| left.baseline(planned_now, now).results.len())
        };
        assert_eq!(stands(&results, &planned, &before), planned.len());

        let mut moved = before.clone();
        moved.pods.iter_mut().for_each(|pod| pod.addresses = vec!["10.9.9.9".parse().unwrap()]);
        assert_eq!(stands(&results, &planned, &moved), 0, "the pods are others");

        let mut other = planned.clone();
        other[0].expectation = Expectation::Blocked;
        assert_eq!(stands(&results, &other, &before), planned.len() - 1, "something else is expected of one");

        results[0].verdict = Verdict::Inconclusive;
        assert_eq!(stands(&results, &planned, &before), planned.len() - 1, "one was not reached again");
    }
}
