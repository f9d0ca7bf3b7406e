//! One connection: requests in, answers out, in order, within limits of time and size.

use std::{
    future::poll_fn,
    io::{Error, ErrorKind, Result},
    mem::MaybeUninit,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Poll, ready},
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    time::timeout,
};

use super::{
    CLIENT, Entry, Event, IDENTITY_PATH, NONCE, Reply, Request, Response, SERVER, Server,
    chunked::Chunked,
    log, parse,
    parse::{Body, Head, Refusal},
    write,
};

/// How long a request may take to arrive, and a connection be idle before it.
const PATIENCE: Duration = Duration::from_secs(30);
/// How much is read in one go.
const PIECE: usize = 4096;
/// An empty buffer that is no larger is kept for the next request: so many connections may wait at once.
const KEPT: usize = 512;
/// How long an answer may take to be taken.
const DELIVERY: Duration = Duration::from_secs(30);
/// How long, and for how many bytes, a refused client is listened to, so that the answer is not lost in a reset.
const LINGER: (Duration, u64) = (Duration::from_secs(1), 1 << 20);

/// What a connection is made over.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// Sets how many hops packets may take from now on.
    fn limit_hops(&self, hops: u8);

    /// Has what is sent from now on wait for the end of the connection, and travel with it.
    fn gather(&self);
}

impl Socket for TcpStream {
    fn limit_hops(&self, hops: u8) {
        // Over a socket for both families IPv4's packets have IPv4's limit.
        if self.local_addr().is_ok_and(|local| local.ip().to_canonical().is_ipv4()) {
            let _ = setsockopt(self, sockopt::Ipv4Ttl, &hops.into());
        } else {
            let _ = setsockopt(self, sockopt::Ipv6Ttl, &hops.into());
        }
    }

    fn gather(&self) {
        #[cfg(target_os = "linux")]
        let _ = socket2::SockRef::from(self).set_tcp_cork(true);
    }
}

/// Serves one connection to its end.
pub(super) async fn serve<S: Socket>(stream: S, peer: SocketAddr, local: SocketAddr, server: Arc<Server>) {
    let mut connection = Connection { stream, buffer: Vec::new(), searched: 0, is_used: false, peer, local, server };
    // An error is the client's: it went away or took too long.
    let _ = connection.run().await;
    if !connection.is_used {
        connection.note(Event::Connection, None);
    }
}

struct Connection<S> {
    stream: S,
    /// What has been read and belongs to no request yet.
    buffer: Vec<u8>,
    /// How much of it has been searched for the end of a head, and holds none.
    searched: usize,
    /// Whether anything came that is in the log.
    is_used: bool,
    peer: SocketAddr,
    local: SocketAddr,
    server: Arc<Server>,
}

impl<S: Socket> Connection<S> {
    async fn run(&mut self) -> Result<()> {
        loop {
            let head = match timeout(PATIENCE, self.head()).await {
                Ok(head) => head?,
                Err(_) if self.buffer.is_empty() => return Ok(()),
                Err(_) => Some(Err(Refusal(408))),
            };
            let goes_on = match head {
                None => return Ok(()),
                Some(Err(refusal)) => return self.refuse(refusal).await,
                Some(Ok(head)) => self.exchange(head).await?,
            };
            if !goes_on {
                return self.stream.shutdown().await;
            }
        }
    }

    /// The next request's head; nothing at the connection's end.
    async fn head(&mut self) -> Result<Option<std::result::Result<Head, Refusal>>> {
        loop {
            // A head that comes byte by byte is not read anew for each of them.
            let news = &self.buffer[self.searched..];
            let head = if news.contains(&b'\n') || self.buffer.len() > parse::REQUEST_LINE {
                parse::head(&self.buffer)
            } else {
                Ok(None)
            };
            self.searched = self.buffer.len();
            match head {
                Ok(Some((head, length))) => {
                    self.buffer.drain(..length);
                    if self.buffer.is_empty() && self.buffer.capacity() > KEPT {
                        self.buffer = Vec::new();
                    }
                    self.searched = 0;
                    return Ok(Some(Ok(head)));
                }
                Ok(None) if self.read().await? == 0 => return Ok(None),
                Ok(None) => {}
                Err(refusal) => return Ok(Some(Err(refusal))),
            }
        }
    }

    /// Puts something that is no request into the log.
    fn note(&mut self, event: Event, status: Option<u16>) {
        self.is_used = true;
        let (method, path) = (String::new(), String::new());
        let (peer, local) = (self.peer, self.local);
        let _ = self.server.log.add(Entry { event, at: log::now(), nonce: None, peer, local, method, path, status });
    }

