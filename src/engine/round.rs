//! One round: every source's batch at once, and the witnesses before, during and after it. What a round proves is
//! decided elsewhere.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use futures::{
    StreamExt,
    future::{join, join_all, try_join_all},
    stream::BoxStream,
};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    sessions::{Lane, Lease, Sessions},
    track::Attempt,
    witness::{Sample, ServerKey},
};
use crate::{
    lab::{LabError, Source},
    probe::{Answer, Observation, Outcome, Request, Session, Target},
};

/// How long after the last connect limit a batch may still answer, before what is open counts as lost.
const GIVE_UP: Duration = Duration::from_secs(15);
/// Samples that one process of a witness takes: a period being a third of the shortest window, they last as long as it.
const SAMPLES_A_PROCESS: u32 = 4;

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

/// What one source is asked as a witness, over and over.
#[derive(Clone, Debug)]
pub(super) struct Watching {
    /// The servers that it has to reach.
    pub(super) questions: BTreeMap<ServerKey, Question>,
    /// From one time to the next.
    pub(super) period: Duration,
}

impl Watching {
    /// The only server, where it is asked by address: of a name, one process would ask the name server only once.
    fn only_question(&self) -> Option<(&ServerKey, &Question)> {
        let (key, question) = self.questions.iter().next().filter(|_| self.questions.len() == 1)?;
        let by_address = matches!(&question.target, Target::Http { host, .. } if host.parse::<IpAddr>().is_ok());
        by_address.then_some((key, question))
    }
}

/// One server that a witness has to reach.
#[derive(Clone, Debug)]
pub(super) struct Question {
    /// What is asked.
    pub(super) target: Target,
    /// The identity that must answer.
    pub(super) identity: String,
    /// How long the connect may take.
    pub(super) limit: Duration,
}

impl Question {
    fn request(&self, nonces: &Nonces) -> Request {
        Request {
            target: self.target.clone(),
            nonce: nonces.next(),
            server: self.identity.clone(),
            connect_limit: self.limit,
            resolve_limit: self.limit,
        }
    }
}

/// Everything that is to happen in one round.
#[derive(Clone, Debug, Default)]
pub(super) struct Round {
    /// The cells' requests.
    pub(super) batches: BTreeMap<Source, Vec<Ask>>,
    /// The witnesses.
    pub(super) watches: BTreeMap<Source, Watching>,
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
}

/// Every witness' samples, in order of time.
pub(super) type Samples = BTreeMap<(Source, ServerKey), Vec<Sample>>;

/// Runs one round. New samples are added to `samples`; the latest of the round before serves as "before" where it is
/// recent enough. An error is one after which nothing more may be sent; everything else is a lost probe.
pub(super) async fn round(
    sessions: &Sessions,
    nonces: &Nonces,
    round: &Round,
    samples: &mut Samples,
) -> Result<BTreeMap<usize, CellSeen>, LabError> {
    let mut witnesses =
        try_join_all(round.watches.iter().map(|(source, watching)| Witnessing::begin(sessions, source, watching)))
            .await?;
    join_all(witnesses.iter_mut().filter(|witness| !witness.is_fresh(samples)).map(|witness| witness.ask(nonces)))
        .await;

    let done = CancellationToken::new();
    let batches = async {
        let seen = try_join_all(round.batches.iter().map(|(source, asks)| batch(sessions, source, asks))).await;
        done.cancel();
        seen
    };
    let (seen, _) =
        join(batches, join_all(witnesses.iter_mut().map(|witness| witness.keep_asking(nonces, &done)))).await;
    let seen = seen?;

    join_all(witnesses.iter_mut().map(|witness| witness.ask(nonces))).await;
    for witness in witnesses {
        for (key, sample) in witness.samples {
            samples.entry((witness.source.clone(), key)).or_default().push(sample);
        }
    }
    Ok(seen.into_iter().flatten().collect())
}

