//! `kind` and `docker` as child processes: errors that say which program failed and how, and an end to the whole process
//! group when the run is cancelled.

use std::{os::unix::process::CommandExt, sync::Arc, time::Duration};

use anyhow::Context;
use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};

use crate::lab::{
    LabError,
    state::{ChildRecord, RunState},
};

/// How long a program may take that makes nothing large: a daemon that is stuck never answers.
const PATIENCE: Duration = Duration::from_secs(180);

/// Runs a program to its end and returns what it printed.
pub(crate) async fn run(program: &str, args: &[&str], input: Option<Vec<u8>>) -> Result<String, LabError> {
    let command = duct::cmd(program, args);
    let command = match input {
        Some(bytes) => command.stdin_bytes(bytes),
        None => command.stdin_null(),
    };
    let title = title(program, args);
    let late = || {
        let message = format!("`{title}` does not end within {} s", PATIENCE.as_secs());
        Err(LabError::with_hint(message, "does `docker info` answer?"))
    };
    let finishing = finish(&title, program, command, Abandon::Group, |_| Ok(()));
    tokio::time::timeout(PATIENCE, finishing).await.unwrap_or_else(|_| late())
}

/// Runs a program that makes things. It begins only when the run's record names its process, so that there is no moment
/// in which it could outlive the run unnoticed.
pub(crate) async fn run_recorded(state: &RunState, program: &str, args: &[&str]) -> Result<String, LabError> {
    let (reader, mut writer) = std::io::pipe().context("cannot make a pipe")?;
    // The shell waits for a line, and ends where there is only the end of the file: then the run is gone.
    let gated = ["-c", "read -r go && exec \"$@\" </dev/null", "sh", program].into_iter().chain(args.iter().copied());
    let command = duct::cmd("sh", gated.collect::<Vec<_>>()).stdin_file(reader);
    let mut recorded = None;
    let result = finish(&title(program, args), program, command, Abandon::Leader, |pid| {
        recorded = ChildRecord::of(pid);
        state.update(|record| record.children.extend(recorded))?;
        std::io::Write::write_all(&mut writer, b"go\n").context("the child is gone")?;
        Ok(())
    })
    .await;
    state.update(|record| record.children.retain(|child| Some(*child) != recorded))?;
    result
}

fn title(program: &str, args: &[&str]) -> String {
    format!("{program} {}", args.join(" "))
}

async fn finish(
    title: &str,
    program: &str,
    command: duct::Expression,
    abandon: Abandon,
    begin: impl FnOnce(i32) -> anyhow::Result<()>,
) -> Result<String, LabError> {
    let started = command
        .stdout_capture()
        .stderr_capture()
        .unchecked()
        .before_spawn(|command| {
            command.process_group(0);
            Ok(())
        })
        .start();
    let handle = match started {
        Ok(handle) => Arc::new(handle),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(missing(program)),
        Err(error) => return Err(LabError::from(anyhow::Error::new(error).context(format!("cannot start `{title}`")))),
    };
    let pid = handle.pids().first().and_then(|pid| i32::try_from(*pid).ok());
    let mut group = Group(pid.map(Pid::from_raw), abandon);
    begin(pid.context("a started process has an id")?)?;
    let waiting = Arc::clone(&handle);
    let waited = tokio::task::spawn_blocking(move || waiting.wait().cloned()).await;
    group.0 = None;
    let output = waited.context("waiting for a child")?.with_context(|| format!("waiting for `{title}`"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(LabError::from(anyhow::anyhow!("`{title}` failed ({}):\n{}", output.status, tail(&stderr, 12))))
}

/// What to say where a program is not installed.
pub(crate) fn missing(program: &str) -> LabError {
    let hint = match program {
        "kind" => {
            "install it from https://kind.sigs.k8s.io/docs/user/quick-start/#installation, or use the embedded backend"
        }
        "docker" => "install Docker Engine from https://docs.docker.com/engine/install/, or use the embedded backend",
        _ => "install it and see that it is in PATH",
    };
    LabError::with_hint(format!("`{program}` is not installed"), hint)
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// What is ended at once when a call is given up.
#[derive(Clone, Copy)]
enum Abandon {
    /// All of it.
    Group,
    /// The process that starts others; the others are left to [`super::settle::settle`], by the run's record.
    Leader,
}

/// Ends a process group unless it is told that the group has ended.
struct Group(Option<Pid>, Abandon);

impl Drop for Group {
    fn drop(&mut self) {
        // Nobody is left to be told of a failure.
        let _ = match (self.0, self.1) {
            (Some(pid), Abandon::Group) => killpg(pid, Signal::SIGKILL),
            (Some(pid), Abandon::Leader) => kill(pid, Signal::SIGKILL),
            (None, _) => Ok(()),
        };
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn failures_name_the_program_the_code_and_the_last_words() {
        let error = run("sh", &["-c", "echo broken >&2; exit 3"], None).await.unwrap_err().to_string();
        assert!(error.contains("sh -c") && error.contains('3') && error.contains("broken"), "{error}");
        let error = run("policyprobe-no-such-program", &[], None).await.unwrap_err();
        assert!(error.to_string().contains("policyprobe-no-such-program"), "{error}");
        assert_eq!(run("cat", &[], Some(b"in".to_vec())).await.unwrap(), "in");
    }

    #[tokio::test]
    async fn a_dropped_call_ends_the_whole_group() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!("sleep 600 & echo $! > {0}.new; mv {0}.new {0}; wait", file.display());
        let args = ["-c", script.as_str()];
        let call = run("sh", &args, None);
        let written = async {
            while !file.exists() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            result = call => unreachable!("the call cannot end: {result:?}"),
            () = written => {}
        }
        let pid: i32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        let gone = async {
            while ChildRecord::of(pid).is_some_and(|_| !is_zombie(pid)) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), gone).await.unwrap();
    }

    fn is_zombie(pid: i32) -> bool {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
    }
}
