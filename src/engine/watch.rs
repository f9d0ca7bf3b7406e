//! Witnesses at work: each asks its servers over and over for as long as a table is probed, beside the batches. What
//! their samples prove is `witness`' business.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::join_all;
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};

use super::{
    round::{GIVE_UP, Nonces, listen, read},
    sessions::{How, Lease, Sessions},
    witness::{Sample, ServerKey},
};
use crate::{
    lab::{LabError, Source},
    probe::{Means, Outcome, Request, Target, direct::WATCH_LINGER, is_direct},
};

/// Samples of a witness that are kept from one round to the next. In a round all are, however long it takes: the first of
/// them were before it.
const SAMPLES_KEPT: usize = 16;
/// Samples that one process takes, at least and at most. Starting it costs more than its requests, and what is left of
/// them when the table is settled is of no use.
const SAMPLES_A_PROCESS: (u32, u32) = (4, 64);

/// What one source is asked as a witness, over and over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Watching {
    /// The servers that it has to reach.
    pub(super) questions: BTreeMap<ServerKey, Question>,
    /// From one time to the next.
    pub(super) period: Duration,
}

impl Watching {
    /// Whether who asks this need not be told to ask that: the same servers, often enough and not much too often.
    fn serves(&self, wanted: &Self) -> bool {
        let is_same = |(key, question): (&ServerKey, &Question)| {
            wanted.questions.get(key).is_some_and(|wanted| {
                (&question.target, &question.identity) == (&wanted.target, &wanted.identity)
                    && question.limit >= wanted.limit
            })
        };
        self.questions.len() == wanted.questions.len()
            && self.questions.iter().all(is_same)
            && self.period <= wanted.period
            && wanted.period <= self.period * 4
    }

    /// The only server.
    fn only_question(&self) -> Option<(&ServerKey, &Question)> {
        self.questions.iter().next().filter(|_| self.questions.len() == 1)
    }
}

/// One server that a witness has to reach.
#[derive(Clone, Debug, PartialEq, Eq)]
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
        let (target, server) = (self.target.clone(), self.identity.clone());
        Request { resolve_limit: self.limit, ..Request::new(target, nonces.next(), server, self.limit) }
    }
}

/// Who asks, and which server, where one is asked alone.
type Post = (Source, Option<ServerKey>);

/// Every witness' samples, in the order in which they came.
pub(super) type Samples = BTreeMap<(Source, ServerKey), Vec<Sample>>;

/// The witnesses of a scenario's tables, one after the other, and what they have seen.
pub(super) struct Watches {
    sessions: Arc<Sessions>,
    /// How those who are at work ask.
    how: How,
    nonces: Arc<Nonces>,
    board: Arc<Board>,
    running: BTreeMap<Post, Running>,
}

/// Where witnesses write what they see.
#[derive(Default)]
struct Board {
    samples: Mutex<Samples>,
    /// An error after which nothing more may be sent.
    fatal: Mutex<Option<LabError>>,
    changed: Notify,
}

/// A witness at work; it stops when this is dropped.
struct Running {
    watching: Watching,
    since: Instant,
    task: JoinHandle<()>,
}

