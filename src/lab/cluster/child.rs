//! Somebody else's program, run for what it prints: for so long, so much, and then it and all that it started is ended.

use std::{
    io::IsTerminal as _,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Command,
};

/// The most that is read, in bytes.
const MOST: u64 = 1 << 20;
/// How much of its complaints is passed on, in lines.
const COMPLAINTS: usize = 5;

/// What a program may use.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) time: Duration,
    /// A process group of its own, so that all of it can be ended. Whoever asks at a terminal must stay in ours.
    pub(super) own_group: bool,
}

/// What went wrong, to be read behind the program's name.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error("cannot be started: {0}")]
    Start(#[source] std::io::Error),
    #[error("did not end within {} s", .0.as_secs_f64())]
    Late(Duration),
    #[error("failed ({0}){1}")]
    Status(ExitStatus, String),
    #[error("printed more than {} KiB", MOST >> 10)]
    Long,
    #[error("cannot be read: {0}")]
    Read(#[source] std::io::Error),
}

/// Whether a person can be asked.
pub(super) fn has_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// What a program prints, when it has ended well.
pub(super) async fn output(mut command: Command, limits: Limits) -> Result<Vec<u8>, Problem> {
    command.stdout(Stdio::piped()).kill_on_drop(true);
    if limits.own_group {
        command.process_group(0);
    }
    let mut child = command.spawn().map_err(Problem::Start)?;
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    let mut group = Group(id.filter(|_| limits.own_group).map(Pid::from_raw));
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let running = async {
        let (printed, complaints) = tokio::try_join!(all(stdout), all(stderr)).map_err(Problem::Read)?;
        if printed.len() as u64 > MOST {
            return Err(Problem::Long);
        }
        let status = child.wait().await.map_err(Problem::Read)?;
        if status.success() { Ok(printed) } else { Err(Problem::Status(status, last_words(&complaints))) }
    };
    let result = tokio::time::timeout(limits.time, running).await.unwrap_or(Err(Problem::Late(limits.time)));
    // Whoever has ended left its number to others.
    if matches!(result, Ok(_) | Err(Problem::Status(..))) {
        group.0 = None;
    }
    result
}

async fn all(pipe: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(MOST + 1).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

fn last_words(complaints: &[u8]) -> String {
    let text = String::from_utf8_lossy(complaints);
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(COMPLAINTS)..].join(" ");
    if last.is_empty() { last } else { format!(": {last}") }
}

/// A process group that is ended, unless that is known.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(id) = self.0 {
            // Nobody is left to be told of a failure.
            let _ = killpg(id, Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    async fn run(script: &str, time: Duration) -> Result<Vec<u8>, Problem> {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null()).stderr(Stdio::piped());
        output(command, Limits { time, own_group: true }).await
    }

    #[tokio::test]
    async fn what_it_started_ends_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!("sleep 600 & echo $! > {0}.new; mv {0}.new {0}; wait", file.display());
        let written = async {
            while !file.exists() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            result = run(&script, Duration::from_secs(60)) => unreachable!("it cannot end: {result:?}"),
            () = written => {}
        }
        let started = std::fs::read_to_string(&file).unwrap();
        let stat = format!("/proc/{}/stat", started.trim());
        let gone = async {
            // What is left of it may wait for somebody to ask how it ended.
            while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
    }

    #[tokio::test]
    async fn only_so_much_is_read() {
        let time = Duration::from_secs(20);
        assert!(matches!(run("yes", time).await, Err(Problem::Long)));
        assert_eq!(run("echo in; echo no matter >&2", time).await.unwrap(), b"in\n");
    }
}
