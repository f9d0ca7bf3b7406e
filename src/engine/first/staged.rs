//! First packets of a step that is played.

use std::collections::BTreeMap;

use super::{
    super::{
        CellResult,
        plan::{self, ClusterState},
        record::keeps_log,
        step::{Staged, missing},
    },
    First, Grounds, PodName, Seen, record,
};
use crate::{lab::LabError, scenario::Tier};

impl Staged<'_> {
    /// What the pods that a step creates ask from their first instruction on. Servers are asked at the addresses that they
    /// have before.
    pub(in crate::engine) fn first_packets(&self, index: usize) -> Result<First, LabError> {
        let step = self.loaded.scenario.steps.get(index).filter(|step| step.expect.iter().any(|it| it.first_packets));
        let Some(step) = step else { return Ok(First::default()) };
        let broken = |error: plan::PlanError| LabError::Broken { message: error.to_string(), hint: error.hint };
        let now = self.stage.world();
        let mut then = ClusterState::new(now.clone());
        then.advance(self.loaded, step).map_err(broken)?;
        let planned = plan::cells(self.loaded, index, then.world()).map_err(broken)?;
        let (first, others): (Vec<_>, Vec<_>) = planned.into_iter().partition(|cell| cell.first);
        let possible = first.into_iter().filter(|cell| missing(&cell.needs, self.capabilities).is_none());
        Ok(First::new(possible.collect(), &others, &now, self.probes_nodes(), self.nonces))
    }

    /// The records of what new pods asked.
    pub(in crate::engine) async fn conclude_first(
        &self,
        index: usize,
        first: &First,
        said: &BTreeMap<PodName, Vec<String>>,
        seen: &Seen,
    ) -> Vec<CellResult> {
        let attempts = first.attempts(said);
        let logs = self.seen(first.denied(&attempts).into_iter().filter(|(server, _)| keeps_log(server))).await;
        let judged = self.loaded.scenario.tier == Tier::Required;
        let grounds = Grounds { logs: &logs, judged, enforcing: self.rules.enforcing };
        first
            .cells(&attempts, seen)
            .map(|(cell, attempts, witness)| record(cell, attempts, witness, grounds, self.decided_by(index, cell)))
            .collect()
    }
}
