//! A shell that stays open in a pod or on a node, one command a line: how probes start without a new exec each.
//!
//! The protocol is the same over every stream: a command, and then a sentinel line with the exit code and the command's
//! number. The output of a call that is given up is read to its end by nobody in particular before the next call may use
//! the stream; where that takes too long, the next call gets a new one.

use std::{
    any::Any,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures::future::BoxFuture;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, Lines},
    sync::mpsc::UnboundedSender,
    task::JoinHandle,
    time::timeout,
};

use crate::probe::CurlHost;
pub(crate) use crate::probe::Wire;

/// The line that ends a configuration in the shell's input. `curl` has no such option.
const END: &str = "POLICYPROBE_END_OF_CONFIG";

/// How long a command may take whose output is wanted whole: none of them has much to do.
const READ_PATIENCE: Duration = Duration::from_secs(20);

/// How long a call waits for the end of one that was given up, before it opens a shell of its own.
const DRAIN_PATIENCE: Duration = Duration::from_millis(100);

/// Where commands can be started, a shell among them.
#[async_trait]
pub(crate) trait Place: Send + Sync {
    /// Starts a command there.
    async fn start(&self, command: &[&str]) -> Result<Wire, String>;

    /// Opens a new shell.
    async fn enter(&self) -> Result<Wire, String> {
        self.start(&["sh"]).await
    }

    /// How a person starts a command there.
    fn prefix(&self) -> String;
}

struct Open {
    input: Box<dyn AsyncWrite + Send + Sync + Unpin>,
    lines: Lines<BufReader<Box<dyn AsyncRead + Send + Sync + Unpin>>>,
    ended: BoxFuture<'static, String>,
    token: String,
    calls: u64,
    /// What ends the output of the command that runs.
    sentinel: Option<String>,
    _holder: Box<dyn Any + Send + Sync>,
}

/// A shell in a place, opened when it is first needed and again whenever the last one is lost.
pub(crate) struct Shell {
    place: Arc<dyn Place>,
    open: Option<Open>,
    drained: Drained,
}

/// Comes to be the shell of a call that was given up.
type Drained = Arc<Mutex<Option<JoinHandle<Option<Open>>>>>;

/// A call under way. Where it is dropped before its end, its output is read to the end behind its back.
struct Call {
    open: Option<Open>,
    drained: Drained,
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(open) = self.open.take().filter(|open| open.sentinel.is_some()) {
            *self.drained.lock().unwrap_or_else(PoisonError::into_inner) = Some(tokio::spawn(open.drain()));
        }
    }
}

impl Shell {
    /// A shell that is opened by the first command.
    pub(crate) fn new(place: Arc<dyn Place>) -> Self {
        Self { place, open: None, drained: Drained::default() }
    }

    /// Opens the shell now.
    pub(crate) async fn connect(&mut self) -> Result<(), String> {
        let open = self.take().await?;
        self.open = Some(open);
        Ok(())
    }

    async fn take(&mut self) -> Result<Open, String> {
        if let Some(open) = self.open.take() {
            return Ok(open);
        }
        let drained = self.drained.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut drained) = drained {
            match timeout(DRAIN_PATIENCE, &mut drained).await {
                Ok(Ok(Some(open))) => return Ok(open),
                Ok(_) => {}
                Err(_) => drained.abort(),
            }
        }
        let Wire { input, output, ended, holder } = self.place.enter().await?;
        let token = format!("policyprobe-{:016x}", RandomState::new().hash_one(END));
        Ok(Open {
            input,
            lines: BufReader::new(output).lines(),
            ended,
            token,
            calls: 0,
            sentinel: None,
            _holder: holder,
        })
    }

    /// Runs a command and hands on each line of its output. Exit codes from 128 on are signals, and so no answer.
    pub(crate) async fn run(&mut self, command: &str, line: &mut (dyn FnMut(String) + Send)) -> Result<i32, String> {
        let mut call = Call { open: Some(self.take().await?), drained: Arc::clone(&self.drained) };
        let code = match &mut call.open {
            Some(open) => open.run(command, line).await,
            None => Err("no shell".to_owned()),
        };
        let open = call.open.take();
        // After an error nobody knows what else the stream holds.
        let code = code?;
        self.open = open;
        if code >= 128 {
            return Err(format!("the command was ended by signal {}", code - 128));
        }
        Ok(code)
    }

    /// Runs a command and returns its output, which is an error unless it ends with 0.
    pub(crate) async fn read(&mut self, command: &str) -> Result<Vec<String>, String> {
        let mut lines = Vec::new();
        let ran = timeout(READ_PATIENCE, self.run(command, &mut |line| lines.push(line))).await;
        match ran.map_err(|_| format!("`{command}` does not end within {} s", READ_PATIENCE.as_secs()))?? {
            0 => Ok(lines),
            code => Err(format!("`{command}` ended with {code}: {}", lines.join("\n"))),
        }
    }
}

