//! The open sessions of one stage. A source has two: one for its batches, one for what it does as a witness at the same
//! time. They are opened when first needed and kept over the steps.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures::future::join_all;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use crate::{
    lab::{LabError, Source, Stage},
    probe::Session,
};

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    /// The cells' own requests.
    Batch,
    /// A witness' requests.
    Witness,
}

type Slot = Arc<AsyncMutex<Option<Box<dyn Session>>>>;

/// The open sessions of one stage.
pub(super) struct Sessions {
    stage: Arc<dyn Stage>,
    slots: Mutex<BTreeMap<(Source, Lane), Slot>>,
}

/// A session that is this holder's alone until it is dropped.
pub(super) struct Lease(OwnedMutexGuard<Option<Box<dyn Session>>>);

impl Lease {
    /// The session; none once it was discarded.
    pub(super) fn session(&mut self) -> Option<&mut dyn Session> {
        match &mut *self.0 {
            Some(session) => Some(session.as_mut()),
            None => None,
        }
    }

    /// Closes a session that answers nothing any more. The next lease opens a new one.
    pub(super) fn discard(mut self) {
        *self.0 = None;
    }
}

impl Sessions {
    /// No session yet.
    #[must_use]
    pub(super) fn new(stage: Arc<dyn Stage>) -> Self {
        Self { stage, slots: Mutex::new(BTreeMap::new()) }
    }

    /// The session of a source, opened where it is not yet.
    pub(super) async fn lease(&self, source: &Source, lane: Lane) -> Result<Lease, LabError> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry((source.clone(), lane)).or_default())
        };
        let mut guard = slot.lock_owned().await;
        if guard.is_none() {
            *guard = Some(self.stage.open(source).await?);
        }
        Ok(Lease(guard))
    }

    /// Opens many sessions at once. One that cannot be opened is tried again when it is needed, and fails there.
    pub(super) async fn open(&self, wanted: impl IntoIterator<Item = (Source, Lane)>) {
        join_all(wanted.into_iter().map(|(source, lane)| async move {
            let _ = self.lease(&source, lane).await;
        }))
        .await;
    }

    /// Forgets the sessions of a source that is about to be replaced.
    pub(super) fn forget(&self, source: &Source) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|(other, _), _| other != source);
    }
}
