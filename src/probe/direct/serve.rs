//! The agent's side of an open stream: commands in, reports out, calls side by side.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::{AbortHandle, JoinSet},
    time::{Instant, timeout_at},
};

use super::{Command, Finding, Prober, Report, Sockets, Work, log};

/// How long a finding may wait for others of its call: each that is sent by itself wakes every program that passes the stream on,
/// in a cluster six of them, which cost more than the request did. Nobody does anything with some of a call's findings before the
/// last one takes the others along; only what a stream that is cut had yet to carry is to be little.
const LINGER: Duration = Duration::from_secs(1);
/// The same for the first thing that a witness finds, for which a volley waits.
const FIRST_LINGER: Duration = Duration::from_millis(20);
/// The same for what a witness goes on to find: nobody waits for it, but all of it is needed when a volley is over, of which the
/// last findings take it along.
pub const WATCH_LINGER: Duration = Duration::from_millis(100);

/// A report, and how long it may wait for others.
type Queued = (Report, Duration);

/// Takes commands until the input ends; what is still under way then is given up. An error is of the streams, or of a
/// command that cannot be read: whoever sends such has to be told, and not to wait.
pub async fn serve<S: Sockets>(
    input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Unpin,
    prober: &Prober,
    sockets: S,
) -> io::Result<()> {
    let (reports, queue) = unbounded_channel();
    let _ = reports.send((Report::Ready { version: env!("CARGO_PKG_VERSION").to_owned() }, Duration::ZERO));
    tokio::select! {
        ended = write(output, queue) => ended,
        ended = read(input, prober, sockets, reports) => ended,
    }
}

async fn read<S: Sockets>(
    input: impl AsyncRead + Unpin,
    prober: &Prober,
    sockets: S,
    reports: UnboundedSender<Queued>,
) -> io::Result<()> {
    let sockets = Arc::new(sockets);
    let mut calls = JoinSet::new();
    let mut running: HashMap<u64, AbortHandle> = HashMap::new();
    let mut lines = BufReader::new(input).lines();
    loop {
        tokio::select! {
            line = lines.next_line() => {
                let Some(line) = line? else { return Ok(()) };
                running.retain(|_, call| !call.is_finished());
                let reports = reports.clone();
                match serde_json::from_str(&line)? {
                    Command::Cancel { id } => drop(running.remove(&id).inspect(AbortHandle::abort)),
                    Command::Call { id, work } => {
                        let (prober, sockets, linger) = (prober.clone(), Arc::clone(&sockets), linger(&work));
                        running.insert(id, calls.spawn(async move {
                            let found = reports.clone();
                            let found = move |finding: Finding| {
                                let linger = linger(finding.index);
                                drop(found.send((Report::Found { id, finding }, linger)));
                            };
                            let answered = prober.run(work, &*sockets, found).await;
                            let _ = reports.send((Report::Done { id, answered }, Duration::ZERO));
                        }));
                    }
                    Command::Seen { id, at, nonces } => {
                        running.insert(id, calls.spawn(async move {
                            let _ = reports.send((Report::Seen { id, seen: log::seen(at, &nonces).await }, Duration::ZERO));
                        }));
                    }
                }
            }
            Some(_) = calls.join_next() => {}
        }
    }
}

/// How long the finding of a request of some work may wait, by its index.
fn linger(work: &Work) -> impl Fn(usize) -> Duration + Clone + Send + 'static {
    let is_watch = work.every_us.is_some();
    move |index| match index {
        0 if is_watch => FIRST_LINGER,
        _ if is_watch => WATCH_LINGER,
        _ => LINGER,
    }
}

/// Writes reports until nobody makes any more.
async fn write(mut output: impl AsyncWrite + Unpin, mut queue: UnboundedReceiver<Queued>) -> io::Result<()> {
    while let Some((report, linger)) = queue.recv().await {
        let mut text = line(&report)?;
        let mut until = Instant::now() + linger;
        // The one that is most in a hurry takes the others along.
        while let Ok(Some((report, linger))) = timeout_at(until, queue.recv()).await {
            text.push_str(&line(&report)?);
            until = until.min(Instant::now() + linger);
        }
        while let Ok((report, _)) = queue.try_recv() {
            text.push_str(&line(&report)?);
        }
        output.write_all(text.as_bytes()).await?;
        output.flush().await?;
    }
    Ok(())
}

fn line(report: &Report) -> io::Result<String> {
    Ok(serde_json::to_string(report)? + "\n")
}
