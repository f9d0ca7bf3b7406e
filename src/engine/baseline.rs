//! What a scenario's baseline takes over from the scenario before, and what it leaves to the next one.

use std::{borrow::Cow, collections::BTreeMap};

use super::{
    CellResult, StepResult,
    heritage::Heritage,
    plan::PlannedCell,
    step::{Course, Staged},
};
use crate::{lab::World, scenario::Tier, text::Text};

impl Staged<'_> {
    /// Takes cells out of a baseline that were found as they should be before; the scenario that did so, if there are any.
    pub(super) fn inherit(
        &self,
        cells: &mut Cow<'_, [PlannedCell]>,
        records: &mut BTreeMap<Text, CellResult>,
        world: &World,
        course: &mut Course<'_>,
    ) -> Option<String> {
        // Who asks along with the document wants to see each answer, and what is not judged is no pass.
        let may = !self.rules.show_answers && self.loaded.scenario.tier == Tier::Required;
        let before = course.before.take().filter(|_| may)?;
        let mut left = Vec::new();
        for cell in cells.iter() {
            let Some(result) = before.result(cell, world) else {
                left.push(cell.clone());
                continue;
            };
            course.history.set_baseline(cell, true);
            let decided_by = self.decided_by(0, cell);
            records.insert(result.id.clone(), CellResult { decided_by, ..result.clone() });
        }
        *cells = Cow::Owned(left);
        (!records.is_empty()).then(|| before.scenario().to_owned())
    }

    /// What the next scenario of the lane need not find out again. The course is over.
    pub(super) fn bequeath(&self, restored: &StepResult, course: &mut Course<'_>) -> Option<Heritage> {
        let ground = self.stage.ground()?;
        let world = self.stage.world();
        let planned = self.plans.of(0, &world).ok()?;
        let history = std::mem::take(&mut course.history);
        Some(Heritage::new(&self.loaded.scenario.id, (ground, world), history, &planned.probed, &restored.cells))
    }
}
