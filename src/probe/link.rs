//! An open prober at the other end of a byte stream: many calls over one stream, by their ids.
//!
//! The stream is opened by the first call, and again by the first call after it was lost. What was under way then has no
//! answers: lost, never denied.

use std::{
    any::Any,
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures::future::BoxFuture;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, Lines},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::AbortHandle,
    time::timeout,
};

use super::{
    AgentHost,
    direct::{Command, Finding, Report, Work},
};

/// How long a prober may take to say that it takes calls.
const PATIENCE: Duration = Duration::from_secs(10);

/// So many commands are written at once.
const TOGETHER: usize = 64;

/// The streams of a process somewhere else.
pub struct Wire {
    /// Its standard input.
    pub input: Box<dyn AsyncWrite + Send + Sync + Unpin>,
    /// Its standard output.
    pub output: Box<dyn AsyncRead + Send + Sync + Unpin>,
    /// Ends, with the reason, when the process does or when its connection is cut: the output alone may then never end.
    pub ended: BoxFuture<'static, String>,
    /// Whatever must live as long as the streams.
    pub holder: Box<dyn Any + Send + Sync>,
}

/// Starts a prober.
pub type Enter = Box<dyn Fn() -> BoxFuture<'static, Result<Wire, String>> + Send + Sync>;

/// The prober of one source, shared by all its sessions.
pub struct AgentLink {
    enter: Enter,
    open: tokio::sync::Mutex<Option<Open>>,
}

impl AgentLink {
    /// A prober that is started by the first call.
    #[must_use]
    pub fn new(enter: Enter) -> Self {
        Self { enter, open: tokio::sync::Mutex::new(None) }
    }

    /// Starts the prober now, if it does not run.
    pub async fn connect(&self) -> Result<(), String> {
        let mut open = self.open.lock().await;
        self.enter(&mut open).await.map(drop)
    }

    /// Asks the server whose control endpoint the prober finds here which of these nonces it has seen.
    pub async fn seen(&self, at: SocketAddr, nonces: &BTreeSet<String>) -> Result<BTreeSet<String>, String> {
        let nonces = nonces.clone();
        let (mut call, mut reports) = self.begin(|id| Command::Seen { id, at, nonces }).await?;
        while let Some(report) = reports.recv().await {
            if let Report::Seen { seen, .. } = report {
                call.over = true;
                return seen;
            }
        }
        Err(call.calls.reason())
    }

    async fn call(&self, work: Work, found: &UnboundedSender<Finding>) -> Result<usize, String> {
        let (mut call, mut reports) = self.begin(|id| Command::Call { id, work }).await?;
        while let Some(report) = reports.recv().await {
            match report {
                Report::Found { finding, .. } => drop(found.send(finding)),
                Report::Done { answered, .. } => {
                    call.over = true;
                    return Ok(answered);
                }
                Report::Ready { .. } | Report::Seen { .. } => {}
            }
        }
        Err(call.calls.reason())
    }

    async fn begin(&self, command: impl FnOnce(u64) -> Command) -> Result<(Call, UnboundedReceiver<Report>), String> {
        let mut open = self.open.lock().await;
        let open = self.enter(&mut open).await?;
        let (id, reports) = open.calls.enter()?;
        let call = Call { id, calls: Arc::clone(&open.calls), commands: open.commands.clone(), over: false };
        let _ = call.commands.send(command(id));
        Ok((call, reports))
    }

    async fn enter<'a>(&self, open: &'a mut Option<Open>) -> Result<&'a Open, String> {
        if open.as_ref().is_some_and(|open| open.calls.is_over()) {
            *open = None;
        }
        match open {
            Some(open) => Ok(open),
            None => Ok(open.insert(Open::start((self.enter)().await?).await?)),
        }
    }
}

/// A source's prober, as a session uses it.
#[derive(Clone)]
pub struct Linked {
    /// The prober.
    pub link: Arc<AgentLink>,
    /// How a person gets a command into the source.
    pub prefix: String,
}

#[async_trait]
impl AgentHost for Linked {
    async fn call(&mut self, work: Work, found: UnboundedSender<Finding>) -> Result<usize, String> {
        self.link.call(work, &found).await
    }

    fn prefix(&self) -> String {
        self.prefix.clone()
    }
}

