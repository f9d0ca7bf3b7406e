//! Who may time connects when: one scenario at a time, because those of another slow them down, and the canary after the
//! scenarios that have begun, because nobody waits for it while they are played.

use tokio::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard};

/// The order in which a run's connects are timed.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    timing: Mutex<()>,
    ready: RwLock<()>,
}

impl Quiet {
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
