//! Who may probe when: as many tables at once as `turns` lets; of those whose connects are timed one at a time, because others slow
//! them down; and the canary after the scenarios that have begun, because nobody waits for it while they are played.

use tokio::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard};

use super::turns::Turns;

/// The order in which a run's tables are probed.
#[derive(Debug)]
pub(super) struct Quiet {
    /// The turns of all tables.
    pub(super) turns: Turns,
    timing: Mutex<()>,
    ready: RwLock<()>,
}

impl Quiet {
    /// Of so many scenarios side by side.
    #[must_use]
    pub(super) fn of(lanes: usize) -> Self {
        Self { turns: Turns::of(lanes), timing: Mutex::default(), ready: RwLock::default() }
    }

    /// For as long as connects are timed.
    pub(super) async fn timing(&self) -> MutexGuard<'_, ()> {
        self.timing.lock().await
    }

    /// From before a scenario's stage until its first table is told.
    pub(super) async fn ready(&self) -> RwLockReadGuard<'_, ()> {
        self.ready.read().await
    }

    /// Lets the scenarios that have begun get to their first tables.
    pub(super) async fn give_way(&self) {
        drop(self.ready.write().await);
    }
}
