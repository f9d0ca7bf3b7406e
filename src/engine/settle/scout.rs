//! Before the rounds of a large table: short attempts of some cells that a change turns, until they look as expected. They
//! prove nothing. Whole rounds that come too early would, and would keep a busy machine from enforcing what they wait for.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::{
    super::{
        Expectation, calibrate,
        history::History,
        plan::{Connection, PlannedCell},
        round::volley,
        sessions::How,
        track::looks_good,
    },
    ask::Plan,
    rounds::Settling,
    table::Occasion,
};
use crate::{lab::LabError, probe::Means};

/// How long scouts are sent at most: what has not turned by then is for whole rounds to find.
const SCOUTING: Duration = Duration::from_secs(1);
/// From the start of one scout to the start of the next.
const PACE: Duration = Duration::from_millis(20);
/// A scout waits for this part of a denied attempt's window: the window is at least ten times the slowest connect.
const PART: u32 = 4;

impl Settling<'_> {
    /// Waits until the cells that this step turns look as expected, or for a moment. Processes are too slow for this.
    pub(super) async fn scout(&self, history: &History) -> Result<(), LabError> {
        if self.table.occasion == Occasion::Baseline || self.how != How::Mixed(Means::Agent) || self.setting.strict {
            return Ok(());
        }
        let until = self.table.deadline.min(Instant::now() + SCOUTING);
        let judged = 0..self.table.cells.len();
        let (mut sources, mut servers) = (BTreeSet::new(), BTreeSet::new());
        let mut turning: Vec<usize> = judged
            .filter(|index| self.turns(self.cells[*index], history))
            // Policies take effect by pod: one cell from each and one to each tell as much as all, and keep nobody busy.
            .filter(|index| sources.insert(&self.cells[*index].from) | servers.insert(&self.cells[*index].server))
            .collect();
        while !turning.is_empty() && Instant::now() < until {
            let began = Instant::now();
            let mut plan = Plan::default();
            for index in &turning {
                let limit = calibrate::window(history.slowest(self.cells[*index]), None, false) / PART;
                self.request(*index, (limit, Duration::ZERO), 1, &mut plan);
            }
            let seen = volley(self.setting.sessions, &plan.batches(self.setting.nonces)).await?;
            turning.retain(|index| seen.get(index).is_none_or(|seen| !looks_good(self.cells[*index], &seen.attempts)));
            if !turning.is_empty() {
                sleep_until(began + PACE).await;
            }
        }
        Ok(())
    }

    /// Whether a cell was last seen to be other than this step expects. What the CNI is known to treat otherwise may never be.
    fn turns(&self, cell: &PlannedCell, history: &History) -> bool {
        let is_known = self.setting.known.is_some_and(|known| known.covers(self.setting.scenario, &cell.id));
        let is_plain = cell.connection == Connection::New && !cell.by_name && cell.source_port.is_none();
        let turned = match cell.expectation {
            Expectation::Blocked => history.was_reached(cell),
            Expectation::Reachable | Expectation::Status { .. } => history.was_stopped(cell),
            _ => false,
        };
        turned && is_plain && !is_known
    }
}
