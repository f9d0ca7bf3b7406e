//! The inner half as a child process, and calls to it.

use std::{
    collections::HashMap,
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, anyhow};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStderr, ChildStdin, Command as Process},
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        oneshot,
    },
    time::timeout,
};

use super::protocol::{Command, Failure, Frame, Reply, Request};
use crate::lab::LabError;

/// How long the inner half may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much of what it complains about is kept.
const COMPLAINTS: usize = 8 << 10;

/// The inner half. Dropping this ends it, and with it the whole lab.
pub(super) struct Client {
    /// Empty once the lab is being torn down: the inner half ends when its input does.
    commands: Mutex<Option<UnboundedSender<Command>>>,
    calls: Arc<Calls>,
    child: tokio::sync::Mutex<Child>,
    complaints: Arc<Mutex<String>>,
}

/// Who waits for which call.
#[derive(Default)]
struct Calls {
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    last: u64,
    over: bool,
    calls: HashMap<u64, UnboundedSender<Frame>>,
}

impl Client {
    /// Starts it, and waits until it is ready.
    pub(super) async fn start(binary: &Path) -> Result<Self, LabError> {
        let mut command = Process::new(binary);
        command.arg("inside").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Signals from the terminal are for the outer half, which tears the lab down in order.
        let mut child = command.process_group(0).kill_on_drop(true).spawn().map_err(|error| {
            let message = format!("cannot start `{} inside`: {error}", binary.display());
            LabError::with_hint(message, "it has to be the `policyprobe` program itself")
        })?;
        let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(input), Some(output), Some(errors)) = streams else {
            return Err(anyhow!("a pipe to `policyprobe inside` is missing").into());
        };
        let (commands, queue) = unbounded_channel();
        tokio::spawn(write(input, queue));
        let complaints = Arc::new(Mutex::new(String::new()));
        tokio::spawn(listen(errors, complaints.clone()));
        let calls = Arc::new(Calls::default());
        let (ready, hello) = oneshot::channel();
        tokio::spawn(read(BufReader::new(output), calls.clone(), ready));
        let client = Self { commands: Mutex::new(Some(commands)), calls, child: child.into(), complaints };
        match hello.await {
            Ok(Ok(())) => Ok(client),
            Ok(Err(failure)) => Err(failure.into()),
            Err(_) => {
                let ended = client.child.lock().await.wait().await;
                let status = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
                Err(anyhow!("`policyprobe inside` ended at once ({status}){}", client.complaints()).into())
            }
        }
    }

    /// Makes a call. Dropping the future gives it up on both sides.
    pub(super) async fn call(&self, request: Request) -> Result<Reply, LabError> {
        self.stream(request, drop).await
    }

    /// Makes a call and hands on the frames that come before its end.
    pub(super) async fn stream(&self, request: Request, take: impl Fn(Frame)) -> Result<Reply, LabError> {
        let lost = || LabError::from(anyhow!("the lab's process has ended{}", self.complaints()));
        let commands = lock(&self.commands).clone().ok_or_else(lost)?;
        let (id, mut frames) = self.calls.enter().ok_or_else(lost)?;
        let mut call = Call { id, calls: &self.calls, commands: &commands, over: false };
        commands.send(Command::Call { id, request }).map_err(|_| lost())?;
        while let Some(frame) = frames.recv().await {
            match frame {
                Frame::Done { result, .. } => {
                    call.over = true;
                    return result.map_err(LabError::from);
                }
                frame => take(frame),
            }
        }
        Err(lost())
    }

    /// Says something without waiting for the answer. For drops.
    pub(super) fn tell(&self, request: Request) {
        if let (Some(commands), Some((id, _))) = (&*lock(&self.commands), self.calls.enter()) {
            self.calls.leave(id);
            let _ = commands.send(Command::Call { id, request });
        }
    }

    /// Ends the inner half, and waits until it is gone.
    pub(super) async fn end(&self) -> Result<(), LabError> {
        drop(lock(&self.commands).take());
        let mut child = self.child.lock().await;
        if let Ok(ended) = timeout(PATIENCE, child.wait()).await {
            ended.context("cannot wait for the lab's process")?;
            return Ok(());
        }
        child.kill().await.context("cannot end the lab's process")?;
        Err(anyhow!("the lab's process did not end by itself and was killed{}", self.complaints()).into())
    }

    /// What it wrote to its standard error, if anything.
    pub(super) fn complaints(&self) -> String {
        match lock(&self.complaints).trim() {
            "" => String::new(),
            text => format!("; it said:\n{text}"),
        }
    }
}

impl Calls {
    /// A new call's id and frames; none when there will be no more frames.
    fn enter(&self) -> Option<(u64, UnboundedReceiver<Frame>)> {
        let mut waiting = lock(&self.waiting);
        let (sender, frames) = unbounded_channel();
        waiting.last += 1;
        let id = waiting.last;
        (!waiting.over).then(|| {
            waiting.calls.insert(id, sender);
            (id, frames)
        })
    }

    fn leave(&self, id: u64) {
        lock(&self.waiting).calls.remove(&id);
    }

    fn deliver(&self, id: u64, frame: Frame) {
        // Nobody waits for a call that was given up.
        if let Some(call) = lock(&self.waiting).calls.get(&id) {
            let _ = call.send(frame);
        }
    }

    /// Ends every call: each sees the end of its frames.
    fn end(&self) {
        let mut waiting = lock(&self.waiting);
        waiting.over = true;
        waiting.calls.clear();
    }
}

/// A call under way.
struct Call<'a> {
    id: u64,
    calls: &'a Calls,
    commands: &'a UnboundedSender<Command>,
    over: bool,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.calls.leave(self.id);
        if !self.over {
            let _ = self.commands.send(Command::Cancel { id: self.id });
        }
    }
}

async fn write(mut input: ChildStdin, mut queue: UnboundedReceiver<Command>) {
    while let Some(command) = queue.recv().await {
        let Ok(mut line) = serde_json::to_vec(&command) else { continue };
        line.push(b'\n');
        if input.write_all(&line).await.is_err() {
            return;
        }
    }
}

async fn read(output: impl AsyncBufRead + Unpin, calls: Arc<Calls>, ready: oneshot::Sender<Result<(), Failure>>) {
    let (mut lines, mut ready) = (output.lines(), Some(ready));
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str(&line) {
            Ok(Frame::Hello(hello)) => drop(ready.take().map(|ready| ready.send(hello))),
            Ok(frame @ (Frame::Line { id, .. } | Frame::Found { id, .. } | Frame::Done { id, .. })) => {
                calls.deliver(id, frame);
            }
            // Something else wrote to the inner half's output: nothing that it says can be trusted any more.
            Err(_) => break,
        }
    }
    calls.end();
}

async fn listen(mut errors: ChildStderr, complaints: Arc<Mutex<String>>) {
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = errors.read(&mut buffer).await {
        let mut text = lock(&complaints);
        if text.len() < COMPLAINTS {
            text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