impl Running {
    /// Whether it has this source ask this server.
    fn asks(&self, (by, _): &Post, source: &Source, key: &ServerKey) -> bool {
        by == source && self.watching.questions.contains_key(key)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watches {
    /// Nobody yet.
    #[must_use]
    pub(super) fn new(sessions: Arc<Sessions>, nonces: Arc<Nonces>) -> Self {
        Self { sessions, how: How::Curl, nonces, board: Arc::default(), running: BTreeMap::new() }
    }

    /// Begins a table. Who is at work may be wanted again; what the others have seen is of the past.
    pub(super) fn begin(&mut self, how: How) {
        if self.how != how {
            self.running.clear();
            self.how = how;
        }
        let running = &self.running;
        self.samples().retain(|(source, key), _| running.iter().any(|(post, one)| one.asks(post, source, key)));
    }

    /// Whether this source is at work and was answered by this server when it last asked.
    pub(super) fn is_answered(&self, source: &Source, key: &ServerKey) -> bool {
        let last = |samples: &Vec<Sample>| samples.last().is_some_and(Sample::answered);
        self.running.iter().any(|(post, one)| one.asks(post, source, key))
            && self.samples().get(&(source.clone(), key.clone())).is_some_and(last)
    }

    /// What was seen so far.
    pub(super) fn samples(&self) -> MutexGuard<'_, Samples> {
        lock(&self.board.samples)
    }

    /// Begins a round: has exactly these sources watch, for about `duration`. Whoever asks the same already just goes on.
    pub(super) fn set(&mut self, wanted: &BTreeMap<Source, Watching>, duration: Duration) {
        for samples in self.samples().values_mut() {
            samples.drain(..samples.len().saturating_sub(SAMPLES_KEPT));
        }
        let wanted = self.posts(wanted);
        self.running.retain(|post, running| wanted.get(post).is_some_and(|wanted| running.watching.serves(wanted)));
        for (post, watching) in wanted {
            let (source, _) = &post;
            let worker = Worker {
                sessions: Arc::clone(&self.sessions),
                how: self.how,
                nonces: Arc::clone(&self.nonces),
                board: Arc::clone(&self.board),
                source: source.clone(),
                watching: watching.clone(),
                duration,
            };
            self.running.entry(post).or_insert_with(|| Running {
                watching,
                since: Instant::now(),
                task: tokio::spawn(worker.work()),
            });
        }
    }

    /// Open probers ask each server by itself, so that one that is slow to answer leaves no gap with the others. A process
    /// for each would cost too much.
    fn posts(&self, wanted: &BTreeMap<Source, Watching>) -> BTreeMap<Post, Watching> {
        let mut posts: BTreeMap<Post, Watching> = BTreeMap::new();
        for (source, Watching { questions, period }) in wanted {
            for (key, question) in questions {
                let alone = is_alone(self.how, question).then(|| key.clone());
                let post = posts.entry((source.clone(), alone));
                let watching = post.or_insert_with(|| Watching { questions: BTreeMap::new(), period: *period });
                watching.questions.insert(key.clone(), question.clone());
            }
        }
        posts
    }

    /// Waits until everybody has just been answered, or has just seen that it is not.
    pub(super) async fn before(&self) -> Result<(), LabError> {
        let longest = self.running.values().flat_map(|running| running.watching.questions.values());
        let longest = longest.map(|question| question.limit * 2).max().unwrap_or_default();
        // Whoever says nothing at all has answered nothing.
        let _ = timeout(longest + GIVE_UP, async {
            loop {
                let changed = self.board.changed.notified();
                if self.is_fatal() || self.running.iter().all(|((source, _), running)| self.is_fresh(source, running)) {
                    return;
                }
                changed.await;
            }
        })
        .await;
        lock(&self.board.fatal).take().map_or(Ok(()), Err)
    }

    /// Asks everything once more, beside the watching, so that an answer comes after all that was tried.
    pub(super) async fn after(&self) {
        let mut asked: BTreeMap<&Source, BTreeMap<ServerKey, Question>> = BTreeMap::new();
        for ((source, _), running) in &self.running {
            asked.entry(source).or_default().extend(running.watching.questions.clone());
        }
        join_all(asked.into_iter().map(|(source, questions)| async move {
            if let Ok(mut lease) = self.sessions.lease(source, self.how).await {
                self.board.ask(&mut lease, source, &questions, &self.nonces).await;
            }
        }))
        .await;
    }

    /// Has nobody watch any more, and waits until each has let go of its session.
    pub(super) async fn stop(&mut self) {
        let mut running = std::mem::take(&mut self.running);
        for Running { task, .. } in running.values() {
            task.abort();
        }
        join_all(running.values_mut().map(|running| &mut running.task)).await;
    }

    fn is_fatal(&self) -> bool {
        lock(&self.board.fatal).is_some()
    }

    fn is_fresh(&self, source: &Source, running: &Running) -> bool {
        let late = running.watching.period * 2 + WATCH_LINGER;
        let since = running.since.max(Instant::now().checked_sub(late).unwrap_or(running.since));
        let samples = self.samples();
        running.watching.questions.keys().all(|key| {
            let last = samples.get(&(source.clone(), key.clone())).and_then(|samples| samples.last());
            last.is_some_and(|last| last.ended >= since)
        })
    }
}

impl Board {
    fn add(&self, source: &Source, key: &ServerKey, sample: Sample) {
        lock(&self.samples).entry((source.clone(), key.clone())).or_default().push(sample);
        self.changed.notify_waiters();
    }

