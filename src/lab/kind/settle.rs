//! The end of a `kind create` that is given up.
//!
//! The Docker daemon finishes making a container although its client is killed, and lists it only then: whoever deletes
//! too early leaves it behind. So `kind` itself is killed, and its `docker run`s are waited for.

use std::{fs, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::time::{Instant, interval, timeout_at};

use crate::lab::state::ChildRecord;

const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// Ends a recorded process and its group, and returns when none of it is left.
pub(crate) async fn settle(child: ChildRecord) {
    if ChildRecord::of(child.pid).is_some_and(|now| now != child) {
        // The id is another process' now, which it can only be when nothing of the group is left.
        return;
    }
    end(child.pid);
    let mut polls = interval(POLL);
    let gone = async {
        loop {
            let members = members(child.pid);
            if members.is_empty() {
                return;
            }
            members.iter().filter(|(_, makes_container)| !makes_container).for_each(|(pid, _)| end(*pid));
            polls.tick().await;
        }
    };
    if timeout_at(Instant::now() + PATIENCE, gone).await.is_err() {
        members(child.pid).iter().for_each(|(pid, _)| end(*pid));
    }
}

fn end(pid: i32) {
    // One that has ended meanwhile needs nothing more.
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
}

/// The processes of a group that run, and whether each is a `docker run`.
fn members(group: i32) -> Vec<(i32, bool)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let is_member = |pid: &i32| {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| runs_in_group(&stat) == Some(group))
    };
    let describe = |pid| (pid, fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| makes_container(&line)));
    pids.filter(is_member).map(describe).collect()
}

/// The process group, by the fifth field of proc_pid_stat(5); none of a process that has ended.
fn runs_in_group(stat: &str) -> Option<i32> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    fields.nth(1)?.parse().ok().filter(|_| !matches!(state, "Z" | "X"))
}

fn makes_container(command_line: &[u8]) -> bool {
    let mut words = command_line.split(|byte| *byte == 0);
    words.next().is_some_and(|program| program.ends_with(b"docker")) && words.next() == Some(b"run")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_told_by_group_and_state() {
        assert_eq!(runs_in_group("7 (a) b) S 1 42 7 0 -1"), Some(42));
        assert_eq!(runs_in_group("7 (docker) Z 1 42 7 0 -1"), None);
    }

    #[test]
    fn only_docker_run_makes_containers() {
        assert!(makes_container(b"/usr/bin/docker\0run\0--name\0x\0"));
        assert!(!makes_container(b"docker\0exec\0x\0kubeadm\0"));
        assert!(!makes_container(b"kind\0create\0"));
    }
}