/// A prober that takes calls. It ends when this is dropped, because its input does.
struct Open {
    commands: UnboundedSender<Command>,
    calls: Arc<Calls>,
    reading: AbortHandle,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

type Output = Lines<BufReader<Box<dyn AsyncRead + Send + Sync + Unpin>>>;

impl Open {
    async fn start(wire: Wire) -> Result<Self, String> {
        let Wire { input, output, mut ended, holder } = wire;
        let mut lines = BufReader::new(output).lines();
        let ready = async {
            tokio::select! {
                biased;
                report = next(&mut lines) => match report? {
                    Report::Ready { .. } => Ok(()),
                    other => Err(format!("the prober began with {other:?}")),
                },
                reason = &mut ended => Err(reason),
            }
        };
        timeout(PATIENCE, ready).await.map_err(|_| "the prober does not say that it is ready".to_owned())??;
        let (commands, queue) = unbounded_channel();
        let calls = Arc::new(Calls::default());
        let (reading, writing) = (Arc::clone(&calls), Arc::clone(&calls));
        tokio::spawn(async move {
            let reason = write(input, queue).await;
            writing.end(reason);
        });
        let reading = tokio::spawn(async move {
            let _holder = holder;
            let reason = tokio::select! {
                biased;
                reason = read(&mut lines, &reading) => reason,
                reason = ended => reason,
            };
            reading.end(reason);
        });
        Ok(Self { commands, calls, reading: reading.abort_handle() })
    }
}

async fn next(lines: &mut Output) -> Result<Report, String> {
    match lines.next_line().await {
        Ok(Some(line)) => serde_json::from_str(&line).map_err(|_| format!("this is no prober: {line}")),
        Ok(None) => Err("the prober has ended".to_owned()),
        Err(error) => Err(format!("the prober's output is lost: {error}")),
    }
}

async fn read(lines: &mut Output, calls: &Calls) -> String {
    loop {
        match next(lines).await {
            Ok(report) => calls.deliver(report),
            Err(reason) => return reason,
        }
    }
}

async fn write(mut input: Box<dyn AsyncWrite + Send + Sync + Unpin>, mut queue: UnboundedReceiver<Command>) -> String {
    let mut commands = Vec::new();
    // What is there already goes along: each write wakes every program that passes the stream on.
    while queue.recv_many(&mut commands, TOGETHER).await > 0 {
        let mut lines = Vec::new();
        for line in commands.drain(..).filter_map(|command| serde_json::to_vec(&command).ok()) {
            lines.extend(line);
            lines.push(b'\n');
        }
        let written = async {
            input.write_all(&lines).await?;
            input.flush().await
        };
        if let Err(error) = written.await {
            return format!("cannot write to the prober: {error}");
        }
    }
    // Over some streams only this ends the other side's input.
    let _ = input.shutdown().await;
    "the prober was closed".to_owned()
}

/// Who waits for which call, and why nobody does any more.
#[derive(Default)]
struct Calls(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    last: u64,
    over: Option<String>,
    calls: HashMap<u64, UnboundedSender<Report>>,
}

impl Calls {
    fn enter(&self) -> Result<(u64, UnboundedReceiver<Report>), String> {
        let mut waiting = self.lock();
        if let Some(reason) = &waiting.over {
            return Err(reason.clone());
        }
        let (sender, reports) = unbounded_channel();
        waiting.last += 1;
        let id = waiting.last;
        waiting.calls.insert(id, sender);
        Ok((id, reports))
    }

    fn deliver(&self, report: Report) {
        let (Report::Found { id, .. } | Report::Done { id, .. } | Report::Seen { id, .. }) = report else { return };
        // Nobody waits for a call that was given up.
        if let Some(call) = self.lock().calls.get(&id) {
            let _ = call.send(report);
        }
    }

    /// Ends every call: each sees the end of its reports.
    fn end(&self, reason: String) {
        let mut waiting = self.lock();
        waiting.over.get_or_insert(reason);
        waiting.calls.clear();
    }

    fn is_over(&self) -> bool {
        self.lock().over.is_some()
    }

    fn reason(&self) -> String {
        self.lock().over.clone().unwrap_or_else(|| "the prober gave no sentinel".to_owned())
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call under way.
struct Call {
    id: u64,
    calls: Arc<Calls>,
    commands: UnboundedSender<Command>,
    over: bool,
}

impl Drop for Call {
    fn drop(&mut self) {
        self.calls.lock().calls.remove(&self.id);
        if !self.over {
            let _ = self.commands.send(Command::Cancel { id: self.id });
        }
    }
}
