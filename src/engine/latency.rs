//! Pure: how long policies took to have their effect, over all cells of a run whose expectation a step turned round.
//!
//! What was as expected before a step says nothing of how soon the step took effect, and is left out.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{CellResult, Expectation, ScenarioResult, Verdict};

/// How long some cells took, in milliseconds: from the end of a step's last action to the start of the first round in which
/// the cell was as expected, and stayed so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Latency {
    /// How many cells there were.
    pub cells: usize,
    /// The median.
    pub p50_ms: u64,
    /// What all but one in twenty did not exceed.
    pub p95_ms: u64,
    /// The slowest.
    pub max_ms: u64,
}

/// The latencies of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Latencies {
    /// From allowed to denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforced: Option<Latency>,
    /// From denied to allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened: Option<Latency>,
    /// Of new pods whose first packets must be denied: until when some were answered, for as many as that happened to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaked: Option<Leaks>,
    /// Of new pods whose first packets must be allowed: from their first instruction, or from when their address was
    /// known, to the first attempt that was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connected: Option<Latency>,
}

/// New pods that could send what a policy denies, or that it reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Leaks {
    /// How many cells there were.
    pub cells: usize,
    /// From the pod's first instruction, or from when its address was known, to the last attempt that was answered, over the
    /// cells that leaked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Latency>,
}

impl Latencies {
    /// Those of the cells that passed, and of first packets.
    #[must_use]
    pub fn of(scenarios: &[Arc<ScenarioResult>]) -> Self {
        let (mut enforced, mut opened) = (Vec::new(), Vec::new());
        for scenario in scenarios {
            let mut before: BTreeMap<&str, bool> = BTreeMap::new();
            for cell in scenario.steps.iter().flat_map(|step| &step.cells) {
                let Some(denied) = is_denied(cell) else { continue };
                let turned = before.insert(&cell.id, denied).is_some_and(|was_denied| was_denied != denied);
                if let (true, Verdict::Pass, Some(settled)) = (turned, cell.verdict, cell.settled_ms) {
                    if denied { &mut enforced } else { &mut opened }.push(settled);
                }
            }
        }
        let (leaked, connected) = of_first_packets(scenarios);
        Self { enforced: latency(enforced), opened: latency(opened), leaked, connected }
    }
}

fn of_first_packets(scenarios: &[Arc<ScenarioResult>]) -> (Option<Leaks>, Option<Latency>) {
    let cells = scenarios.iter().flat_map(|scenario| &scenario.steps).flat_map(|step| &step.cells);
    let conclusive = cells.filter(|cell| !matches!(cell.verdict, Verdict::Inconclusive | Verdict::NotEnforcing));
    let (mut denied, mut until, mut connected) = (0, Vec::new(), Vec::new());
    for (cell, first) in conclusive.filter_map(|cell| Some((cell, cell.first_packets?))) {
        if cell.expectation == Expectation::Blocked {
            denied += 1;
            until.extend(first.last_ms);
        } else {
            connected.extend(first.first_ms);
        }
    }
    ((denied > 0).then(|| Leaks { cells: denied, until: latency(until) }), latency(connected))
}

fn is_denied(cell: &CellResult) -> Option<bool> {
    match cell.expectation {
        Expectation::Blocked => Some(true),
        Expectation::Reachable => Some(false),
        _ => None,
    }
}

fn latency(mut times: Vec<u64>) -> Option<Latency> {
    times.sort_unstable();
    let at = |percent: usize| times.get((times.len() * percent).div_ceil(100).saturating_sub(1)).copied();
    Some(Latency { cells: times.len(), p50_ms: at(50)?, p95_ms: at(95)?, max_ms: at(100)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::{FirstPackets, FirstSince},
        report::testing,
    };

    #[test]
    fn only_cells_that_a_step_turned_round_count() {
        let mut scenario = testing::passing().scenarios.remove(0);
        // The cells of the last step, `restored`, did not hold.
        let steps = Arc::make_mut(&mut scenario).steps.iter_mut();
        for (step, settled) in steps.zip([Some(0), Some(120), Some(250), None]) {
            Arc::make_mut(step).cells.iter_mut().for_each(|cell| cell.settled_ms = settled);
        }
        let all = |cells, time| Some(Latency { cells, p50_ms: time, p95_ms: time, max_ms: time });
        let expected = Latencies { enforced: all(2, 120), opened: all(1, 250), ..Latencies::default() };
        assert_eq!(Latencies::of(&[scenario]), expected, "and not what was allowed all the time");
        assert_eq!(Latencies::of(&[]), Latencies::default());
    }

    #[test]
    fn leaks_are_counted_and_timed_apart() {
        let mut scenario = testing::passing().scenarios.remove(0);
        let figures = [(Some(10), Some(300)), (None, None)];
        let step = Arc::make_mut(&mut Arc::make_mut(&mut scenario).steps[1]);
        let cells = step.cells.iter_mut().filter(|cell| cell.expectation == Expectation::Blocked);
        for (cell, (first_ms, last_ms)) in cells.zip(figures) {
            cell.first_packets =
                Some(FirstPackets { since: FirstSince::Instruction, attempts: 9, reached: 3, first_ms, last_ms });
        }
        let found = Latencies::of(&[scenario]);
        let until = Some(Latency { cells: 1, p50_ms: 300, p95_ms: 300, max_ms: 300 });
        assert_eq!((found.leaked, found.connected), (Some(Leaks { cells: 2, until }), None));
    }

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let of = |times: &[u64]| latency(times.to_vec()).map(|it| (it.p50_ms, it.p95_ms, it.max_ms));
        assert_eq!(of(&[7]), Some((7, 7, 7)));
        assert_eq!(of(&(1..=100).rev().collect::<Vec<_>>()), Some((50, 95, 100)));
        assert_eq!(of(&[]), None);
    }
}
