//! Accepting connections. What happens on one is elsewhere.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::TcpListener, task::JoinSet, time::timeout};

use super::{Handler, Log, connection};

/// How many connections are open at once; more wait in the kernel.
const CONNECTIONS: usize = 10_000;

/// How long accepting pauses when the system has no resources for another connection.
const PAUSE: Duration = Duration::from_millis(50);

/// A server: who it says that it is, what it answers, and what it remembers. It may serve several listeners.
pub struct Server {
    /// What [`super::SERVER`] says, and the answer at [`super::IDENTITY_PATH`].
    pub identity: String,
    /// What answers.
    pub handler: Arc<dyn Handler>,
    /// Where each request is recorded before it is answered.
    pub log: Log,
}

impl Server {
    /// Serves until the future is dropped, and every connection with it. Nothing that a client does ends it.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            if connections.len() >= CONNECTIONS {
                connections.join_next().await;
            }
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
            };
            let local = accepted.and_then(|(stream, peer)| Ok((plain(stream.local_addr()?), stream, plain(peer))));
            let Ok((local, stream, peer)) = local else {
                // Out of descriptors or memory, as a rule: the end of a connection frees some.
                let _ = timeout(PAUSE, connections.join_next()).await;
                continue;
            };
            self.log.accepted(peer);
            if self.handler.serves(local) {
                // An answer that waits for the client's acknowledgement would measure Nagle's algorithm.
                let _ = stream.set_nodelay(true);
                connections.spawn(connection::serve(stream, peer, local, Arc::clone(&self)));
            }
        }
    }
}

/// An address as packets have it: a listener for both families has those of IPv4 mapped into IPv6.
pub(crate) fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;
    use crate::http::{Echo, Entry, control};

    async fn start(server: Server) -> (SocketAddr, JoinSet<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (address, mut tasks) = (listener.local_addr().unwrap(), JoinSet::new());
        tasks.spawn(Arc::new(server).serve(listener));
        (address, tasks)
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        // A reset after garbage is as good as an end.
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }

    fn get(path: &str, nonce: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nConnection: close\r\nPolicyprobe-Nonce: {nonce}\r\n\r\n")
    }

    #[tokio::test]
    async fn two_hundred_clients_are_served_beside_slow_and_broken_ones() {
        let log = Log::default();
        let server = Server { identity: "pod/a/b".into(), handler: Arc::new(Echo::new("pod/a/b")), log: log.clone() };
        let (address, tasks) = start(server).await;
        let mut slow = Vec::new();
        for _ in 0..50 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nX-").await.unwrap();
            slow.push(stream);
        }
        let mut clients = JoinSet::new();
        for index in 0..200 {
            clients.spawn(async move { ask(address, &get("/", &format!("n{index}"))).await });
            clients.spawn(async move { ask(address, "\u{1}\u{2} garbage\r\n\r\n").await });
        }
        let answers = clients.join_all().await;
        assert_eq!(answers.iter().filter(|answer| answer.ends_with("\r\n\r\npod/a/b\n")).count(), 200);
        assert_eq!(answers.iter().filter(|answer| answer.starts_with("HTTP/1.1 400 ")).count(), 200);
        assert_eq!(log.nonces().len(), 200);
        for stream in &mut slow {
            stream.write_all(b"a: b\r\nConnection: close\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"));
        }
        drop(tasks);
    }

    #[tokio::test]
    async fn the_control_endpoint_tells_what_the_server_saw() {
        let log = Log::default();
        let server = Server { identity: "pod/a/b".into(), handler: Arc::new(Echo::new("x")), log: log.clone() };
        let (address, _tasks) = start(server).await;
        let (control, _control_tasks) = start(control("pod/a/b", &log)).await;
        let body = |answer: String| answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap();
        assert_eq!(body(ask(address, &get("/.policyprobe/identity", "one")).await), "pod/a/b\n");
        assert_eq!(body(ask(address, &get("/two?secret", "two")).await), "x\n");
        assert_eq!(body(ask(control, &get("/nonces", "three")).await), "one\ntwo\n");
        let question = "POST /nonces HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 8\r\n\r\none\nfour";
        assert_eq!(body(ask(control, question).await), "one\n");
        assert_eq!(body(ask(control, &get("/identity", "three")).await), "pod/a/b\n");
        let entries: Vec<Entry> = serde_json::from_str(&body(ask(control, &get("/log", "three")).await)).unwrap();
        assert_eq!(entries, log.entries());
        assert_eq!((entries[1].path.as_str(), entries[1].status, entries[1].local), ("/two", Some(200), address));
        assert!(ask(control, &get("/else", "three")).await.starts_with("HTTP/1.1 404 "));
    }

    #[test]
    fn the_control_endpoint_is_never_at_a_metadata_address() {
        let control = control("x", &Log::default());
        assert!(!control.handler.serves(([169, 254, 169, 254], 1).into()));
        assert!(control.handler.serves(([172, 18, 0, 5], 1).into()));
    }
}
