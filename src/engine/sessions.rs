//! The open sessions of one stage. A source has as many as it ever needed at the same time: for its batches, and for
//! what it does as a witness meanwhile. They are opened when first needed and kept over the steps.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::time::timeout;

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
}

/// A session that is this holder's alone until it is dropped.
pub(super) struct Lease {
    sessions: Arc<Sessions>,
    source: Source,
    how: How,
    ticket: Ticket,
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
        self.sessions.resting.give(&self.source, self.ticket, (self.how, session));
    }
}

impl Sessions {
    /// No session yet.
    #[must_use]
    pub(super) fn new(stage: Arc<dyn Stage>) -> Self {
        Self { stage, resting: Pool::default() }
    }

    /// A session of a source: one that nobody uses, or a new one.
    pub(super) async fn lease(self: &Arc<Self>, source: &Source, how: How) -> Result<Lease, LabError> {
        let (idle, ticket) = self.resting.take(source, |(kind, _)| *kind == how);
        let opening = async {
            match how {
                How::Curl => self.stage.open(source).await,
                How::Mixed(prefer) => self.stage.open_fast(source, prefer).await,
            }
        };
        let late = || Err(anyhow::anyhow!("no session opens within {} s", OPENING.as_secs()).into());
        let session = if let Some((_, session)) = idle {
            session
        } else {
            timeout(OPENING, opening).await.unwrap_or_else(|_| late())?
        };
        Ok(Lease { sessions: Arc::clone(self), source: source.clone(), how, ticket, session: Some(session) })
    }

    /// Sees to it that each source has so many sessions that nobody uses. One that cannot be opened is tried again when
    /// it is needed, and fails there.
    pub(super) async fn open(self: &Arc<Self>, wanted: &BTreeMap<(Source, How), usize>) {
        let leases =
            wanted.iter().flat_map(|((source, how), count)| (0..*count).map(move |_| self.lease(source, *how)));
        // They are given back together, or one would be opened for all.
        drop(join_all(leases).await);
    }

    /// Forgets the sessions of a source that is about to be replaced.
    pub(super) fn forget(&self, source: &Source) {
        self.resting.forget(source);
    }
}
