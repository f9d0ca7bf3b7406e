//! One step's table: what is probed, what for, and how it ended.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::super::{
    Events,
    history::PathKey,
    plan::PlannedCell,
    quiet::Quiet,
    round::Nonces,
    sessions::{ProbeWith, Sessions},
    track::{Hold, Track},
};
use crate::{lab::World, profile::Known};

/// What a table is probed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Occasion {
    /// Before any policy: windows and loss are calibrated.
    Baseline,
    /// After a step's actions.
    Change,
    /// The baseline again, once everything was taken back.
    Restored,
}

/// What stays the same over the steps of a scenario.
#[derive(Clone, Copy)]
pub(in crate::engine) struct Setting<'a> {
    /// The stage's sessions.
    pub(in crate::engine) sessions: &'a Arc<Sessions>,
    /// The run's nonces.
    pub(in crate::engine) nonces: &'a Arc<Nonces>,
    /// The order in which connects are timed.
    pub(in crate::engine) quiet: &'a Quiet,
    /// Where rounds are told of.
    pub(in crate::engine) events: &'a Events,
    /// The scenario's id.
    pub(in crate::engine) scenario: &'a str,
    /// Whether probes can start in nodes.
    pub(in crate::engine) from_nodes: bool,
    /// Whole seconds instead of calibrated windows.
    pub(in crate::engine) strict: bool,
    /// What probes are made with.
    pub(in crate::engine) probe: ProbeWith,
    /// What a table has to hold after a change.
    pub(in crate::engine) hold: Hold,
    /// The paths of the cells that the scenario denies, over all steps.
    pub(in crate::engine) denied: &'a [PathKey],
    /// What the CNI is known to do otherwise.
    pub(in crate::engine) known: Option<&'a Known>,
    /// `false` once the canary has found that no policy is enforced.
    pub(in crate::engine) enforcing: bool,
}

/// One step's table.
pub(in crate::engine) struct Table<'a> {
    /// The step's name.
    pub(in crate::engine) step: &'a str,
    /// What it is probed for.
    pub(in crate::engine) occasion: Occasion,
    /// The cells to probe.
    pub(in crate::engine) cells: &'a [PlannedCell],
    /// Further cells, probed in the baseline only to calibrate what later steps deny.
    pub(in crate::engine) calibration: &'a [PlannedCell],
    /// The names and addresses.
    pub(in crate::engine) world: &'a World,
    /// When the last action ended.
    pub(in crate::engine) since: Instant,
    /// When it must have settled.
    pub(in crate::engine) deadline: Instant,
}

impl Table<'_> {
    /// Whether anything is to be denied, so that witnesses are needed.
    #[must_use]
    pub(super) fn denies(&self) -> bool {
        self.cells.iter().any(|cell| cell.expectation.is_absence())
    }
}

impl Settled {
    /// Of a table of which nothing is left to be probed.
    #[must_use]
    pub(in crate::engine) fn already() -> Self {
        Self { tracks: Vec::new(), after: Some(Duration::ZERO), rounds: 0, hold: Hold::ONCE }
    }
}

/// How a table ended.
pub(in crate::engine) struct Settled {
    /// The cells, in the table's order.
    pub(in crate::engine) tracks: Vec<Track>,
    /// From the end of the last action to the start of the hold; none where the table never settled.
    pub(in crate::engine) after: Option<Duration>,
    /// Rounds, void ones included.
    pub(in crate::engine) rounds: u32,
    /// What each cell had to hold.
    pub(in crate::engine) hold: Hold,
}