impl Open {
    async fn run(&mut self, command: &str, line: &mut (dyn FnMut(String) + Send)) -> Result<i32, String> {
        self.calls += 1;
        let sentinel = format!("{} {} ", self.token, self.calls);
        // The sentinel begins a line of its own also where the output does not end with one.
        let script = format!("{command}\nprintf '\\n{sentinel}%s\\n' $?\n");
        self.input.write_all(script.as_bytes()).await.map_err(|error| format!("cannot write to the shell: {error}"))?;
        self.input.flush().await.map_err(|error| format!("cannot write to the shell: {error}"))?;
        self.sentinel = Some(sentinel.clone());
        let mut empty = false;
        loop {
            let text = tokio::select! {
                biased;
                read = self.lines.next_line() => match read {
                    Ok(Some(text)) => text,
                    Ok(None) => return Err("the shell has ended".to_owned()),
                    Err(error) => return Err(format!("the shell's output is lost: {error}")),
                },
                reason = &mut self.ended => return Err(reason),
            };
            if let Some(code) = text.strip_prefix(&sentinel) {
                self.sentinel = None;
                return code.parse().map_err(|_| format!("no exit code: {text}"));
            }
            // An empty line is kept back: before a sentinel it is the sentinel's own.
            if std::mem::replace(&mut empty, text.is_empty()) {
                line(String::new());
            }
            if !empty {
                line(text);
            }
        }
    }
}

impl Open {
    /// Reads what is left of a command that was given up.
    async fn drain(mut self) -> Option<Self> {
        let sentinel = self.sentinel.take()?;
        loop {
            tokio::select! {
                biased;
                read = self.lines.next_line() => {
                    if read.ok()??.starts_with(&sentinel) {
                        return Some(self);
                    }
                }
                _ = &mut self.ended => return None,
            }
        }
    }
}

#[async_trait]
impl CurlHost for Shell {
    async fn curl(&mut self, config: &str, lines: UnboundedSender<String>) -> Result<i32, String> {
        if config.lines().any(|line| line == END) {
            return Err("the configuration holds the line that ends it".to_owned());
        }
        let command = format!("env -i PATH=\"$PATH\" curl -q --config - 2>&1 <<'{END}'\n{config}\n{END}");
        self.run(&command, &mut |line| drop(lines.send(line))).await
    }

    fn prefix(&self) -> String {
        self.place.prefix()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
pub(super) mod tests {
    use std::process::Stdio;

    use super::*;

    /// This machine.
    pub(in super::super) struct Here;

    #[async_trait]
    impl Place for Here {
        async fn start(&self, command: &[&str]) -> Result<Wire, String> {
            let mut child = tokio::process::Command::new(command[0])
                .args(&command[1..])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .map_err(|error| error.to_string())?;
            let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
            let ended = Box::pin(std::future::pending());
            Ok(Wire { input: Box::new(input), output: Box::new(output), ended, holder: Box::new(child) })
        }

        fn prefix(&self) -> String {
            String::new()
        }
    }

    #[tokio::test]
    async fn output_is_exact_and_calls_are_kept_apart() {
        let mut shell = Shell::new(Arc::new(Here));
        assert_eq!(shell.read("printf 'a\\n\\nb'").await.unwrap(), ["a", "", "b"]);
        assert_eq!(shell.read("printf 'a\\n'").await.unwrap(), ["a"]);
        assert_eq!(shell.read("true").await.unwrap(), Vec::<String>::new());
        assert_eq!(shell.run("(exit 28)", &mut |_| ()).await.unwrap(), 28);
        assert!(shell.run("(exit 137)", &mut |_| ()).await.is_err());
    }

    #[tokio::test]
    async fn a_call_that_was_given_up_leaves_nothing_to_the_next() {
        let mut shell = Shell::new(Arc::new(Here));
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let mut forward = |line| drop(sender.send(line));
        tokio::select! {
            ended = shell.run("echo old; read -r never </dev/zero; echo older", &mut forward) => unreachable!("{ended:?}"),
            line = receiver.recv() => assert_eq!(line.as_deref(), Some("old")),
        }
        assert_eq!(shell.read("echo new").await.unwrap(), ["new"]);
    }

    #[tokio::test]
    async fn the_shell_of_a_call_that_was_given_up_is_used_again() {
        let mut shell = Shell::new(Arc::new(Here));
        let pid = shell.read("echo $$").await.unwrap();
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let mut forward = |line| drop(sender.send(line));
        tokio::select! {
            ended = shell.run("echo old; sleep 0.01; echo older", &mut forward) => unreachable!("{ended:?}"),
            _ = receiver.recv() => {}
        }
        assert_eq!(shell.read("echo $$").await.unwrap(), pid);
    }

    #[tokio::test]
    async fn a_shell_that_ends_is_an_error_and_the_next_call_opens_another() {
        let mut shell = Shell::new(Arc::new(Here));
        assert!(shell.run("exit 0", &mut |_| ()).await.is_err());
        assert_eq!(shell.read("echo again").await.unwrap(), ["again"]);
    }
}
