//! The tables of a scenario as they are planned for its stage: once, and anew where the world has changed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::plan::{self, PlanError, PlannedCell};
use crate::{
    lab::{Capabilities, World},
    scenario::LoadedScenario,
    text::Text,
};

/// A step's cells.
#[derive(Debug, Default)]
pub(super) struct Planned {
    /// The ids of all of them, in the order of the file.
    pub(super) order: Vec<Text>,
    /// Those that can be probed here. First packets are not among them: they are not sent again.
    pub(super) probed: Vec<PlannedCell>,
    /// Those that cannot, with the reason.
    pub(super) skipped: Vec<(PlannedCell, String)>,
}

impl Planned {
    fn of(cells: Vec<PlannedCell>, capabilities: &Capabilities) -> Self {
        let mut planned = Self { order: cells.iter().map(|cell| (&cell.id).into()).collect(), ..Self::default() };
        for cell in cells {
            if let Some(reason) = plan::missing(&cell.needs, capabilities) {
                planned.skipped.push((cell, reason));
            } else if cell.target.is_none() {
                planned.skipped.push((cell, "the lab has no such address, or no probe for it".to_owned()));
            } else if cell.first.is_none() {
                planned.probed.push(cell);
            }
        }
        planned
    }
}

/// The world that a plan was made for, and the plan.
type Made = (Arc<World>, Arc<Planned>);

/// The plans of a scenario's steps.
pub(super) struct Plans<'a> {
    loaded: &'a LoadedScenario,
    capabilities: &'a Capabilities,
    /// By the step's index.
    made: Mutex<BTreeMap<usize, Made>>,
}

impl<'a> Plans<'a> {
    /// No plans yet.
    #[must_use]
    pub(super) fn new(loaded: &'a LoadedScenario, capabilities: &'a Capabilities) -> Self {
        Self { loaded, capabilities, made: Mutex::default() }
    }

    /// A step's plan for this world.
    pub(super) fn of(&self, step: usize, world: &Arc<World>) -> Result<Arc<Planned>, PlanError> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, planned)) = made.get_mut(&step).filter(|(of, _)| Arc::ptr_eq(of, world) || of == world) {
            // The next look is at the same one.
            of.clone_from(world);
            return Ok(Arc::clone(planned));
        }
        let cells = plan::cells(self.loaded, step, world)?;
        let planned = Arc::new(Planned::of(cells, self.capabilities));
        made.insert(step, (Arc::clone(world), Arc::clone(&planned)));
        Ok(planned)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::scenario;

    #[test]
    fn a_step_is_planned_again_only_for_another_world() {
        let loaded = scenario::select(&["ingress-two-namespaces".to_owned()]).unwrap().remove(0);
        let capabilities = Capabilities::default();
        let plans = Plans::new(&loaded, &capabilities);
        let world = plan::world(&loaded.scenario.lab);
        let first = plans.of(0, &Arc::new(world.clone())).unwrap();
        assert!(first.probed.len() > 1 && first.skipped.is_empty() && first.order.len() == first.probed.len());
        let same = plans.of(0, &Arc::new(world.clone())).unwrap();
        assert!(Arc::ptr_eq(&first, &same));

        let mut moved = world;
        moved.pods.iter_mut().for_each(|pod| pod.addresses = vec!["10.9.9.9".parse().unwrap()]);
        let other = plans.of(0, &Arc::new(moved)).unwrap();
        assert!(other.probed.iter().all(|cell| cell.target.as_ref().is_some_and(|target| target.host() == "10.9.9.9")));
    }

    #[test]
    fn what_the_lab_cannot_do_is_skipped_with_the_reason() {
        let loaded = scenario::select(&["ingress-two-namespaces".to_owned()]).unwrap().remove(0);
        let mut world = plan::world(&loaded.scenario.lab);
        world.pods.iter_mut().for_each(|pod| pod.addresses.clear());
        let nothing = Capabilities::default();
        let planned = Plans::new(&loaded, &nothing).of(0, &Arc::new(world)).unwrap();
        assert!(planned.probed.is_empty() && planned.skipped.len() == planned.order.len());
        assert!(planned.skipped.iter().all(|(_, reason)| !reason.is_empty()));
    }
}
