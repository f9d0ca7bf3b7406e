//! How long a table is waited for: beyond its deadline where only the machine is slow, and shorter where nothing can come
//! of it. Which servers are gone is found out in `gone`.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    super::{calibrate::PAST_RETRANSMISSION, history::History, plan::PlannedCell, round::CellSeen},
    rounds::Settling,
    table::Occasion,
};

/// A table that only a crowded machine keeps from its hold gets at least this much time beyond its deadline.
const BUSY_PATIENCE: Duration = Duration::from_secs(30);
/// From when on a cell is asked for the last time that the CNI is known to treat otherwise, or a denial where it enforces nothing:
/// most policies take effect sooner.
const KNOWN_PATIENCE: Duration = Duration::from_millis(700);
/// The same where the step turns other cells besides: they have shown when its policies take effect, and have held since.
const TOLD_PATIENCE: Duration = Duration::from_millis(400);
/// How long cells are waited for that were not reached before any policy.
pub(super) const LOST_PATIENCE: Duration = Duration::from_secs(3);

impl Settling<'_> {
    /// Whether nothing is waited for but cells that the CNI is known to treat otherwise, or of which nothing can be proved
    /// any more, and long enough.
    pub(super) fn waits_in_vain(&self, history: &History) -> bool {
        let waited = self.table.since.elapsed();
        let mut judged = self.table.cells.iter().zip(&self.tracks).zip(0..);
        self.table.occasion != Occasion::Baseline
            && self.asked.is_some_and(|asked| self.is_late(asked))
            && judged.all(|((cell, track), index)| {
                // One that is as expected after all has its hold to be waited for, also when a round of it was void.
                track.held(self.hold)
                    || (!track.is_good_or_void() && self.is_known(cell))
                    || (waited > LOST_PATIENCE && history.is_baseline_wrong(cell))
                    || self.is_gone(index, history)
            })
    }

    /// Whether what is wrong with a volley is known, and was waited for.
    pub(super) fn is_known_by_now(&self, wrong: &[(&PlannedCell, &CellSeen)]) -> bool {
        wrong.iter().all(|(cell, seen)| self.is_late(seen.started) && self.is_known(cell))
    }

    /// Whether what was asked then need not be asked again if it is known.
    fn is_late(&self, asked: Instant) -> bool {
        let patience = if self.turns_others { TOLD_PATIENCE } else { KNOWN_PATIENCE };
        asked.saturating_duration_since(self.table.since) >= patience
    }

    /// Whether the CNI is known to treat a cell otherwise than this change asks for.
    pub(super) fn is_known(&self, cell: &PlannedCell) -> bool {
        let setting = self.setting;
        let is_unenforced = !setting.enforcing && cell.expectation.is_absence();
        let is_deviation = || setting.known.is_some_and(|known| known.covers(setting.scenario, &cell.id));
        self.table.occasion == Occasion::Change && (is_unenforced || is_deviation())
    }

    /// Whether the server of a cell is gone.
    pub(super) fn is_gone(&self, index: usize, history: &History) -> bool {
        let key = &self.keys[index];
        let candidates = || self.candidates(index);
        self.answers.is_gone(key, candidates, (self.table.since, Instant::now()), history.was_gone(key))
    }

    /// How long after the deadline a busy machine may go on, while nothing that was seen speaks against the table.
    pub(super) fn patience(&self) -> Duration {
        let limit = self.table.deadline.saturating_duration_since(self.table.since);
        (limit * 2).max(BUSY_PATIENCE)
    }

    /// Whether a cell that should be reached has only had limits below a retransmission, or no witness yet.
    pub(super) fn is_given_up_early(&self) -> bool {
        let mut cells = self.tracks.iter().zip(&self.cells).zip(0..);
        cells.any(|((track, cell), index)| {
            let unseen = || track.cover.is_none() && track.seen_by.is_none() && !self.candidates(index).is_empty();
            cell.expects_answer() && track.failed_tries > 0 && (track.window < PAST_RETRANSMISSION || unseen())
        })
    }
}
