//! The agent's side of an open stream: commands in, reports out, calls side by side.

use std::{collections::HashMap, io, sync::Arc};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    sync::mpsc::unbounded_channel,
    task::{AbortHandle, JoinSet},
};

use super::{Command, Prober, Report, Sockets, log};

/// Takes commands until the input ends; what is still under way then is given up. An error is of the streams, or of a
/// command that cannot be read: whoever sends such has to be told, and not to wait.
pub async fn serve<S: Sockets>(
    input: impl AsyncRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
    prober: &Prober,
    sockets: S,
) -> io::Result<()> {
    let sockets = Arc::new(sockets);
    let (reports, mut queue) = unbounded_channel();
    let mut calls = JoinSet::new();
    let mut running: HashMap<u64, AbortHandle> = HashMap::new();
    let mut lines = BufReader::new(input).lines();
    let _ = reports.send(Report::Ready { version: env!("CARGO_PKG_VERSION").to_owned() });
    loop {
        tokio::select! {
            Some(report) = queue.recv() => {
                let mut text = serde_json::to_string(&report)? + "\n";
                // What is there already goes out with it.
                while let Ok(report) = queue.try_recv() {
                    text.push_str(&serde_json::to_string(&report)?);
                    text.push('\n');
                }
                output.write_all(text.as_bytes()).await?;
                output.flush().await?;
            }
            line = lines.next_line() => {
                let Some(line) = line? else { return Ok(()) };
                running.retain(|_, call| !call.is_finished());
                let reports = reports.clone();
                match serde_json::from_str(&line)? {
                    Command::Cancel { id } => drop(running.remove(&id).inspect(AbortHandle::abort)),
                    Command::Call { id, work } => {
                        let (prober, sockets) = (prober.clone(), Arc::clone(&sockets));
                        running.insert(id, calls.spawn(async move {
                            let found = reports.clone();
                            let found = move |finding| drop(found.send(Report::Found { id, finding }));
                            let answered = prober.run(work, &*sockets, found).await;
                            let _ = reports.send(Report::Done { id, answered });
                        }));
                    }
                    Command::Seen { id, at, nonces } => {
                        running.insert(id, calls.spawn(async move {
                            let _ = reports.send(Report::Seen { id, seen: log::seen(at, &nonces).await });
                        }));
                    }
                }
            }
            Some(_) = calls.join_next() => {}
        }
    }
}
