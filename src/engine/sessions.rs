//! The open sessions of one stage. A source has as many as it ever needed at the same time: for its batches, and for
//! what it does as a witness meanwhile. They are opened when first needed and kept over the steps.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::future::join_all;

use crate::{
    lab::{LabError, Source, Stage},
    probe::Session,
};

/// The open sessions of one stage.
pub(super) struct Sessions {
    stage: Arc<dyn Stage>,
    sources: Mutex<BTreeMap<Source, Place>>,
}

/// The sessions of one source.
#[derive(Default)]
struct Place {
    /// Those that nobody uses, the one that has rested longest first.
    idle: Vec<Box<dyn Session>>,
    /// How often the source was replaced: older sessions are of no use.
    replaced: u64,
}

/// A session that is this holder's alone until it is dropped.
pub(super) struct Lease {
    sessions: Arc<Sessions>,
    source: Source,
    replaced: u64,
    session: Option<Box<dyn Session>>,
}

impl Lease {
    /// The session; none once it was discarded.
    pub(super) fn session(&mut self) -> Option<&mut dyn Session> {
        match &mut self.session {
            Some(session) => Some(session.as_mut()),
            None => None,
        }
    }

    /// Closes a session that answers nothing any more.
    pub(super) fn discard(mut self) {
        self.session = None;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else { return };
        let mut sources = self.sessions.sources();
        let place = sources.entry(self.source.clone()).or_default();
        if place.replaced == self.replaced {
            place.idle.push(session);
        }
    }
}

impl Sessions {
    /// No session yet.
    #[must_use]
    pub(super) fn new(stage: Arc<dyn Stage>) -> Self {
        Self { stage, sources: Mutex::default() }
    }

    /// A session of a source: one that nobody uses, or a new one.
    pub(super) async fn lease(self: &Arc<Self>, source: &Source) -> Result<Lease, LabError> {
        let (idle, replaced) = {
            let mut sources = self.sources();
            let place = sources.entry(source.clone()).or_default();
            ((!place.idle.is_empty()).then(|| place.idle.remove(0)), place.replaced)
        };
        let session = match idle {
            Some(session) => session,
            None => self.stage.open(source).await?,
        };
        Ok(Lease { sessions: Arc::clone(self), source: source.clone(), replaced, session: Some(session) })
    }

    /// Sees to it that each source has so many sessions that nobody uses. One that cannot be opened is tried again when
    /// it is needed, and fails there.
    pub(super) async fn open(self: &Arc<Self>, wanted: &BTreeMap<Source, usize>) {
        let leases = wanted.iter().flat_map(|(source, count)| (0..*count).map(move |_| self.lease(source)));
        // They are given back together, or one would be opened for all.
        drop(join_all(leases).await);
    }

    /// Forgets the sessions of a source that is about to be replaced.
    pub(super) fn forget(&self, source: &Source) {
        let mut sources = self.sources();
        let place = sources.entry(source.clone()).or_default();
        place.replaced += 1;
        place.idle.clear();
    }

    fn sources(&self) -> MutexGuard<'_, BTreeMap<Source, Place>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
