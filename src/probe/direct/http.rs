//! One GET: on a connection of its own, and the parts of one on a connection that stays.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::{
    Ask, Finding, micros,
    proof::{Shown, failure, mismatch},
    sockets::is_taken,
};
use crate::{
    http::{CLIENT, SERVER},
    probe::Outcome,
};

/// What a server may take to answer once the connection is made. Two retransmissions of a lost segment fit in.
pub(in crate::probe) const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// The longest head of an answer, in bytes.
const HEAD: usize = 64 << 10;

/// What is sent beside the address.
pub(super) struct Get<'a> {
    pub(super) path: &'a str,
    pub(super) headers: &'a [(String, String)],
    pub(super) nonce_header: &'a str,
}

/// The part of an answer that matters.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    status: u16,
    pub(super) nonce: String,
    server: String,
    client: Option<IpAddr>,
    /// How long its body is, where the head says it.
    body: Option<usize>,
}

/// Connects, asks, and reads the answer's head. An error says that another connection to there has the source's port.
pub(super) async fn get(ask: &Ask, get: &Get<'_>, socket: TcpSocket, to: SocketAddr) -> io::Result<Finding> {
    let (stream, connect_us) = match connect(ask, socket, to).await? {
        Ok(connected) => connected,
        Err(finding) => return Ok(finding),
    };
    let found = |outcome, why: String| Finding::of(ask.index, outcome, Some(why));
    // Somebody completed the handshake: who does not prove who it is then is somebody else.
    let finding = match timeout(ask.answer_limit(), exchange(stream, &text(ask, get, "close"), get.nonce_header)).await
    {
        Ok(Ok(head)) => judged(ask, get, head),
        Ok(Err(error)) => found(Outcome::WrongServer, format!("connected, and then: {error}")),
        Err(_) => found(Outcome::NoAnswer, "connected, and then no answer".to_owned()),
    };
    Ok(Finding { address: Some(to.ip()), connect_us: Some(connect_us), ..finding })
}

/// Connects; the time that it took, or what came of it instead. An error is as that of [`get`].
pub(super) async fn connect(
    ask: &Ask,
    socket: TcpSocket,
    to: SocketAddr,
) -> io::Result<Result<(TcpStream, u64), Finding>> {
    let limit = Duration::from_micros(ask.limit_us);
    let began = Instant::now();
    let (outcome, why) = match timeout(limit, socket.connect(to)).await {
        Ok(Ok(stream)) => return Ok(Ok((stream, micros(began.elapsed())))),
        Ok(Err(error)) if ask.source_port.is_some() && is_taken(&error) => return Err(error),
        Ok(Err(error)) => (failure(&error), format!("connect: {error}")),
        Err(_) => (Outcome::TimedOut, format!("no connection after {} ms", limit.as_millis())),
    };
    Ok(Err(Finding { address: Some(to.ip()), ..Finding::of(ask.index, outcome, Some(why)) }))
}

/// What an answer proves.
pub(super) fn judged(ask: &Ask, get: &Get<'_>, head: Head) -> Finding {
    let found = |outcome, detail| Finding::of(ask.index, outcome, detail);
    let (nonce, server) = ((ask.nonce.as_str(), head.nonce.as_str()), (ask.server.as_str(), head.server.as_str()));
    let proof = Shown { nonce_header: get.nonce_header, nonce, server, status: head.status };
    let status = Some(head.status);
    match mismatch(&proof) {
        None => {
            let server = Some(ask.server.clone());
            Finding { status, server, client: head.client, ..found(Outcome::Reached, None) }
        }
        Some(why) => {
            let server = (!head.server.is_empty()).then_some(head.server);
            Finding { status, server, ..found(Outcome::WrongServer, Some(why)) }
        }
    }
}

/// The request's bytes. What is to become of the connection is `Connection`'s value.
pub(super) fn text(ask: &Ask, get: &Get<'_>, connection: &str) -> String {
    let host = if ask.host.contains(':') { format!("[{}]", ask.host) } else { ask.host.clone() };
    let port = if ask.port == 80 { String::new() } else { format!(":{}", ask.port) };
    let path = get.path;
    let mut text = format!("GET {path} HTTP/1.1\r\nHost: {host}{port}\r\nAccept: */*\r\nConnection: {connection}\r\n");
    let nonce = (get.nonce_header.to_owned(), ask.nonce.clone());
    for (name, value) in get.headers.iter().chain([&nonce]) {
        // A line break in a value would start a header of its own.
        let value: String = value.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
        text.extend([name.as_str(), ": ", &value, "\r\n"]);
    }
    text + "\r\n"
}