    /// Reads what is there. A connection that waits for it has no buffer: that is on the stack of who polls.
    async fn read(&mut self) -> Result<usize> {
        poll_fn(|context| {
            let mut piece = [MaybeUninit::uninit(); PIECE];
            let mut piece = ReadBuf::uninit(&mut piece);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut piece))?;
            self.buffer.extend_from_slice(piece.filled());
            Poll::Ready(Ok(piece.filled().len()))
        })
        .await
    }

    /// Answers one request; whether the connection goes on.
    async fn exchange(&mut self, head: Head) -> Result<bool> {
        let (keep_alive, body, expects_continue) = (head.keep_alive, head.body, head.expects_continue);
        self.is_used = true;
        let mut request = Request {
            method: head.method,
            path: head.path,
            query: head.query,
            headers: head.headers,
            body: Vec::new(),
            peer: self.peer,
            local: self.local,
        };
        let nonce = request.header(NONCE).filter(|nonce| parse::is_nonce(nonce));
        let nonce = nonce.map(str::to_owned);
        // Before the body is read and the answer written: a request whose answer gets lost has arrived all the same.
        let number = self.server.log.add(Entry {
            event: Event::Request,
            at: log::now(),
            nonce: nonce.clone(),
            peer: self.peer,
            local: self.local,
            method: request.method.clone(),
            path: request.path.clone(),
            status: None,
        });
        let is_left_out = expects_continue && !self.server.handler.gives_leave();
        if !is_left_out && body != Body::Length(0) {
            request.body = match timeout(PATIENCE, self.body(body, expects_continue)).await {
                Ok(Ok(body)) => body?,
                Ok(Err(refusal)) => return self.refuse(refusal).await.map(|()| false),
                Err(_) => return self.refuse(Refusal(408)).await.map(|()| false),
            };
        }
        let response = if nonce.is_some() && request.path == IDENTITY_PATH {
            Response::text(200, format!("{}\n", self.server.identity))
        } else {
            match self.server.handler.answer(&request) {
                Reply::Now(response) => response,
                Reply::Later(promise) => self.unless_gone(promise).await?,
            }
        };
        self.server.log.answered(number, response.status);
        let client = self.peer.ip().to_canonical().to_string();
        let proof = nonce.as_deref().map(|nonce| [(NONCE, nonce), (SERVER, &self.server.identity), (CLIENT, &client)]);
        let extra = proof.as_ref().map_or(&[][..], |proof| &proof[..]);
        let bytes = write::bytes(&response, extra, request.method != "HEAD");
        if let Some(hops) = response.hop_limit {
            self.stream.limit_hops(hops);
        }
        let goes_on = keep_alive
            && !is_left_out
            && !response.header("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        if !goes_on {
            self.stream.gather();
        }
        self.send(&bytes).await?;
        Ok(goes_on)
    }

    /// The body; an error of the connection inside, a refusal of what came outside.
    async fn body(&mut self, body: Body, expects_continue: bool) -> std::result::Result<Result<Vec<u8>>, Refusal> {
        let is_there = match body {
            Body::Length(length) => self.buffer.len() >= length,
            Body::Chunked => !self.buffer.is_empty(),
        };
        if expects_continue
            && !is_there
            && let Err(error) = self.send(write::CONTINUE).await
        {
            return Ok(Err(error));
        }
        let longest = self.server.handler.longest_body();
        if matches!(body, Body::Length(length) if length > longest) {
            return Err(Refusal(413));
        }
        let mut chunked = Chunked::new(longest);
        loop {
            match body {
                Body::Length(length) if self.buffer.len() >= length => {
                    return Ok(Ok(self.buffer.drain(..length).collect()));
                }
                Body::Length(_) => {}
                Body::Chunked => {
                    if let Some(body) = chunked.read(&mut self.buffer)? {
                        return Ok(Ok(body));
                    }
                }
            }
            match self.read().await {
                Ok(0) => return Ok(Err(ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    /// Waits for the answer while the client does; what it sends meanwhile is kept for later.
    async fn unless_gone(&mut self, mut promise: Pin<Box<dyn Future<Output = Response> + Send>>) -> Result<Response> {
        loop {
            let full = self.buffer.len() >= parse::HEAD;
            tokio::select! {
                response = &mut promise => return Ok(response),
                read = self.read(), if !full => if read? == 0 {
                    return Err(ErrorKind::ConnectionAborted.into());
                },
            }
        }
    }

    async fn refuse(&mut self, Refusal(status): Refusal) -> Result<()> {
        self.note(Event::Broken, Some(status));
        let mut response = Response::text(status, format!("{}\n", write::reason(status)));
        response.headers.push(("Connection", "close".to_owned()));
        self.send(&write::bytes(&response, &[], true)).await?;
        self.stream.shutdown().await?;
        let mut rest = (&mut self.stream).take(LINGER.1);
        let _ = timeout(LINGER.0, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
        Ok(())
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        // Nearly always all of it is taken at once, and there is nothing to wait for.
        let taken = poll_fn(|context| {
            Poll::Ready(match Pin::new(&mut self.stream).poll_write(context, bytes) {
                Poll::Ready(taken) => taken,
                Poll::Pending => Ok(0),
            })
        });
        let rest = &bytes[taken.await?..];
        if rest.is_empty() {
            return Ok(());
        }
        timeout(DELIVERY, self.stream.write_all(rest)).await.map_err(|_| Error::from(ErrorKind::TimedOut))?
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{DuplexStream, duplex};

    use super::*;
    use crate::http::{Echo, Handler, Log};

    impl Socket for DuplexStream {
        fn limit_hops(&self, _: u8) {}

        fn gather(&self) {}
    }

    fn start(handler: impl Handler + 'static) -> (DuplexStream, Log, impl Future<Output = ()>) {
        let (client, stream) = duplex(1 << 22);
        let (log, address) = (Log::default(), SocketAddr::from(([127, 0, 0, 1], 80)));
        let server = Server { identity: "pod/a/b".into(), handler: Arc::new(handler), log: log.clone() };
        (client, log, serve(stream, address, address, Arc::new(server)))
    }

    /// Sends bytes and the end of the stream, and returns all that comes back.
    async fn talk(bytes: &[u8]) -> (String, Log) {
        let (mut client, log, serving) = start(Echo::new("pod/a/b"));
        let mut answer = Vec::new();
        let asking = async {
            client.write_all(bytes).await.unwrap();
            client.shutdown().await.unwrap();
            client.read_to_end(&mut answer).await.unwrap();
        };
        tokio::join!(serving, asking);
        (String::from_utf8(answer).unwrap(), log)
    }

    const PLAIN: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 8\r\n";

    #[tokio::test]
    async fn only_a_valid_nonce_is_answered_with_the_identity() {
        let (answer, log) = talk(b"GET /x?y HTTP/1.1\r\npolicyprobe-nonce: n-1\r\n\r\n").await;
        assert_eq!(
            answer,
            format!(
                "{PLAIN}Policyprobe-Nonce: n-1\r\nPolicyprobe-Server: pod/a/b\r\nPolicyprobe-Client: 127.0.0.1\r\n\r\npod/a/b\n"
            )
        );
        let [entry] = log.entries().try_into().unwrap();
        assert_eq!((entry.path.as_str(), entry.nonce.as_deref(), entry.status), ("/x", Some("n-1"), Some(200)));
        for nonce in ["", "a b", "a\u{e9}", &"n".repeat(129)] {
            let (answer, log) = talk(format!("GET / HTTP/1.1\r\nPolicyprobe-Nonce: {nonce}\r\n\r\n").as_bytes()).await;
            assert_eq!(answer, format!("{PLAIN}\r\npod/a/b\n"));
            assert!(log.nonces().is_empty() && log.entries().len() == 1);
        }
    }

    #[tokio::test]
    async fn requests_follow_each_other_until_one_closes() {
        let head = "HEAD / HTTP/1.1\r\n\r\n";
        let post = "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
        let (answer, log) =
            talk(format!("{head}{post}GET /old HTTP/1.0\r\n\r\nGET /never HTTP/1.1\r\n\r\n").as_bytes()).await;
        assert_eq!(answer, format!("{PLAIN}\r\n{PLAIN}\r\npod/a/b\n{PLAIN}\r\npod/a/b\n"));
        assert_eq!(log.entries().len(), 3);
    }

    #[tokio::test]
    async fn a_request_counts_from_its_head_on() {
        let (_, log) = talk(b"POST / HTTP/1.1\r\nPolicyprobe-Nonce: n\r\nContent-Length: 9\r\n\r\nabc").await;
        assert!(log.nonces().contains("n"));
        assert_eq!(log.entries()[0].status, None);
    }

    #[tokio::test]
    async fn a_client_that_waits_for_leave_to_send_its_body_gets_it() {
        let (answer, _) = talk(b"PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n").await;
        assert_eq!(answer, "HTTP/1.1 100 Continue\r\n\r\n");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_request_is_given_up_and_an_idle_connection_closed() {
        for (sent, status) in [
            ("GET / HT", "HTTP/1.1 408 "),
            ("POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc", "HTTP/1.1 408 "),
            ("", ""),
        ] {
            let (mut client, _, serving) = start(Echo::new("x"));
            client.write_all(sent.as_bytes()).await.unwrap();
            let mut answer = String::new();
            let asking = async { client.read_to_string(&mut answer).await.unwrap() };
            tokio::join!(serving, asking);
            assert!(answer.starts_with(status) && answer.is_empty() == status.is_empty(), "{answer}");
        }
    }

    struct Never;

    impl Handler for Never {
        fn answer(&self, _: &Request) -> Reply {
            Reply::Later(Box::pin(std::future::pending()))
        }
    }

    #[tokio::test]
    async fn a_promise_is_dropped_with_its_client() {
        let (mut client, log, serving) = start(Never);
        client.write_all(b"GET / HTTP/1.1\r\nPolicyprobe-Nonce: n\r\n\r\n").await.unwrap();
        drop(client);
        serving.await;
        assert_eq!(log.nonces().len(), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn whatever_is_sent_is_answered_or_ends(
            garbage in proptest::collection::vec(any::<u8>(), 0..300),
            start in "(GET|PUT)? ?/?[a-z%?]{0,4} ?(HTTP/1.[01])?\r?\n?(Content-Length: [0-9x]{0,3})?\r?\n?\r?\n?"
        ) {
            let bytes = [start.as_bytes(), &garbage].concat();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let (answer, _) = runtime.block_on(talk(&bytes));
            prop_assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 "));
        }
    }
}
