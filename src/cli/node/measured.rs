//! Inventory and watch as processes of their own, and what they use.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use nix::{
    sys::{
        resource::{Usage, UsageWho, getrusage},
        signal::{Signal, kill},
        time::TimeVal,
    },
    unistd::{Pid, SysconfVar, sysconf},
};
use serde::{Deserialize, de::IgnoredAny};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::{
    lab::cluster::Access,
    node::bench::{CHANGE, Reported, Told},
};

/// This program with other arguments, and the same cluster.
fn own(access: &Access, args: &[&str]) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("the path of this program")?);
    command.args(args).args(["--context", &access.context]).stdin(Stdio::null());
    if let Some(file) = &access.kubeconfig {
        command.arg("--kubeconfig").arg(file);
    }
    Ok(command)
}

/// What a process used.
pub(super) struct Used {
    pub(super) took: Duration,
    pub(super) cpu: Duration,
    /// In MiB, the most that any process so far has used.
    pub(super) memory: i64,
}

/// A whole inventory.
pub(super) fn inventory(access: &Access) -> anyhow::Result<Used> {
    let children = || getrusage(UsageWho::RUSAGE_CHILDREN).context("getrusage");
    let before = cpu_of(&children()?);
    let begun = Instant::now();
    let mut command = own(access, &["node", "inventory", "--output", "json"])?;
    let status = command.stdout(Stdio::null()).status().context("cannot run an inventory")?;
    let took = begun.elapsed();
    anyhow::ensure!(status.success(), "the inventory failed");
    let usage = children()?;
    Ok(Used { took, cpu: cpu_of(&usage).saturating_sub(before), memory: usage.max_rss() / 1024 })
}

fn cpu_of(usage: &Usage) -> Duration {
    let time = |time: TimeVal| {
        let part = |number: i64| u64::try_from(number).unwrap_or_default();
        Duration::from_secs(part(time.tv_sec())) + Duration::from_micros(part(time.tv_usec()))
    };
    time(usage.user_time()) + time(usage.system_time())
}

/// A watch, whose lines are read as soon as they come.
pub(super) struct Watching {
    child: Child,
    values: UnboundedReceiver<(String, Told)>,
    /// Where it keeps what it has seen.
    _kept: Option<TempDir>,
}

impl Watching {
    /// Starts one; where `keeps`, one that could be resumed.
    pub(super) fn start(access: &Access, keeps: bool) -> anyhow::Result<Self> {
        let mut command = own(access, &["--quiet", "node", "watch", "--output", "json"])?;
        let kept = keeps.then(TempDir::new).transpose().context("a folder for what the watch has seen")?;
        if let Some(folder) = &kept {
            command.arg("--resume").arg(folder.path().join("seen.json"));
        }
        let mut child = command.stdout(Stdio::piped()).spawn().context("cannot run a watch")?;
        let lines = BufReader::new(child.stdout.take().context("the pipe from the watch")?).lines();
        let (sender, values) = unbounded_channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| pass_on(&line, &sender)));
        Ok(Self { child, values, _kept: kept })
    }

    /// Collects what is reported, until this value is.
    pub(super) async fn until(&mut self, value: &str, seen: &mut Reported) -> anyhow::Result<()> {
        while !seen.contains_key(value) {
            let (value, told) = self.values.recv().await.context("the watch ended")?;
            seen.entry(value).or_default().push(told);
        }
        Ok(())
    }

    /// The CPU time that it used so far.
    pub(super) fn cpu(&self) -> Option<Duration> {
        cpu(self.child.id())
    }

    /// Has it do nothing for a while, as if it were not there.
    pub(super) fn pause(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets it go on.
    pub(super) fn go_on(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let process = Pid::from_raw(i32::try_from(self.child.id()).context("the watch's process")?);
        kill(process, signal).context("the watch's process")
    }

    /// Ends it. Nobody waits for it yet.
    pub(super) fn stop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.stop();
        let _ = self.child.wait();
    }
}

/// A line of a watch, as far as it matters here.
#[derive(Deserialize)]
struct Line {
    field: String,
    new: Option<String>,
    #[serde(default)]
    gap: Option<IgnoredAny>,
}

/// Passes on the value that a line reports, with the time at which it came; none where nobody wants it any more.
fn pass_on(line: &str, sender: &UnboundedSender<(String, Told)>) -> Option<()> {
    let at = Instant::now();
    match serde_json::from_str(line) {
        Ok(Line { field, new: Some(value), gap }) if field.contains(CHANGE) => {
            sender.send((value, Told { at, over_gap: gap.is_some() })).ok()
        }
        _ => Some(()),
    }
}

/// The CPU time that a process used so far, where the kernel tells.
pub(super) fn cpu(process: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may have anything in it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    let per_second = u64::try_from(sysconf(SysconfVar::CLK_TCK).ok()??).ok()?;
    Some(Duration::from_millis(ticks * 1000 / per_second))
}

/// What all processors of this machine have done so far, in ticks.
pub(super) struct Busy {
    all: u64,
    idle: u64,
}

impl Busy {
    pub(super) fn now() -> Option<Self> {
        Self::read(&std::fs::read_to_string("/proc/stat").ok()?)
    }

    fn read(stat: &str) -> Option<Self> {
        let first = stat.lines().next()?.strip_prefix("cpu ")?;
        // user, nice, system, idle, iowait, irq, softirq, steal; guests are in user.
        let ticks: Vec<u64> = first.split_whitespace().take(8).map_while(|ticks| ticks.parse().ok()).collect();
        Some(Self { all: ticks.iter().sum(), idle: ticks.get(3)? + ticks.get(4)? })
    }

    /// Which share of the time since then they were busy, in %.
    pub(super) fn since(&self, before: &Self) -> Option<f64> {
        let [all, idle] = [self.all.checked_sub(before.all)?, self.idle.checked_sub(before.idle)?];
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        (all > 0).then(|| all.saturating_sub(idle) as f64 / all as f64 * 100.0)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn only_the_changes_of_the_benchmark_are_passed_on() {
        let (sender, mut values) = unbounded_channel();
        let field = format!("metadata.annotations[{CHANGE}]");
        for line in [
            r#"{"field": "metadata.labels[a]", "new": "b"}"#,
            "no JSON",
            &format!(r#"{{"field": "{field}", "new": null}}"#),
            &format!(r#"{{"field": "{field}", "old": "a", "new": "b"}}"#),
            &format!(r#"{{"field": "{field}", "old": "b", "new": "c", "gap": {{"reason": "r"}}}}"#),
        ] {
            assert!(pass_on(line, &sender).is_some());
        }
        for expected in [("b", false), ("c", true)] {
            let (value, told) = values.try_recv().unwrap();
            assert_eq!((value.as_str(), told.over_gap), expected);
        }
        assert!(values.try_recv().is_err());
    }

    #[test]
    fn processors_are_busy_when_they_are_not_idle() {
        let read = |text: &str| Busy::read(text).unwrap();
        let (before, after) = (read("cpu  10 0 10 80 0 0 0 0 0 0\ncpu0 1"), read("cpu  40 0 10 130 20 0 0 0 0 0\n"));
        assert!((after.since(&before).unwrap() - 30.0).abs() < 1e-6);
        assert!(before.since(&after).is_none() && Busy::read("intr 1").is_none());
        assert!(cpu(std::process::id()).is_some());
    }
}
