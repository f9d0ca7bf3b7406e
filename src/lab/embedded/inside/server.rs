//! The inner half's loop: reads calls, runs each as a task, writes frames.

use std::{
    collections::HashMap,
    io::{BufRead, Write},
    process::ExitCode,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use anyhow::{Context, bail};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::AbortHandle,
};

use super::{curl::Curl, findings::Findings, first, namespace::Inside, stage::Stage};
use crate::{
    lab::{
        LabError,
        embedded::protocol::{Action, Command, Failure, Frame, Reply, Request},
    },
    probe::direct::{self, Prober},
};

/// Frames that are written in one go, at most.
const MOST_TOGETHER: usize = 256;

/// Serves on stdio until the input ends; then this process ends, and all that it made with it.
pub(super) fn run(curl: Curl) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (commands, received) = unbounded_channel();
    let frames = writer();
    let _ = frames.send(Frame::Hello(Ok(())));
    thread::spawn(move || read(&commands));
    let prober = Prober::new(direct::raise_file_limit());
    let server = Arc::new(Server {
        curl,
        prober,
        frames,
        stages: Mutex::default(),
        building: tokio::sync::Mutex::default(),
        running: Mutex::default(),
    });
    runtime.block_on(server.serve(received));
    Ok(ExitCode::SUCCESS)
}

/// Reads on a thread of its own, so that nothing that the lab does keeps it from ending with its parent.
fn read(commands: &UnboundedSender<Command>) {
    for line in std::io::stdin().lock().lines() {
        match line.as_deref().map(serde_json::from_str) {
            Ok(Ok(command)) => drop(commands.send(command)),
            Ok(Err(error)) => eprintln!("a call that cannot be read: {error}"),
            Err(_) => break,
        }
    }
    std::process::exit(0);
}

/// Frames are written whole, by one thread; those that wait, together.
fn writer() -> UnboundedSender<Frame> {
    let (frames, mut queue) = unbounded_channel::<Frame>();
    thread::spawn(move || {
        let mut output = std::io::stdout().lock();
        let mut lines = Vec::new();
        while let Some(first) = queue.blocking_recv() {
            let waiting = std::iter::from_fn(|| queue.try_recv().ok()).take(MOST_TOGETHER);
            for frame in std::iter::once(first).chain(waiting) {
                let begin = lines.len();
                match serde_json::to_writer(&mut lines, &frame) {
                    Ok(()) => lines.push(b'\n'),
                    Err(_) => lines.truncate(begin),
                }
            }
            let written = output.write_all(&lines).and_then(|()| output.flush());
            lines.clear();
            if written.is_err() {
                std::process::exit(0);
            }
        }
    });
    frames
}

struct Server {
    curl: Curl,
    prober: Prober,
    frames: UnboundedSender<Frame>,
    /// The open stages, those that are being built as nothing yet.
    stages: Mutex<HashMap<u64, Option<Arc<Stage>>>>,
    /// Held while a stage is built: the kernel makes one link after the other anyway, and so the first is ready early.
    building: tokio::sync::Mutex<()>,
    running: Mutex<HashMap<u64, AbortHandle>>,
}

impl Server {
    async fn serve(self: Arc<Self>, mut commands: UnboundedReceiver<Command>) {
        while let Some(command) = commands.recv().await {
            match command {
                Command::Cancel { id } => {
                    if let Some(task) = lock(&self.running).remove(&id) {
                        task.abort();
                    }
                }
                Command::Call { id, request } => {
                    // The task cannot end, and look for itself, before it is in the table.
                    let mut running = lock(&self.running);
                    let task = tokio::spawn(self.clone().call(id, request));
                    running.insert(id, task.abort_handle());
                }
            }
        }
    }

    async fn call(self: Arc<Self>, id: u64, request: Request) {
        let result = self.answer(id, request).await.map_err(|error| Failure::from(LabError::from(error)));
        lock(&self.running).remove(&id);
        let _ = self.frames.send(Frame::Done { id, result });
    }

    async fn answer(&self, id: u64, request: Request) -> anyhow::Result<Reply> {
        match request {
            Request::Open { stage, run, spec, deny_by, mutant } => {
                lock(&self.stages).insert(stage, None);
                let _turn = self.building.lock().await;
                let prober = self.prober.apart();
                let made = Arc::new(Stage::new(run, spec, deny_by, mutant, prober).await?);
                let world = made.world().await;
                // A stage that was closed before it was ready is dropped here.
                *lock(&self.stages).get_mut(&stage).context("the stage is closed")? = Some(made);
                Ok(Reply::World(Box::new(world)))
            }
            Request::Close { stage } => {
                let stage = lock(&self.stages).remove(&stage);
                // Probes hold on to their stage: links and routes go with the last of them.
                stage.flatten().inspect(|stage| stage.close());
                Ok(Reply::Done)
            }
            Request::On { stage, action } => {
                let stage = lock(&self.stages).get(&stage).cloned().flatten().context("the stage is closed")?;
                self.act(id, &stage, action).await
            }
            Request::Diagnose => {
                let stages: Vec<_> = lock(&self.stages).values().flatten().cloned().collect();
                let mut text = String::new();
                for stage in stages {
                    text.push_str(&stage.diagnose().await);
                }
                Ok(Reply::Text(text))
            }
        }
    }

    async fn act(&self, id: u64, stage: &Stage, action: Action) -> anyhow::Result<Reply> {
        match action {
            Action::Apply(document) => stage.apply(&document).await?,
            Action::Delete(document) => stage.delete(&document).await?,
            Action::Label(action) => stage.label(&action).await?,
            Action::Create(pod) => stage.create(pod).await?,
            Action::CreateAsking { pod, script } => {
                let (space, name) = (pod.namespace.clone(), pod.name.clone());
                let namespace = stage.place(pod).await?;
                let lines = tokio::select! {
                    lines = first::run(namespace, script) => lines?,
                    () = stage.closed() => bail!("the stage is closed"),
                };
                stage.serve(&space, &name).await?;
                return Ok(Reply::Said { world: Box::new(stage.world().await), lines });
            }
            Action::Recreate { namespace, pod } => stage.recreate(&namespace, &pod).await?,
            Action::Reset => stage.reset().await?,
            Action::Impair { source, loss_percent } => stage.impair(&source, loss_percent).await?,
            Action::ReplaceMetadata { identity } => stage.replace_metadata(identity.as_deref()).await?,
            Action::Seen { server, nonces } => return Ok(Reply::Seen(stage.seen(&server, &nonces).await?)),
            Action::DnsReady => {
                stage.dns_ready().await?;
                return Ok(Reply::Done);
            }
            Action::Prepare { source } => {
                self.curl.prepare(stage.namespace(&source).await?).await?;
                return Ok(Reply::Done);
            }
            Action::Probe { source, work } => {
                let sockets = Inside(stage.namespace(&source).await?);
                let findings = Findings::of(id, &work, self.frames.clone());
                let found = findings.clone();
                let answered = tokio::select! {
                    answered = stage.prober().run(work, &sockets, move |finding| found.add(finding)) => answered,
                    () = stage.closed() => bail!("the stage is closed"),
                };
                findings.send();
                return Ok(Reply::Answered(answered));
            }
            Action::Curl { source, config } => {
                let ns = stage.namespace(&source).await?;
                let line = |line| drop(self.frames.send(Frame::Line { id, line }));
                return tokio::select! {
                    exit = self.curl.run(ns, config, line) => Ok(Reply::Exit(exit?)),
                    () = stage.closed() => bail!("the stage is closed"),
                };
            }
        }
        Ok(Reply::World(Box::new(stage.world().await)))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
