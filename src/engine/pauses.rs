//! Pure: how long a busy machine has lately kept witnesses without an answer. Whenever it does, it does so to all of them, and
//! a round needs all of them: windows that are only made longer where a gap was would be too short elsewhere the next time.

use std::time::Duration;

/// How much longer than a gap between a witness's answers a window has to be that bridges the next one.
const MARGIN: f64 = 1.25;
/// A longer gap is one witness's own: its path is slow, or loses something. A shorter one is bridged at once, whoever else could
/// be asked: to try everybody in turn takes longer than a window that is a little longer.
const LONGEST: Duration = Duration::from_millis(400);
/// What is left of a pause after a table with denials that has settled without one.
const RECOVERY: f64 = 0.8;

/// A window that bridges a gap.
#[must_use]
pub(super) fn bridging(gap: Duration) -> Duration {
    gap.mul_f64(MARGIN)
}

/// The pauses of a machine, from one table to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pauses {
    longest: Duration,
}

impl Pauses {
    /// Takes a gap in that has made a round void.
    pub(super) fn note(&mut self, gap: Duration) {
        if gap <= LONGEST {
            self.longest = self.longest.max(gap);
        }
    }

    /// A table with denials has settled without a gap.
    pub(super) fn recover(&mut self) {
        self.longest = self.longest.mul_f64(RECOVERY);
    }

    /// What the window of a denied attempt should have at least.
    #[must_use]
    pub(super) fn shortest_window(self) -> Duration {
        bridging(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn windows_bridge_the_longest_pause_of_late() {
        let mut pauses = Pauses::default();
        assert_eq!(pauses.shortest_window(), Duration::ZERO);
        pauses.note(ms(200));
        pauses.note(ms(120));
        assert_eq!(pauses.shortest_window(), ms(250));
        pauses.recover();
        assert_eq!(pauses.shortest_window(), ms(200));
    }

    #[test]
    fn what_one_witness_misses_for_long_says_nothing_of_the_machine() {
        let mut pauses = Pauses::default();
        pauses.note(ms(1000));
        assert_eq!(pauses, Pauses::default());
        pauses.note(ms(401));
        assert_eq!(pauses, Pauses::default());
        pauses.note(ms(400));
        assert_eq!(pauses.shortest_window(), ms(500));
    }
}
