//! Real `curl` processes in the lab's namespaces.

use std::{
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use anyhow::Context;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::unix::pipe,
    process::{Child, ChildStdin, Command},
};

use super::namespace::Namespace;

/// How long after a process got its work the next one is started: while the first waits for answers, and not while it
/// makes the connections that windows are calibrated by.
const OUT_OF_THE_WAY: Duration = Duration::from_millis(25);

/// Where `curl` is. It is found before the lab hides parts of the file system.
///
/// Starting it (some forty libraries) takes as long as all its requests, so for a namespace that had one, another is
/// started ahead of time. It waits for its configuration, and sends nothing until then.
#[derive(Clone, Debug)]
pub(super) struct Curl {
    program: PathBuf,
    path: std::ffi::OsString,
    waiting: Arc<Mutex<Vec<Waiting>>>,
}

/// A process, and the namespace that it was started in.
type Waiting = (Weak<Namespace>, Started);

/// A process that waits for its configuration. It is killed when this is dropped.
#[derive(Debug)]
struct Started {
    child: Child,
    input: ChildStdin,
    output: pipe::Receiver,
}

impl Curl {
    /// Looks along `PATH`.
    pub(super) fn find() -> anyhow::Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).map(|dir| dir.join("curl")).find_map(|file| file.canonicalize().ok());
        Ok(Self { program: found.context("there is no `curl` on PATH")?, path, waiting: Arc::default() })
    }

    /// Runs it in a namespace, with a configuration on its input; each line of its output is handed on. The process is
    /// killed when the future is dropped.
    pub(super) async fn run(&self, ns: Arc<Namespace>, config: String, line: impl Fn(String)) -> anyhow::Result<i32> {
        let Started { mut child, mut input, output } = match self.take(&ns) {
            Some(started) => started,
            None => self.start(ns.clone()).await?,
        };
        let feed = async {
            // A curl that ends early has said why in its exit code.
            let _ = input.write_all(config.as_bytes()).await;
            drop(input);
            self.start_another(Arc::downgrade(&ns));
        };
        let read = async {
            let mut output = BufReader::new(output);
            let mut bytes = Vec::new();
            while output.read_until(b'\n', &mut bytes).await? > 0 {
                line(String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']).to_owned());
                bytes.clear();
            }
            std::io::Result::Ok(())
        };
        let ((), read) = tokio::join!(feed, read);
        read?;
        let status = child.wait().await?;
        Ok(status.code().unwrap_or_else(|| 128 + std::os::unix::process::ExitStatusExt::signal(&status).unwrap_or(0)))
    }

    async fn start(&self, ns: Arc<Namespace>) -> anyhow::Result<Started> {
        let mut command = Command::new(&self.program);
        command.arg0("curl").args(["-q", "--config", "-"]).env_clear().env("PATH", &self.path);
        let (output, both) = std::io::pipe()?;
        command.stdin(Stdio::piped()).stdout(both.try_clone()?).stderr(both).kill_on_drop(true);
        let mut child = ns.run(move || command.spawn()).await?.context("cannot start curl")?;
        let input = child.stdin.take().context("no input")?;
        Ok(Started { child, input, output: pipe::Receiver::from_owned_fd(output.into())? })
    }

    /// Starts a process for the next run in a namespace, now.
    pub(super) async fn prepare(&self, ns: Arc<Namespace>) -> anyhow::Result<()> {
        let there = Arc::downgrade(&ns);
        let started = self.start(ns).await?;
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push((there, started));
        Ok(())
    }

    fn take(&self, ns: &Arc<Namespace>) -> Option<Started> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // A process outlives no namespace that the lab has given up.
        waiting.retain(|(ns, _)| ns.strong_count() > 0);
        let index = waiting.iter().position(|(other, _)| std::ptr::eq(other.as_ptr(), Arc::as_ptr(ns)))?;
        Some(waiting.swap_remove(index).1)
    }

    /// Starts a process for the next run in a namespace. Without it that run starts its own.
    fn start_another(&self, ns: Weak<Namespace>) {
        let curl = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(OUT_OF_THE_WAY).await;
            if let Some(there) = ns.upgrade() {
                let _ = curl.prepare(there).await;
            }
        });
    }
}