async fn exchange(mut stream: TcpStream, text: &str, nonce_header: &str) -> io::Result<Head> {
    stream.write_all(text.as_bytes()).await?;
    let mut buffer = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed without an answer"));
        }
        if let Some((head, _)) = read(&buffer, nonce_header) {
            // Hundreds of closed connections a second would use up the source's ports while they linger.
            let _ = stream.set_zero_linger();
            return Ok(head);
        }
        if buffer.len() > HEAD {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"));
        }
    }
}

/// The whole answer at the start of some bytes, and its length; none while it is incomplete. An error says that nobody
/// knows where it ends.
pub(super) fn whole(bytes: &[u8], nonce_header: &str) -> io::Result<Option<(Head, usize)>> {
    let Some((head, length)) = read(bytes, nonce_header) else {
        let is_long = bytes.len() > HEAD;
        return if is_long { Err(io::Error::other("the answer is not HTTP")) } else { Ok(None) };
    };
    let body = match head.status {
        204 | 304 => 0,
        _ => head.body.ok_or_else(|| io::Error::other("the answer does not say how long it is"))?,
    };
    let length = length.saturating_add(body);
    Ok((bytes.len() >= length).then_some((head, length)))
}

/// The head at the start of an answer, interim answers left out; none while it is incomplete or where it is no HTTP. With it goes
/// where it ends.
fn read(all: &[u8], nonce_header: &str) -> Option<(Head, usize)> {
    let mut bytes = all;
    loop {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let text = String::from_utf8_lossy(&bytes[..end]);
        let mut lines = text.split("\r\n");
        let status: u16 = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
        if status >= 200 {
            let fields: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(':')).collect();
            let value = |name: &str| {
                let found = fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
            };
            let client = value(CLIENT).parse().ok();
            let body = value("content-length").parse().ok();
            let head = Head { status, nonce: value(nonce_header), server: value(SERVER), client, body };
            return Some((head, all.len() - bytes.len() + end + 4));
        }
        bytes = &bytes[end + 4..];
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::{http::NONCE, probe::direct::How};

    #[test]
    fn heads_are_read_whole_and_past_interim_answers() {
        let answer = "HTTP/1.1 404 Not Found\r\npolicyprobe-nonce: n1 \r\nPolicyprobe-Server:a\r\nPolicyprobe-Client: 10.0.0.1\r\n\r\nbody";
        let client = "10.0.0.1".parse().ok();
        let head = Head { status: 404, nonce: "n1".to_owned(), server: "a".to_owned(), client, body: None };
        assert_eq!(read(answer.as_bytes(), NONCE), Some((head, answer.len() - "body".len())));
        let interim = format!("HTTP/1.1 100 Continue\r\n\r\n{answer}");
        let (head, length) = read(interim.as_bytes(), NONCE).unwrap();
        assert_eq!((head.status, &interim[length..]), (404, "body"));
        for incomplete in [&answer[..40], "", "SSH-2.0-x\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n"] {
            assert_eq!(read(incomplete.as_bytes(), NONCE), None, "{incomplete}");
        }
    }

    #[test]
    fn answers_end_where_their_heads_say() {
        let answer = |rest: &str| format!("HTTP/1.1 200 OK\r\nPolicyprobe-Nonce: n1\r\n{rest}");
        let end = |text: &str| whole(text.as_bytes(), NONCE).map(|found| found.map(|(_, length)| length)).ok();
        let two = answer("Content-Length: 4\r\n\r\nbodyHTTP/1.1");
        assert_eq!(end(&two), Some(Some(two.len() - "HTTP/1.1".len())));
        assert_eq!(end(&answer("Content-Length: 4\r\n\r\nbod")), Some(None));
        assert_eq!(end(&answer("Content-Le")), Some(None));
        assert_eq!(end(&answer("Transfer-Encoding: chunked\r\n\r\n")), None);
        assert_eq!(end("HTTP/1.1 204 No Content\r\n\r\n"), Some(Some(27)));
    }

    #[test]
    fn no_value_starts_a_header_of_its_own() {
        let how = How::Udp;
        let (nonce, server, host) = ("n1".to_owned(), "a".to_owned(), "fd00::1".to_owned());
        let (v6, source_port, keep) = (true, None, None);
        let ask = Ask {
            index: 0,
            nonce,
            server,
            limit_us: 0,
            answer_us: None,
            resolve_us: 0,
            host,
            port: 8080,
            v6,
            source_port,
            keep,
            how,
        };
        let headers = [("X".to_owned(), "a\r\nY: b".to_owned())];
        let text = text(&ask, &Get { path: "/p?q", headers: &headers, nonce_header: NONCE }, "close");
        assert_eq!(
            text,
            "GET /p?q HTTP/1.1\r\nHost: [fd00::1]:8080\r\nAccept: */*\r\nConnection: close\r\nX: aY: b\r\n\
             Policyprobe-Nonce: n1\r\n\r\n"
        );
    }
}
