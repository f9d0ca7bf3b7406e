//! One volley: every source's batch at once. What it proves, with what the witnesses saw meanwhile, is decided
//! elsewhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{
    StreamExt,
    future::{try_join, try_join_all},
    stream::BoxStream,
};
use tokio::time::{Instant, timeout};

use super::{
    sessions::{How, Sessions},
    track::Attempt,
};
use crate::{
    lab::{LabError, Source},
    probe::{Answer, Means, Observation, Outcome, Request, Session},
};

/// How long after the last connect limit a batch may still answer, before what is open counts as lost.
pub(super) const GIVE_UP: Duration = Duration::from_secs(15);

/// Nonces of one run: unique, and recognisable as its own.
#[derive(Debug)]
pub(super) struct Nonces {
    run: String,
    next: AtomicU64,
}

impl Nonces {
    /// The nonces of a run.
    #[must_use]
    pub(super) fn new(run: &str) -> Self {
        Self { run: run.to_owned(), next: AtomicU64::new(1) }
    }

    /// The next one.
    pub(super) fn next(&self) -> String {
        format!("{}-{}", self.run, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// One request of one cell.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    /// The cell's index.
    pub(super) cell: usize,
    /// The request.
    pub(super) request: Request,
}

/// What was seen of one cell in one round.
#[derive(Clone, Debug)]
pub(super) struct CellSeen {
    /// When its batch began.
    pub(super) started: Instant,
    /// Its attempts, lost ones included.
    pub(super) attempts: Vec<Attempt>,
    /// The literal command of the first of them, where there was a session to ask.
    pub(super) command: Option<String>,
    /// What made the first of them.
    pub(super) means: Option<Means>,
}

impl CellSeen {
    /// When the last attempt was over.
    pub(super) fn ended(&self) -> Option<Instant> {
        self.attempts.iter().map(|attempt| attempt.ended).max()
    }
}

/// Makes every source's requests at once. An error is one after which nothing more may be sent; everything else is a lost
/// probe.
pub(super) async fn volley(
    sessions: &Arc<Sessions>,
    how: How,
    batches: &BTreeMap<Source, Vec<Ask>>,
) -> Result<BTreeMap<usize, CellSeen>, LabError> {
    let seen = try_join_all(batches.iter().map(|(source, asks)| batch(sessions, how, source, asks))).await?;
    Ok(seen.into_iter().flatten().collect())
}

/// Makes one source's requests: those over connections that stay in the session that keeps them.
async fn batch(
    sessions: &Arc<Sessions>,
    how: How,
    source: &Source,
    asks: &[Ask],
) -> Result<Vec<(usize, CellSeen)>, LabError> {
    let (kept, free): (Vec<Ask>, Vec<Ask>) = asks.iter().cloned().partition(|ask| ask.request.keep.is_some());
    let by_lease = async {
        if free.is_empty() {
            return Ok(Vec::new());
        }
        seen(&free, sessions.lease(source, how).await, async |mut lease| {
            let talk = talk(lease.session(), &free).await;
            if talk.is_lost() {
                lease.discard();
            }
            talk
        })
        .await
    };
    let by_keeper = async {
        if kept.is_empty() {
            return Ok(Vec::new());
        }
        seen(&kept, sessions.keeper(source).await, async |mut keeper| {
            let talk = match &mut *keeper {
                Some(session) => talk(Some(session.as_mut()), &kept).await,
                None => talk(None, &kept).await,
            };
            if talk.is_lost() {
                *keeper = None;
            }
            talk
        })
        .await
    };
    let (mut all, kept) = try_join(by_lease, by_keeper).await?;
    all.extend(kept);
    Ok(all)
}

/// What a session said of some requests.
struct Talk {
    started: Instant,
    found: Vec<Option<Attempt>>,
    /// Of the first request of each cell.
    commands: Vec<Option<(String, Means)>>,
}

impl Talk {
    fn about(asks: &[Ask]) -> Self {
        Self { started: Instant::now(), found: vec![None; asks.len()], commands: vec![None; asks.len()] }
    }

    fn is_lost(&self) -> bool {
        let is_lost = |attempt: &Attempt| attempt.observation.outcome == Outcome::ProbeLost;
        self.found.iter().all(|found| found.as_ref().is_none_or(is_lost))
    }
}

async fn talk(session: Option<&mut dyn Session>, asks: &[Ask]) -> Talk {
    let mut talk = Talk::about(asks);
    let Some(session) = session else { return talk };
    let mut shown = BTreeSet::new();
    for (command, ask) in talk.commands.iter_mut().zip(asks).filter(|(_, ask)| shown.insert(ask.cell)) {
        *command = Some((session.command(&ask.request), session.means(&ask.request)));
    }
    let requests: Vec<Request> = asks.iter().map(|ask| ask.request.clone()).collect();
    listen(session, &requests, |index, attempt| {
        if let Some(slot) = talk.found.get_mut(index) {
            slot.get_or_insert(attempt);
        }
    })
    .await;
    talk
}

/// What was seen of each cell, where a session could be had; without one every request is lost.
async fn seen<S>(
    asks: &[Ask],
    session: Result<S, LabError>,
    talk: impl AsyncFnOnce(S) -> Talk,
) -> Result<Vec<(usize, CellSeen)>, LabError> {
    let (talk, why) = match session {
        Ok(session) => (talk(session).await, "no answer came".to_owned()),
        Err(error @ (LabError::RealMetadata { .. } | LabError::Cancelled)) => return Err(error),
        Err(error) => (Talk::about(asks), error.to_string()),
    };
    let Talk { started, found, commands } = talk;
    let mut seen: BTreeMap<usize, CellSeen> = BTreeMap::new();
    for ((ask, attempt), command) in asks.iter().zip(found).zip(commands) {
        let attempt = attempt.unwrap_or_else(|| lost(&ask.request, &why));
        let (command, means) = command.unzip();
        let cell = seen.entry(ask.cell).or_insert_with(|| CellSeen { started, attempts: Vec::new(), command, means });
        cell.attempts.push(attempt);
    }
    Ok(seen.into_iter().collect())
}

/// Makes a batch's requests at once, and reads their answers until the stream ends, or is as good as dead.
pub(super) async fn listen(session: &mut dyn Session, requests: &[Request], take: impl FnMut(usize, Attempt)) {
    let limit = |request: &Request| request.connect_limit + request.resolve_limit;
    let in_turn = |request: &&Request| request.source_port.is_some() || request.keep.is_some();
    let (own, free): (Vec<_>, Vec<_>) = requests.iter().partition(in_turn);
    let one_by_one: Duration = own.into_iter().map(limit).sum();
    let longest = free.into_iter().map(limit).max().unwrap_or_default().max(one_by_one);
    read(session.probe(requests), requests, longest, take).await;
}

pub(super) async fn read(
    mut answers: BoxStream<'_, Answer>,
    requests: &[Request],
    longest: Duration,
    mut take: impl FnMut(usize, Attempt),
) {
    let reading = async {
        while let Some(answer) = answers.next().await {
            if let Some(request) = requests.get(answer.index) {
                let ended = Instant::from_std(answer.at);
                take(answer.index, Attempt { nonce: request.nonce.clone(), observation: answer.observation, ended });
            }
        }
    };
    let _ = timeout(longest + GIVE_UP, reading).await;
}

fn lost(request: &Request, why: &str) -> Attempt {
    Attempt {
        nonce: request.nonce.clone(),
        observation: Observation::lost(Some(why.to_owned())),
        ended: Instant::now(),
    }
}
