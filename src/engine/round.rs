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

use futures::{StreamExt, future::try_join_all, stream::BoxStream};
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
    /// The literal command of the first of them, where it was wanted and there was a session to ask.
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

/// Makes every source's requests at once, and says with which commands, where somebody wants to know. An error is one after
/// which nothing more may be sent; everything else is a lost probe.
pub(super) async fn volley(
    sessions: &Arc<Sessions>,
    batches: BTreeMap<(Source, How), Vec<Ask>>,
    says_commands: bool,
) -> Result<BTreeMap<usize, CellSeen>, LabError> {
    let batches = batches.into_iter().map(|(by, asks)| batch(sessions, by, asks, says_commands));
    Ok(try_join_all(batches).await?.into_iter().flatten().collect())
}

/// Makes the requests of one source and one kind of session.
async fn batch(
    sessions: &Arc<Sessions>,
    (source, how): (Source, How),
    asks: Vec<Ask>,
    says_commands: bool,
) -> Result<Vec<(usize, CellSeen)>, LabError> {
    let (cells, requests): (Vec<usize>, Vec<Request>) = asks.into_iter().map(|ask| (ask.cell, ask.request)).unzip();
    let mut found: Vec<Option<Attempt>> = vec![None; requests.len()];
    let mut commands: Vec<Option<(String, Means)>> = vec![None; requests.len()];
    let mut why = "no answer came".to_owned();
    let mut started = Instant::now();
    match sessions.lease(&source, how).await {
        Ok(mut lease) => {
            started = Instant::now();
            if let Some(session) = lease.session() {
                let mut shown = BTreeSet::new();
                for ((cell, request), command) in cells.iter().zip(&requests).zip(&mut commands) {
                    if says_commands && shown.insert(*cell) {
                        *command = Some((session.command(request), session.means(request)));
                    }
                }
                listen(session, &requests, |index, attempt| {
                    if let Some(slot) = found.get_mut(index) {
                        slot.get_or_insert(attempt);
                    }
                })
                .await;
            }
            if found.iter().all(|found| found.as_ref().is_none_or(|it| it.observation.outcome == Outcome::ProbeLost)) {
                lease.discard();
            }
        }
        Err(error @ (LabError::RealMetadata { .. } | LabError::Cancelled)) => return Err(error),
        Err(error) => why = error.to_string(),
    }
    let mut seen: BTreeMap<usize, CellSeen> = BTreeMap::new();
    for (((cell, request), attempt), command) in cells.into_iter().zip(requests).zip(found).zip(commands) {
        let attempt = attempt.unwrap_or_else(|| lost(request, &why));
        let (command, means) = command.unzip();
        let cell = seen.entry(cell).or_insert_with(|| CellSeen { started, attempts: Vec::new(), command, means });
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

fn lost(request: Request, why: &str) -> Attempt {
    Attempt { nonce: request.nonce, observation: Observation::lost(Some(why.to_owned())), ended: Instant::now() }
}
