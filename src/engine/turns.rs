//! How many tables are probed at the same time: one for each lane, and fewer where a machine is too busy for that. What is probed
//! while it pauses has to be probed again, so that lanes in each other's way are slower than one alone.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

/// So many rounds with witnesses in a row, none of them void, are taken for a machine that has time for one more table.
const CALM: u32 = 8;

/// The turns of a run's tables, in the order in which they are asked for.
#[derive(Debug)]
pub(super) struct Turns {
    free: Semaphore,
    pace: Mutex<Pace>,
    lanes: usize,
}

#[derive(Debug)]
struct Pace {
    /// How many tables are probed at once.
    most: usize,
    /// Turns that are to go when they end.
    surplus: usize,
    /// Rounds since the last one that was void.
    calm: u32,
    /// When there were last made fewer.
    fewer: Instant,
}

/// For one round of one table, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    permit: Option<SemaphorePermit<'a>>,
    began: Instant,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut pace = self.turns.pace();
        if pace.surplus > 0 {
            pace.surplus -= 1;
            self.permit.take().into_iter().for_each(SemaphorePermit::forget);
        }
    }
}

impl Turn<'_> {
    /// Takes in how a round with witnesses was.
    pub(super) fn was(&self, void: bool) {
        let (turns, mut pace) = (self.turns, self.turns.pace());
        if !void {
            pace.calm += 1;
            if pace.calm >= CALM && pace.most < turns.lanes {
                (pace.calm, pace.most) = (0, pace.most + 1);
                if pace.surplus > 0 {
                    pace.surplus -= 1;
                } else {
                    turns.free.add_permits(1);
                }
            }
            return;
        }
        pace.calm = 0;
        // One pause makes void what all lanes have under way.
        if pace.most > 1 && self.began >= pace.fewer {
            (pace.most, pace.surplus, pace.fewer) = (pace.most - 1, pace.surplus + 1, Instant::now());
        }
    }
}

impl Turns {
    /// The turns of so many lanes.
    #[must_use]
    pub(super) fn of(lanes: usize) -> Self {
        let lanes = lanes.max(1);
        let pace = Pace { most: lanes, surplus: 0, calm: 0, fewer: Instant::now() };
        Self { free: Semaphore::new(lanes), pace: Mutex::new(pace), lanes }
    }

    /// A turn, if nobody has to be waited for.
    pub(super) fn at_once(&self) -> Option<Turn<'_>> {
        self.free.try_acquire().ok().map(|permit| self.turn(Some(permit)))
    }

    /// The next turn.
    pub(super) async fn next(&self) -> Turn<'_> {
        // It is never closed.
        self.turn(self.free.acquire().await.ok())
    }

    fn turn<'a>(&'a self, permit: Option<SemaphorePermit<'a>>) -> Turn<'a> {
        Turn { turns: self, permit, began: Instant::now() }
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::time::Duration;

    use super::*;

    /// How many turns can be had at once.
    fn at_once(turns: &Turns) -> usize {
        let mut had = Vec::new();
        while let Some(turn) = turns.at_once() {
            had.push(turn);
        }
        had.len()
    }

    async fn round(turns: &Turns, void: bool) {
        let turn = turns.next().await;
        tokio::time::advance(Duration::from_millis(1)).await;
        turn.was(void);
    }

    #[tokio::test(start_paused = true)]
    async fn each_lane_has_a_turn_until_rounds_are_void() {
        let turns = Turns::of(3);
        assert_eq!(at_once(&turns), 3);
        round(&turns, true).await;
        assert_eq!(at_once(&turns), 2);
        for _ in 0..5 {
            round(&turns, true).await;
        }
        assert_eq!(at_once(&turns), 1, "there is always one");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_all_lanes_meet_is_one() {
        let turns = Turns::of(4);
        let had = [turns.next().await, turns.next().await, turns.next().await];
        tokio::time::advance(Duration::from_millis(1)).await;
        for turn in &had {
            turn.was(true);
        }
        drop(had);
        assert_eq!(at_once(&turns), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_calm_machine_gets_its_lanes_back_and_no_more() {
        let turns = Turns::of(2);
        round(&turns, true).await;
        for _ in 0..CALM {
            assert_eq!(at_once(&turns), 1);
            round(&turns, false).await;
        }
        assert_eq!(at_once(&turns), 2);
        for _ in 0..3 * CALM {
            round(&turns, false).await;
        }
        assert_eq!(at_once(&turns), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_goes_before_who_comes() {
        let turns = Turns::of(1);
        let first = turns.at_once().unwrap();
        let mut waiting = std::pin::pin!(turns.next());
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        drop(first);
        assert!(turns.at_once().is_none());
        assert!(futures::poll!(waiting.as_mut()).is_ready());
    }
}
