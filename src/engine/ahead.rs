//! What a scenario does before a step needs it: sessions are opened, witnesses ask, paths are timed that are denied later.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::{
    Expectation,
    history::{History, PathKey},
    plan::{self, Connection, PlannedCell},
    sessions::How,
    settle::{Occasion, Table, anticipate},
    step::{Course, Staged},
    witness::{answered, candidates},
};
use crate::lab::{LabError, Source};

/// What sessions are opened for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// One a source, for its batches.
    Batches,
    /// Also one for whoever is a witness of a denial.
    Witnesses,
    /// Also one more for each source of tables with denials, whose volleys overlap.
    Overlap,
}

impl Staged<'_> {
    /// Opens the sessions that the scenario will need at first, at once.
    pub(super) async fn open_sessions(&self) {
        self.sessions.open(&self.sessions_for(Purpose::Batches)).await;
    }

    /// Begins to open more of them.
    pub(super) fn open_ahead(&self, purpose: Purpose, course: &mut Course<'_>) {
        let opening = tokio::spawn(self.sessions.open(&self.sessions_for(purpose)));
        course.opening.push(AbortOnDropHandle::new(opening));
    }

    /// How many sessions of each kind the scenario needs.
    fn sessions_for(&self, purpose: Purpose) -> BTreeMap<(Source, How), usize> {
        let (world, from_nodes) = (self.stage.world(), self.probes_nodes());
        let mut wanted: BTreeMap<(Source, How), usize> = BTreeMap::new();
        for index in 0..self.loaded.scenario.steps.len() {
            let (cells, _) = self.split(plan::cells(self.loaded, index, &world).unwrap_or_default());
            let blocked = |cell: &&PlannedCell| cell.expectation.is_absence();
            let overlap = usize::from(purpose == Purpose::Overlap && cells.iter().any(|cell| blocked(&cell)));
            let how = self.rules.probe.how(&cells);
            for cell in &cells {
                let count = wanted.entry((cell.from.clone(), how)).or_default();
                *count = (*count).max(1 + overlap);
            }
            let answered = answered(&cells);
            for cell in cells.iter().filter(blocked).filter(|_| purpose != Purpose::Batches) {
                if let Some(witness) = candidates(&answered, cell, &world, from_nodes).into_iter().next() {
                    wanted.insert((witness.source, how), 2 + overlap);
                }
            }
        }
        wanted
    }

    /// Has the witnesses of a step ask before its actions have their effect, where the step's cells are known already.
    pub(super) fn anticipate(&self, index: usize, name: &str, course: &mut Course<'_>) {
        let world = self.stage.world();
        let (cells, _) = self.split(plan::cells(self.loaded, index, &world).unwrap_or_default());
        let (occasion, since) = (Occasion::Change, Instant::now());
        let table =
            Table { step: name, occasion, cells: &cells, calibration: &[], world: &world, since, deadline: since };
        anticipate(&self.setting(), &table, &course.history, &mut course.watches);
    }

    /// Calibrates the paths that later steps deny, without judging anything.
    pub(super) async fn calibrate(&self, course: &mut Course<'_>) -> Result<(), LabError> {
        let calibration = self.denied_later(&course.history);
        if calibration.is_empty() {
            return Ok(());
        }
        let (world, since) = (self.stage.world(), Instant::now());
        let (step, deadline) = ("calibration", since + self.rules.limit);
        let occasion = Occasion::Baseline;
        let table = Table { step, occasion, cells: &[], calibration: &calibration, world: &world, since, deadline };
        self.settle(&table, course).await.map(drop)
    }

    /// Cells that are denied in some step and not expected by the baseline, as far as their pods are there already and their
    /// paths were not timed yet.
    pub(super) fn denied_later(&self, history: &History) -> Vec<PlannedCell> {
        let world = self.stage.world();
        let steps = &self.loaded.scenario.steps;
        let first = usize::from(self.occasion(0) == Occasion::Baseline);
        let known = if first == 1 { plan::cells(self.loaded, 0, &world).unwrap_or_default() } else { Vec::new() };
        let known = known.iter().filter(|cell| cell.connection == Connection::New);
        let mut paths: BTreeSet<PathKey> = known.map(PathKey::of).collect();
        let later = (first..steps.len()).flat_map(|index| plan::cells(self.loaded, index, &world).unwrap_or_default());
        let (later, _) = self.split(later.collect());
        later
            .into_iter()
            .filter(|cell| cell.expectation == Expectation::Blocked && !history.is_timed(cell))
            .filter(|cell| paths.insert(PathKey::of(cell)))
            // The path is the same from every port, and over UDP a node would take what comes from this one for known.
            .map(|cell| PlannedCell { expectation: Expectation::Recorded, source_port: None, ..cell })
            .collect()
    }
}
