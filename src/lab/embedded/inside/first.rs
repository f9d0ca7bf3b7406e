//! The first process of a pod, before anything else is in it.

use std::{process::Stdio, sync::Arc};

use anyhow::Context;
use tokio::process::Command;

use super::namespace::Namespace;

/// Where POSIX has the shell, and where `sleep` is: a `PATH` that holds nothing but `curl` has neither.
const SHELL: &str = "/bin/sh";
const SYSTEM: &str = ":/usr/bin:/bin";

/// Runs a script in a namespace; the lines of its output. It is killed when the future is dropped.
pub(super) async fn run(ns: Arc<Namespace>, script: String) -> anyhow::Result<Vec<String>> {
    // The user's comes first: it is the same `curl` that every other probe uses.
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(SYSTEM);
    let mut command = Command::new(SHELL);
    command.args(["-c", &script]).env_clear().env("PATH", path);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let child = ns.run(move || command.spawn()).await?.context("cannot start a shell")?;
    let output = child.wait_with_output().await?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}