    /// Asks everything once; whether anything at all came back.
    async fn ask(
        &self,
        lease: &mut Lease,
        source: &Source,
        questions: &BTreeMap<ServerKey, Question>,
        nonces: &Nonces,
    ) -> bool {
        let requests: Vec<Request> = questions.values().map(|question| question.request(nonces)).collect();
        let asked = Instant::now();
        let mut found: Vec<Option<Sample>> = vec![None; requests.len()];
        if let Some(session) = lease.session() {
            listen(session, &requests, |index, attempt| {
                found[index].get_or_insert(Sample::of(asked, &attempt));
            })
            .await;
        }
        let heard = found.iter().any(Option::is_some);
        for (key, sample) in questions.keys().zip(found) {
            self.add(source, key, sample.unwrap_or_else(|| lost(asked)));
        }
        heard
    }
}

/// Whether a server is asked by an open prober, for which one more costs nothing.
fn is_alone(how: How, question: &Question) -> bool {
    how == How::Mixed(Means::Agent) && is_direct(&question.target)
}

/// What one witness does.
struct Worker {
    sessions: Arc<Sessions>,
    how: How,
    nonces: Arc<Nonces>,
    board: Arc<Board>,
    source: Source,
    watching: Watching,
    duration: Duration,
}

impl Worker {
    async fn work(self) {
        loop {
            let began = Instant::now();
            match self.sessions.lease(&self.source, self.how).await {
                Ok(mut lease) => {
                    // A session that says nothing is given up, and the source gets a new one.
                    while self.turn(&mut lease).await {}
                    lease.discard();
                }
                Err(error @ (LabError::RealMetadata { .. } | LabError::Cancelled)) => {
                    *lock(&self.board.fatal) = Some(error);
                    self.board.changed.notify_waiters();
                    return;
                }
                // A witness that cannot be asked is one that is not answered.
                Err(_) => self.watching.questions.keys().for_each(|key| {
                    self.board.add(&self.source, key, lost(began));
                }),
            }
            sleep_until(began + self.watching.period).await;
        }
    }

    /// Asks once, or for as long as one process does; whether anything came back.
    async fn turn(&self, lease: &mut Lease) -> bool {
        let began = Instant::now();
        // Of a name, one process would ask the name server only once.
        let is_steady =
            |question: &Question| is_alone(self.how, question) || question.target.host().parse::<IpAddr>().is_ok();
        let heard = match self.watching.only_question().filter(|(_, question)| is_steady(question)) {
            Some((key, question)) => self.sample(lease, key, question).await,
            None => self.board.ask(lease, &self.source, &self.watching.questions, &self.nonces).await,
        };
        sleep_until(began + self.watching.period).await;
        heard
    }

    /// Asks one server several times with one process.
    async fn sample(&self, lease: &mut Lease, key: &ServerKey, question: &Question) -> bool {
        let period = self.watching.period;
        let wanted = u32::try_from(self.duration.as_millis() / period.as_millis().max(1)).unwrap_or(u32::MAX);
        let count = wanted.clamp(SAMPLES_A_PROCESS.0, SAMPLES_A_PROCESS.1);
        let requests: Vec<Request> = (0..count).map(|_| question.request(&self.nonces)).collect();
        // Each was asked after this; when exactly, only the process knows.
        let asked = Instant::now();
        let mut heard = false;
        if let Some(session) = lease.session() {
            read(session.watch(&requests, period), &requests, (question.limit + period) * count, |_, attempt| {
                self.board.add(&self.source, key, Sample::of(asked, &attempt));
                heard = true;
            })
            .await;
        }
        if !heard {
            self.board.add(&self.source, key, lost(asked));
        }
        heard
    }
}

fn lost(asked: Instant) -> Sample {
    Sample { asked, ended: Instant::now(), outcome: Outcome::ProbeLost, connect: None, held: None, clock: None }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
