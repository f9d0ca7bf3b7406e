//! What a scenario does before a step needs it: sessions are opened, witnesses ask, paths are timed that are denied later.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::{
    Expectation,
    history::{History, PathKey},
    plan::{Connection, PlannedCell},
    plans::Planned,
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
            let planned = self.planned(index, &world);
            let cells = &planned.probed;
            let blocked = |cell: &&PlannedCell| cell.expectation.is_absence();
            let overlap = usize::from(purpose == Purpose::Overlap && cells.iter().any(|cell| blocked(&cell)));
            let how = self.rules.probe.how(cells);
            for cell in cells {
                let count = wanted.entry((cell.from.clone(), how)).or_default();
                *count = (*count).max(1 + overlap);
            }
            let answered = answered(cells);
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
        let planned = self.planned(index, &world);
        let cells = &planned.probed;
        let (occasion, since) = (Occasion::Change, Instant::now());
        let table = Table { step: name, occasion, cells, calibration: &[], world: &world, since, deadline: since };
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
        let (world, count) = (self.stage.world(), self.loaded.scenario.steps.len());
        let steps: Vec<Arc<Planned>> = (0..count).map(|index| self.planned(index, &world)).collect();
        let (baseline, later) = steps.split_at(usize::from(self.occasion(0) == Occasion::Baseline));
        let known = baseline.iter().flat_map(|step| &step.probed).filter(|cell| cell.connection == Connection::New);
        let mut paths: BTreeSet<PathKey> = known.map(PathKey::of).collect();
        later
            .iter()
            .flat_map(|step| &step.probed)
            .filter(|cell| cell.expectation == Expectation::Blocked && !history.is_timed(cell))
            .filter(|cell| paths.insert(PathKey::of(cell)))
            // The path is the same from every port, and over UDP a node would take what comes from this one for known.
            .map(|cell| PlannedCell { expectation: Expectation::Recorded, source_port: None, ..cell.clone() })
            .collect()
    }
}
