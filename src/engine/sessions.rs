//! The open sessions of one stage. A source has as many as it ever needed at the same time: for its batches, and for
//! what it does as a witness meanwhile. They are opened when first needed and kept over the steps.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::join_all;
use tokio::{
    sync::{Notify, OwnedMutexGuard},
    time::timeout,
};

use super::plan::PlannedCell;
use crate::{
    lab::{LabError, Source, Stage},
    pool::{Pool, Ticket},
    probe::{Means, Session, Target},
};

/// Tables of more cells than this are for open probers, where there is a choice.
const FEW: usize = 40;

/// In runs of more cells than this all tables are: to start so many processes would take most of the time.
const MANY: usize = 5_000;

/// How long a session may take to open, whatever it has to wait for: others wait for it.
const OPENING: Duration = Duration::from_secs(90);

/// What probes are made with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProbeWith {
    /// `curl` processes; what they cannot do goes by open probers.
    Curl,
    /// Open probers; what they cannot do goes by `curl`.
    Agent,
    /// Open probers for large runs, for large tables and for those with what is left to them anyway (UDP, ports of the
    /// source's own), `curl` for the others.
    #[default]
    Auto,
}

/// The kind of session that a table needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum How {
    /// One that makes every request with `curl`.
    Curl,
    /// One that chooses, and prefers this where it can.
    Mixed(Means),
    /// One that keeps connections. A source has one of them, which is had in turn.
    Keeper,
}

impl ProbeWith {
    /// The choice for a run of so many cells.
    #[must_use]
    pub(super) fn in_run_of(self, cells: usize) -> Self {
        if self == Self::Auto && cells > MANY { Self::Agent } else { self }
    }

    /// The kind of session for a table.
    #[must_use]
    pub(super) fn how<'a>(self, cells: impl IntoIterator<Item = &'a PlannedCell>) -> How {
        let (mut count, mut no_curl) = (0, false);
        for cell in cells {
            count += 1;
            // What is asked over a connection that stays has a session of its own.
            no_curl |= cell.source_port.is_some() || matches!(cell.target, Some(Target::Udp { .. }));
        }
        match self {
            Self::Agent => How::Mixed(Means::Agent),
            Self::Auto if count > FEW || no_curl => How::Mixed(Means::Agent),
            Self::Curl if no_curl => How::Mixed(Means::Curl),
            Self::Auto | Self::Curl => How::Curl,
        }
    }
}

/// The open sessions of one stage.
pub(super) struct Sessions {
    stage: Arc<dyn Stage>,
    resting: Pool<Source, (How, Box<dyn Session>)>,
    /// How many of each kind are being opened for whoever comes.
    coming: Mutex<BTreeMap<(Source, How), usize>>,
    came: Notify,
    /// Whose turn it is with a source's keeper of connections.
    turns: Mutex<BTreeMap<Source, Arc<tokio::sync::Mutex<()>>>>,
}

/// A session that is being opened for whoever comes.
struct Coming {
    sessions: Arc<Sessions>,
    key: (Source, How),
    ticket: Ticket,
}

impl Coming {
    async fn open(self) {
        let (source, how) = &self.key;
        if let Ok(session) = self.sessions.opened(source, *how).await {
            self.sessions.resting.give(source, self.ticket, (*how, session));
        }
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        if let Some(count) = self.sessions.coming().get_mut(&self.key) {
            *count = count.saturating_sub(1);
        }
        self.sessions.came.notify_waiters();
    }
}

/// A session that is this holder's alone until it is dropped.
pub(super) struct Lease {
    sessions: Arc<Sessions>,
    source: Source,
    how: How,
    ticket: Ticket,
    session: Option<Box<dyn Session>>,
    /// Given back after the session, with which the next one begins.
    _turn: Option<OwnedMutexGuard<()>>,
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
        self.sessions.resting.give(&self.source, self.ticket, (self.how, session));
    }
}

impl Sessions {
    /// No session yet.
    #[must_use]
    pub(super) fn new(stage: Arc<dyn Stage>) -> Self {
        Self { stage, resting: Pool::default(), coming: Mutex::default(), came: Notify::new(), turns: Mutex::default() }
    }

    /// A session of a source: one that nobody uses, one that is being opened, or else a new one.
    pub(super) async fn lease(self: &Arc<Self>, source: &Source, how: How) -> Result<Lease, LabError> {
        let turn = self.turn(source, how).await;
        let lease = |ticket, session| {
            let (sessions, source) = (Arc::clone(self), source.clone());
            Lease { sessions, source, how, ticket, session: Some(session), _turn: turn }
        };
        loop {
            let mut came = pin!(self.came.notified());
            came.as_mut().enable();
            let (idle, ticket) = self.resting.take(source, |(kind, _)| *kind == how);
            if let Some((_, session)) = idle {
                return Ok(lease(ticket, session));
            }
            if self.coming().get(&(source.clone(), how)).is_none_or(|count| *count == 0) {
                return Ok(lease(ticket, self.opened(source, how).await?));
            }
            came.await;
        }
    }

    /// A turn with a source's keeper, where such a session is wanted.
    async fn turn(&self, source: &Source, how: How) -> Option<OwnedMutexGuard<()>> {
        if how != How::Keeper {
            return None;
        }
        let turns =
            Arc::clone(self.turns.lock().unwrap_or_else(PoisonError::into_inner).entry(source.clone()).or_default());
        Some(turns.lock_owned().await)
    }

    async fn opened(&self, source: &Source, how: How) -> Result<Box<dyn Session>, LabError> {
        let opening = async {
            match how {
                How::Curl => self.stage.open(source).await,
                How::Mixed(prefer) => self.stage.open_fast(source, prefer).await,
                How::Keeper => self.stage.open_fast(source, Means::Agent).await,
            }
        };
        let late = || Err(anyhow::anyhow!("no session opens within {} s", OPENING.as_secs()).into());
        timeout(OPENING, opening).await.unwrap_or_else(|_| late())
    }

    /// Sees to it that each source has so many sessions that nobody uses, or will have them: what is missing is opened by
    /// the future, and whoever needs one meanwhile waits for it. One that cannot be opened is tried again when it is needed,
    /// and fails there.
    pub(super) fn open(
        self: &Arc<Self>,
        wanted: &BTreeMap<(Source, How), usize>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let mut coming = self.coming();
        let mut missing = Vec::new();
        for (key @ (source, how), wanted) in wanted {
            let (idle, ticket) = self.resting.count(source, |(kind, _)| kind == how);
            let count = coming.entry(key.clone()).or_default();
            for _ in (idle + *count)..*wanted {
                *count += 1;
                missing.push(Coming { sessions: Arc::clone(self), key: key.clone(), ticket });
            }
        }
        drop(coming);
        async move {
            join_all(missing.into_iter().map(Coming::open)).await;
        }
    }

    /// Forgets the sessions of a source that is about to be replaced.
    pub(super) fn forget(&self, source: &Source) {
        self.coming().retain(|(from, _), _| from != source);
        self.resting.forget(source);
        self.came.notify_waiters();
    }

    fn coming(&self) -> MutexGuard<'_, BTreeMap<(Source, How), usize>> {
        self.coming.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
