//! Interruption: the first signal tears down, the second leaves at once.

use std::io::Write as _;

use tokio_util::sync::CancellationToken;

use crate::engine;

/// A token that the first SIGINT or SIGTERM cancels. Whatever was made is then still removed; a second signal exits
/// without waiting for that, and `policyprobe cleanup` removes the rest.
pub(super) fn token() -> std::io::Result<CancellationToken> {
    caught([FIRST, SECOND])
}

/// The same for what makes nothing: there is nothing to say.
pub(super) fn quietly() -> std::io::Result<CancellationToken> {
    caught(["", ""])
}

fn caught(texts: [&'static str; 2]) -> std::io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let cancel = token.clone();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        // Both are caught from here on, before anything is made.
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::spawn(async move {
            for text in texts {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if !text.is_empty() {
                    let _ = writeln!(anstream::stderr(), "{text}");
                }
                if cancel.is_cancelled() {
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

const FIRST: &str = "interrupted: tearing the lab down (once more: leave at once)";
const SECOND: &str = "interrupted again: left without tearing down; `policyprobe cleanup` removes what is left";
