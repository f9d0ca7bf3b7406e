//! From an ordinary process to the first one of its own namespaces, and what to say where that is forbidden.
//!
//! The process that is started makes the namespaces and runs the same program again inside them, as their PID 1: when
//! that ends, the kernel kills all that it started, and with the last process go namespaces, links, routes and mounts.
//! It ends when its input ends, which the kernel sees to even if the program outside is killed.

use std::{
    fs,
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

use anyhow::{Context, ensure};
use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
    sys::{prctl::set_pdeathsig, signal::Signal},
    unistd::{getegid, geteuid},
};

use super::{curl::Curl, names, server};
use crate::{
    engine::NO_LAB,
    lab::{
        LabError,
        embedded::protocol::{Failure, Frame},
    },
};

/// The word that says that the namespaces are there.
const INSIDE: &str = "--in-namespaces";

/// The hidden subcommand's main function. The process has a single thread when it is called.
#[must_use]
pub fn main() -> ExitCode {
    let inside = std::env::args().any(|arg| arg == INSIDE);
    let ended = if inside { serve() } else { enter() };
    match ended {
        Ok(code) => code,
        Err(error) => {
            let hello = Frame::Hello(Err(Failure::from(LabError::from(error))));
            if let Ok(line) = serde_json::to_string(&hello) {
                println!("{line}");
            }
            ExitCode::from(NO_LAB)
        }
    }
}

/// Makes the namespaces, and runs this program in them.
fn enter() -> anyhow::Result<ExitCode> {
    become_root().map_err(explain)?;
    let mut child = Command::new("/proc/self/exe");
    child.arg0("policyprobe").args(["inside", INSIDE]);
    let status = child.status().context("cannot run this program again").map_err(explain)?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(NO_LAB)))
}

fn become_root() -> anyhow::Result<()> {
    let (user, group) = (geteuid(), getegid());
    let rest = CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET;
    match unshare(CloneFlags::CLONE_NEWUSER | rest) {
        Ok(()) => {
            let write = |file: &str, text: String| {
                let path = format!("/proc/self/{file}");
                fs::write(&path, text).with_context(|| format!("cannot write {path}"))
            };
            write("setgroups", "deny".to_owned())?;
            write("uid_map", format!("0 {user} 1"))?;
            write("gid_map", format!("0 {group} 1"))
        }
        // Root needs no user namespace, only the others.
        Err(_) if user.is_root() => unshare(rest).context("cannot make namespaces"),
        Err(error) => Err(error).context("cannot make a user namespace"),
    }
}

/// In the namespaces: hides what is the host's, and serves until the input ends.
fn serve() -> anyhow::Result<ExitCode> {
    set_pdeathsig(Signal::SIGKILL)?;
    ensure!(std::process::id() == 1, "`inside` is not for use by hand");
    let curl = Curl::find().map_err(|error| {
        LabError::with_hint(
            format!("{error:#}"),
            "install curl 7.84 or later: the lab's probes are real curl processes",
        )
    })?;
    names::isolate().map_err(explain)?;
    server::run(curl)
}

/// Adds what can be done where the system forbids something.
fn explain(error: anyhow::Error) -> anyhow::Error {
    let errno = error.chain().find_map(|cause| {
        let io = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error).map(Errno::from_raw);
        io.or_else(|| cause.downcast_ref::<Errno>().copied())
    });
    let setting = |path: &str| fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
    match hint(errno, setting) {
        Some(hint) => {
            let message = format!("this system does not let an ordinary user make the lab's namespaces: {error:#}");
            LabError::with_hint(message, hint).into()
        }
        None => error,
    }
}

/// What to change, by the error and the kernel's settings.
fn hint(errno: Option<Errno>, setting: impl Fn(&str) -> Option<u64>) -> Option<String> {
    let change = |name: &str, value: &str| Some(format!("`sudo sysctl -w {name}={value}` allows it, or run as root"));
    if !matches!(errno, Some(Errno::EPERM | Errno::EACCES | Errno::ENOSPC | Errno::EUSERS | Errno::EINVAL)) {
        return None;
    }
    if setting("/proc/sys/kernel/unprivileged_userns_clone") == Some(0) {
        return change("kernel.unprivileged_userns_clone", "1");
    }
    for name in ["user", "net", "pid", "mnt"] {
        if setting(&format!("/proc/sys/user/max_{name}_namespaces")) == Some(0) {
            return change(&format!("user.max_{name}_namespaces"), "15000");
        }
    }
    if setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").is_some_and(|value| value != 0) {
        return change("kernel.apparmor_restrict_unprivileged_userns", "0");
    }
    Some(
        "in a container, its seccomp or AppArmor profile forbids it: `--security-opt seccomp=unconfined --security-opt \
         apparmor=unconfined --security-opt systempaths=unconfined` lifts that; on a host, see `user_namespaces(7)`"
            .to_owned(),
    )
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn hint_for(errno: Errno, settings: &[(&str, u64)]) -> Option<String> {
        hint(Some(errno), |path| settings.iter().find(|(name, _)| path.ends_with(name)).map(|(_, value)| *value))
    }

    #[test]
    fn the_setting_that_forbids_is_named() {
        for (errno, path, value, named) in [
            (Errno::EPERM, "kernel/unprivileged_userns_clone", 0, "kernel.unprivileged_userns_clone=1"),
            (Errno::ENOSPC, "user/max_user_namespaces", 0, "user.max_user_namespaces=15000"),
            (Errno::ENOSPC, "user/max_net_namespaces", 0, "user.max_net_namespaces=15000"),
            (
                Errno::EACCES,
                "kernel/apparmor_restrict_unprivileged_userns",
                1,
                "apparmor_restrict_unprivileged_userns=0",
            ),
        ] {
            let hint = hint_for(errno, &[(path, value)]).unwrap();
            assert!(hint.contains(named), "{hint}");
        }
    }

    #[test]
    fn other_errors_are_not_blamed_on_a_setting() {
        assert_eq!(hint_for(Errno::ENOENT, &[("user/max_user_namespaces", 0)]), None);
        let allowed = [("user/max_user_namespaces", 1000), ("kernel/apparmor_restrict_unprivileged_userns", 0)];
        assert!(hint_for(Errno::EPERM, &allowed).unwrap().contains("seccomp"));
    }
}
