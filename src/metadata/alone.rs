//! A metadata server that runs by itself, for a look at it and for tests of one's own: the same in a process of the
//! harness and in one of the small agent.

use std::{
    io::{ErrorKind, Write as _},
    net::SocketAddr,
    sync::Arc,
};

use anyhow::{Result, anyhow, ensure};
use serde::{Deserialize, Serialize};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};

use super::{Cloud, Options, is_metadata_address};
use crate::{
    http::{self, Entry, Event, Log, Server, control_of},
    probe::direct,
};

/// A server, as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Alone {
    /// Whose it is.
    pub cloud: Cloud,
    /// Where it serves.
    pub listen: Vec<SocketAddr>,
    /// Where it says what it has seen.
    pub control: Option<SocketAddr>,
    /// What it says that it is, to requests with a nonce.
    pub identity: String,
    /// How it is set up.
    pub options: Options,
    /// Whether it prints a line for each request.
    pub log: bool,
}

/// Serves until a signal ends it, after it has said on standard error where.
pub async fn serve_alone(alone: Alone) -> Result<()> {
    let is_free = |address: &SocketAddr| !is_metadata_address(address.ip());
    ensure!(alone.listen.iter().chain(&alone.control).all(is_free), "a metadata address is a lab's alone");
    // A connection needs a descriptor, and a shell's usual limit is for a thousand.
    let _ = direct::raise_file_limit();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let definition = alone.cloud.definition();
    let log = if alone.log { Log::observed(print) } else { Log::default() };
    let server = Server { identity: alone.identity, handler: Arc::from((definition.server)(&alone.options)), log };
    let mut tasks = JoinSet::new();
    if let Some(address) = alone.control {
        let listener = bind(address).await?;
        say(&format!("request log: http://{}/log", listener.local_addr()?));
        tasks.spawn(Arc::new(control_of(&server)).serve(listener));
    }
    let server = Arc::new(server);
    let mut bound = Vec::new();
    for address in alone.listen {
        let listener = bind(address).await?;
        bound.push(listener.local_addr()?);
        let headers = definition.headers.iter().flat_map(|(name, value)| [" -H '", name, ": ", value, "'"]);
        let headers = headers.collect::<String>();
        say(&format!("{}: http://{}{}{headers}", alone.cloud, listener.local_addr()?, definition.path));
        tasks.spawn(Arc::clone(&server).serve(listener));
    }
    if alone.log {
        watch(&mut tasks, &server.log, bound);
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Has the log tell of first packets too that no connection followed, where this may see them.
fn watch(tasks: &mut JoinSet<()>, log: &Log, bound: Vec<SocketAddr>) {
    match http::packets() {
        Ok(packets) => {
            let is_ours = move |local: SocketAddr| {
                let is_at =
                    |at: &SocketAddr| at.port() == local.port() && (at.ip().is_unspecified() || at.ip() == local.ip());
                bound.iter().any(is_at)
            };
            let watching = http::watch(packets, log.clone(), is_ours);
            tasks.spawn(async { drop(watching.await) });
        }
        Err(error) => say(&format!("first packets that no connection follows are not seen here: {error}")),
    }
}

/// Where nobody can be told it serves all the same.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A line of the log: when, from where, what, and the answer's status.
fn print(entry: &Entry) {
    let Entry { event, at, peer, method, path, status, .. } = entry;
    let what = match event {
        Event::Request => format!("{method} {path}"),
        Event::Broken => "what is no request".to_owned(),
        Event::Connection => "a connection without a request".to_owned(),
        Event::Syn => "a first packet without a connection".to_owned(),
    };
    let status = status.map_or_else(|| "-".to_owned(), |status| status.to_string());
    // A reader that went away is no reason to stop serving.
    let _ = writeln!(std::io::stdout(), "{}.{:03} {peer} {status} {what}", at / 1000, at % 1000);
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::AddrInUse => "; another program listens there: choose another port",
            ErrorKind::PermissionDenied => "; ports below 1024 need privileges: choose a higher one",
            ErrorKind::AddrNotAvailable => "; this machine does not have that address",
            _ => "",
        };
        anyhow!("cannot listen on {address}: {error}{hint}")
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn alone(listen: &str) -> Alone {
        Alone {
            cloud: Cloud::Aws,
            listen: vec![listen.parse().unwrap()],
            control: None,
            identity: "metadata/aws".to_owned(),
            options: Options { hop_limit: Some(1), bare: true, ..Options::seeded("s") },
            log: true,
        }
    }

    #[test]
    fn it_can_be_handed_to_another_process() {
        let handed = serde_json::to_string(&alone("[::1]:8080")).unwrap();
        assert_eq!(serde_json::from_str::<Alone>(&handed).unwrap(), alone("[::1]:8080"));
    }

    #[tokio::test]
    async fn it_never_listens_at_a_metadata_address_and_says_why_it_cannot_listen_elsewhere() {
        let error = serve_alone(alone("169.254.169.254:80")).await.unwrap_err();
        assert!(error.to_string().contains("a lab's alone"), "{error}");
        let error = serve_alone(alone("192.0.2.1:8080")).await.unwrap_err();
        assert!(error.to_string().contains("this machine does not have that address"), "{error}");
    }
}
