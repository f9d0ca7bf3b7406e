//! Before the rounds of a large table: short attempts of some cells that a change turns, until they look as expected. They
//! prove nothing. Whole rounds that come too early would, and would keep a busy machine from enforcing what they wait for.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::{
    super::{
        Expectation, calibrate, history::History, plan::PlannedCell, round::volley, sessions::How, track::looks_good,
    },
    ask::Plan,
    rounds::Settling,
    table::Occasion,
};
use crate::{
    lab::{LabError, ServerId, Source},
    probe::Means,
};

/// How long scouts are sent at most: what has not turned by then is for whole rounds to find.
const SCOUTING: Duration = Duration::from_secs(1);
/// From the start of one scout to the start of the next.
const PACE: Duration = Duration::from_millis(20);
/// A scout of what is to be denied waits for this part of a denied attempt's window, which is ten times the slowest connect or more, and
/// for most paths 50 times: one that gives up too early costs a round.
const DENIED_PART: u32 = 8;
/// The same for one of what is to be answered: one that gives up too early costs another.
const OPENED_PART: u32 = 4;

/// An end of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End<'a> {
    From(&'a Source),
    To(&'a ServerId),
}

/// Of some cells those that tell as much as all, and keep nobody busy: policies take effect by pod, so it is one for each end that
/// most of the cells have in common.
fn enough<'a>(cells: impl IntoIterator<Item = (usize, [End<'a>; 2])>) -> Vec<usize> {
    let mut left: Vec<(usize, [End<'a>; 2])> = cells.into_iter().collect();
    let mut chosen = Vec::new();
    while !left.is_empty() {
        let mut counts: BTreeMap<End<'a>, usize> = BTreeMap::new();
        left.iter().flat_map(|(_, ends)| ends).for_each(|end| *counts.entry(*end).or_default() += 1);
        let Some((common, _)) = counts.into_iter().max_by_key(|(_, count)| *count) else { break };
        chosen.extend(left.iter().find(|(_, ends)| ends.contains(&common)).map(|(index, _)| *index));
        left.retain(|(_, ends)| !ends.contains(&common));
    }
    chosen
}

impl Settling<'_> {
    /// Waits until the cells that this step turns look as expected, or for a moment. Processes are too slow for this.
    pub(super) async fn scout(&self, turning: &[usize], history: &History) -> Result<(), LabError> {
        if self.table.occasion == Occasion::Baseline || self.how != How::Mixed(Means::Agent) || self.setting.strict {
            return Ok(());
        }
        let until = self.table.deadline.min(Instant::now() + SCOUTING);
        let mut turning = enough(turning.iter().map(|index| {
            let cell = self.cells[*index];
            (*index, [End::From(&cell.from), End::To(&cell.server)])
        }));
        while !turning.is_empty() && Instant::now() < until {
            let began = Instant::now();
            let mut plan = Plan::default();
            for index in &turning {
                let cell = self.cells[*index];
                let part = if cell.expectation.is_absence() { DENIED_PART } else { OPENED_PART };
                let limit = calibrate::window(history.slowest(cell), None, false) / part;
                self.request(*index, (limit, Duration::ZERO), 1, &mut plan);
            }
            let seen = volley(self.setting.sessions, plan.batches(self.setting.nonces), false).await?;
            turning.retain(|index| seen.get(index).is_none_or(|seen| !looks_good(self.cells[*index], &seen.attempts)));
            if !turning.is_empty() {
                sleep_until(began + PACE).await;
            }
        }
        Ok(())
    }

    /// Whether a cell was last seen to be other than this step expects. What the CNI is known to treat otherwise may never be.
    pub(super) fn turns(&self, cell: &PlannedCell, history: &History) -> bool {
        let is_plain = cell.is_asked_at_once() && !cell.by_name;
        let turned = match cell.expectation {
            Expectation::Blocked => history.was_reached(cell),
            Expectation::Reachable | Expectation::Status { .. } => history.was_stopped(cell),
            _ => false,
        };
        turned && is_plain && !self.is_known(cell)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(cells: &[(&str, &str)]) -> Vec<usize> {
        let source = |name: &&str| Source::Pod("x".to_owned(), (*name).to_owned());
        let server = |name: &&str| ServerId::Pod("x".to_owned(), (*name).to_owned());
        let cells: Vec<(Source, ServerId)> = cells.iter().map(|(from, to)| (source(from), server(to))).collect();
        enough(cells.iter().map(|(from, to)| [End::From(from), End::To(to)]).enumerate())
    }

    #[test]
    fn one_cell_is_enough_for_a_pod_that_a_policy_closes() {
        assert_eq!(chosen(&[]), [0; 0]);
        assert_eq!(chosen(&[("a", "d"), ("b", "d"), ("c", "d")]), [0], "into d");
        assert_eq!(chosen(&[("a", "b"), ("a", "c"), ("a", "d")]), [0], "from a");
        assert_eq!(chosen(&[("a", "d"), ("b", "d"), ("c", "d"), ("c", "a"), ("c", "b"), ("c", "e")]).len(), 2);
        let all: Vec<_> = ["a", "b", "c"].into_iter().flat_map(|from| ["a", "b", "c"].map(|to| (from, to))).collect();
        assert_eq!(chosen(&all).len(), 3, "from all, or into all");
    }
}