/// Makes one source's requests.
async fn batch(sessions: &Sessions, source: &Source, asks: &[Ask]) -> Result<Vec<(usize, CellSeen)>, LabError> {
    let requests: Vec<Request> = asks.iter().map(|ask| ask.request.clone()).collect();
    let mut found: Vec<Option<Attempt>> = vec![None; asks.len()];
    let mut commands: Vec<Option<String>> = vec![None; asks.len()];
    let mut why = "no answer came".to_owned();
    let mut started = Instant::now();
    match sessions.lease(source, Lane::Batch).await {
        Ok(mut lease) => {
            started = Instant::now();
            if let Some(session) = lease.session() {
                for (command, ask) in commands.iter_mut().zip(asks) {
                    *command = Some(session.command(&ask.request));
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
    for ((ask, attempt), command) in asks.iter().zip(found).zip(commands) {
        let attempt = attempt.unwrap_or_else(|| lost(&ask.request, &why));
        let cell = seen.entry(ask.cell).or_insert_with(|| CellSeen { started, attempts: Vec::new(), command });
        cell.attempts.push(attempt);
    }
    Ok(seen.into_iter().collect())
}

/// Makes a batch's requests at once, and reads their answers until the stream ends, or is as good as dead.
async fn listen(session: &mut dyn Session, requests: &[Request], take: impl FnMut(usize, Attempt)) {
    let longest =
        requests.iter().map(|request| request.connect_limit + request.resolve_limit).max().unwrap_or_default();
    read(session.probe(requests), requests, longest, take).await;
}

async fn read(
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

/// One source, at work as a witness.
struct Witnessing<'a> {
    source: &'a Source,
    watching: &'a Watching,
    lease: Option<Lease>,
    samples: Vec<(ServerKey, Sample)>,
}

impl<'a> Witnessing<'a> {
    async fn begin(sessions: &Sessions, source: &'a Source, watching: &'a Watching) -> Result<Self, LabError> {
        let lease = match sessions.lease(source, Lane::Witness).await {
            Ok(lease) => Some(lease),
            Err(error @ (LabError::RealMetadata { .. } | LabError::Cancelled)) => return Err(error),
            // A witness that cannot be asked is one that is not answered.
            Err(_) => None,
        };
        Ok(Self { source, watching, lease, samples: Vec::new() })
    }

    /// Whether everything was answered just now, in the round before.
    fn is_fresh(&self, samples: &Samples) -> bool {
        let now = Instant::now();
        self.watching.questions.keys().all(|key| {
            samples.get(&(self.source.clone(), key.clone())).and_then(|samples| samples.last()).is_some_and(|last| {
                last.answered() && now.saturating_duration_since(last.ended) <= self.watching.period
            })
        })
    }

    /// Asks everything once.
    async fn ask(&mut self, nonces: &Nonces) {
        let Some(session) = self.lease.as_mut().and_then(Lease::session) else { return };
        let requests: Vec<Request> =
            self.watching.questions.values().map(|question| question.request(nonces)).collect();
        let asked = Instant::now();
        let mut found: Vec<Option<Sample>> = vec![None; requests.len()];
        listen(session, &requests, |index, attempt| {
            let Observation { outcome, connect, .. } = attempt.observation;
            found[index].get_or_insert(Sample { asked, ended: attempt.ended, outcome, connect });
        })
        .await;
        let lost = Sample { asked, ended: Instant::now(), outcome: Outcome::ProbeLost, connect: None };
        if found.iter().all(Option::is_none)
            && let Some(lease) = self.lease.take()
        {
            // The source gets a new session in the next round.
            lease.discard();
        }
        let keys = self.watching.questions.keys().cloned();
        self.samples.extend(keys.zip(found.into_iter().map(|sample| sample.unwrap_or(lost))));
    }

    /// Asks everything again and again, until the batches are done.
    async fn keep_asking(&mut self, nonces: &Nonces, done: &CancellationToken) {
        let mut next = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = done.cancelled() => return,
                () = sleep_until(next) => {}
            }
            if self.lease.is_none() {
                return;
            }
            match self.watching.only_question() {
                Some((key, question)) => self.sample(key, question, nonces).await,
                None => self.ask(nonces).await,
            }
            next = Instant::now() + self.watching.period;
        }
    }

    /// Asks one server several times with one process: starting it takes longer than all its requests.
    async fn sample(&mut self, key: &ServerKey, question: &Question, nonces: &Nonces) {
        let Some(session) = self.lease.as_mut().and_then(Lease::session) else { return };
        let requests: Vec<Request> = (0..SAMPLES_A_PROCESS).map(|_| question.request(nonces)).collect();
        // A request begins after the answer to the one before; when exactly, only the process knows.
        let mut asked = Instant::now();
        let samples = &mut self.samples;
        let mut answered = 0;
        let period = self.watching.period;
        let longest = (question.limit + period) * SAMPLES_A_PROCESS;
        read(session.watch(&requests, period), &requests, longest, |_, attempt| {
            let Observation { outcome, connect, .. } = attempt.observation;
            samples.push((key.clone(), Sample { asked, ended: attempt.ended, outcome, connect }));
            asked = attempt.ended;
            answered += 1;
        })
        .await;
        if answered == 0
            && let Some(lease) = self.lease.take()
        {
            lease.discard();
        }
    }
}
