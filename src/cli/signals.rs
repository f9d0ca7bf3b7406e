//! Interruption: the first signal tears down, the second leaves at once.

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use crate::engine;

/// A token that the first SIGINT, SIGTERM or SIGHUP cancels. Whatever was made is then still removed; a second signal exits
/// without waiting for that, and `policyprobe cleanup` removes the rest.
pub(super) fn token() -> std::io::Result<CancellationToken> {
    caught([FIRST, SECOND])
}

/// Runs what makes nothing that could stay, until it ends or is interrupted: it is dropped then, and the programs that it
/// has started end with it, as a kubeconfig's credential plugin. There is nothing to say.
pub(super) async fn unless_interrupted(command: impl Future<Output = anyhow::Result<u8>>) -> anyhow::Result<u8> {
    caught(["", ""])?.run_until_cancelled(command).await.unwrap_or(Ok(engine::INTERRUPTED))
}

fn caught(texts: [&'static str; 2]) -> std::io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let cancel = token.clone();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        // Both are caught from here on, before anything is made.
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let mut hangup = if survives_hangup() { None } else { Some(signal(SignalKind::hangup())?) };
        tokio::spawn(async move {
            let mut first: Option<Instant> = None;
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    () = received(&mut hangup) => {}
                }
                if first.is_some_and(|first| first.elapsed() < TOGETHER) {
                    continue;
                }
                let text = texts[usize::from(first.is_some())];
                if !text.is_empty() {
                    let _ = writeln!(anstream::stderr(), "{text}");
                }
                if first.replace(Instant::now()).is_some() {
                    std::process::exit(i32::from(engine::INTERRUPTED));
                }
                cancel.cancel();
            }
        });
    }
    #[cfg(not(unix))]
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            cancel.cancel();
        }
    });
    Ok(token)
}

#[cfg(unix)]
async fn received(signal: &mut Option<tokio::signal::unix::Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether this was started to go on without its terminal, as by `nohup`; so too where nobody can tell.
#[cfg(unix)]
fn survives_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_none_or(|mask| mask & (1 << (nix::sys::signal::Signal::SIGHUP as u32 - 1)) != 0)
}

/// Signals so soon after the first are the same one: `timeout` sends it to a process and to its group, and a terminal that
/// hangs up does so by its kernel and by its shell.
const TOGETHER: Duration = Duration::from_millis(200);

const FIRST: &str = "interrupted: tearing the lab down (once more: leave at once)";
const SECOND: &str = "interrupted again: left without tearing down; `policyprobe cleanup` removes what is left";
