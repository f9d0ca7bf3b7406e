//! First packets of a step that is played.

use std::collections::BTreeMap;

use super::{
    super::{
        CellResult, Expectation, FirstSince,
        plan::{self, ClusterState},
        record::keeps_log,
        step::Staged,
    },
    Approached, Asking, First, Found, Grounds, PodName, Seen, command, record,
};
use crate::{
    lab::{LabError, World},
    probe::Means,
    scenario::Tier,
};

impl Staged<'_> {
    /// What the pods that a step creates ask from their first instruction on. Servers are asked at the addresses that they
    /// have before.
    pub(in crate::engine) fn first_packets(&self, index: usize) -> Result<First, LabError> {
        let step = self.loaded.scenario.steps.get(index).filter(|step| step.expect.iter().any(|it| it.first_packets));
        let Some(step) = step else { return Ok(First::default()) };
        let broken = |error: plan::PlanError| LabError::Broken { message: error.to_string(), hint: error.hint };
        let now = self.stage.world();
        let mut then = ClusterState::new(World::clone(&now));
        then.advance(self.loaded, step).map_err(broken)?;
        let planned = plan::cells(self.loaded, index, then.world()).map_err(broken)?;
        let (first, others): (Vec<_>, Vec<_>) = planned.into_iter().partition(|cell| cell.first.is_some());
        let possible = first.into_iter().filter(|cell| plan::missing(&cell.needs, self.capabilities).is_none());
        Ok(First::new(possible.collect(), &others, (&now, then.world()), self.probes_nodes(), self.nonces))
    }

    /// By what means new pods are asked, and the servers that they ask.
    pub(in crate::engine) fn asking(&self) -> Asking<'_> {
        Asking { sessions: &self.sessions, how: self.rules.probe.how([]), nonces: self.nonces }
    }

    /// The records of what new pods asked, and were asked.
    pub(in crate::engine) async fn conclude_first(
        &self,
        index: usize,
        first: &First,
        said: &BTreeMap<PodName, Vec<String>>,
        seen: &Seen,
        approached: &[Approached],
    ) -> Vec<CellResult> {
        let attempts = first.attempts(said);
        let mut denied = first.denied(&attempts);
        for Approached { cell, attempts, .. } in
            approached.iter().filter(|it| it.cell.expectation == Expectation::Blocked)
        {
            denied.entry(cell.server.clone()).or_default().extend(attempts.iter().map(|attempt| attempt.nonce.clone()));
        }
        let logs = self.seen(denied.into_iter().filter(|(server, _)| keeps_log(server))).await;
        let judged = self.loaded.scenario.tier == Tier::Required;
        let grounds = Grounds { logs: &logs, judged, enforcing: self.rules.enforcing };
        let asked = first.cells(&attempts, seen).map(|(cell, attempts, witness)| {
            let (since, command) = (FirstSince::Instruction, (command(cell), Means::Curl));
            Found { cell, since, attempts, command, witness }
        });
        let were_asked = approached.iter().map(|Approached { cell, attempts, command, witness }| {
            let (command, means) = command.clone().unzip();
            let (since, command) = (FirstSince::Address, (command, means.unwrap_or(Means::Curl)));
            Found { cell, since, attempts, command, witness: witness.clone() }
        });
        let recorded = |found: Found<'_>| {
            let decided_by = self.decided_by(index, found.cell);
            record(found, grounds, decided_by)
        };
        asked.chain(were_asked).map(recorded).collect()
    }
}
