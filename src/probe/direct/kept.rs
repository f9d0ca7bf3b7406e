//! Connections that stay: made by one request, and asked over again by others, whatever policies were made meanwhile.
//!
//! Whoever ends one is told apart: an end that a packet forces on it (a reset) is a denial, an end that the server chose
//! (it closed the connection) says nothing about the network.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::AsyncReadExt,
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use super::{
    Ask, Finding, How, Socket, datagram,
    http::{self, Get, Head},
    proof::failure,
};
use crate::probe::Outcome;

/// The connections of a prober, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept(Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<Connection>>>>>);

/// One of them.
#[derive(Debug, Default)]
pub(super) enum Connection {
    /// It was not made yet.
    #[default]
    Unmade,
    /// TCP, and what was read and belongs to no answer yet.
    Stream { stream: TcpStream, to: SocketAddr, read: Vec<u8> },
    /// UDP: datagrams of one flow.
    Datagrams { socket: UdpSocket, to: SocketAddr },
    /// It has ended, which is what every later request over it finds.
    Ended(Outcome, String),
}

impl Kept {
    /// The connection of this name.
    pub(super) fn named(&self, name: &str) -> Arc<tokio::sync::Mutex<Connection>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(name.to_owned()).or_default())
    }

    /// Ends all of them, once nobody asks over them.
    pub(super) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Connection {
    /// Whether it was made and has not ended.
    pub(super) fn is_there(&self) -> bool {
        matches!(self, Self::Stream { .. } | Self::Datagrams { .. })
    }

    /// Makes it, and asks over it for the first time.
    pub(super) async fn make(&mut self, ask: &Ask, socket: Socket, to: SocketAddr) -> io::Result<Finding> {
        let connect_us = match socket {
            Socket::Datagrams(socket) => {
                *self = Self::Datagrams { socket, to };
                None
            }
            Socket::Stream(socket) => match http::connect(ask, socket, to).await? {
                Err(finding) => return Ok(finding),
                Ok((stream, connect_us)) => {
                    stream.set_nodelay(true)?;
                    *self = Self::Stream { stream, to, read: Vec::new() };
                    Some(connect_us)
                }
            },
        };
        let limit = if connect_us.is_some() { ask.answer_limit() } else { Duration::from_micros(ask.limit_us) };
        let finding = self.asked(ask, limit).await;
        if finding.outcome == Outcome::Reached {
            return Ok(Finding { connect_us: connect_us.or(finding.connect_us), ..finding });
        }
        // Another request has to make another one.
        *self = Self::Unmade;
        // As with any connection: somebody completed the handshake.
        let outcome = match finding.outcome {
            outcome if connect_us.is_none() => outcome,
            Outcome::TimedOut => Outcome::NoAnswer,
            _ => Outcome::WrongServer,
        };
        Ok(Finding { outcome, connect_us, ..finding })
    }

    /// Asks over it. The time that an answer takes is not one that a connection takes to be made.
    pub(super) async fn ask(&mut self, ask: &Ask) -> Finding {
        let limit = Duration::from_micros(ask.limit_us);
        Finding { connect_us: None, ..self.asked(ask, limit).await }
    }

    async fn asked(&mut self, ask: &Ask, limit: Duration) -> Finding {
        let found = |outcome, detail: String| Finding::of(ask.index, outcome, Some(detail));
        let (finding, to) = match self {
            Self::Unmade => {
                let why = "the connection that an earlier request made went with whoever kept it";
                return found(Outcome::ProbeLost, why.to_owned());
            }
            Self::Ended(outcome, why) => return found(*outcome, why.clone()),
            Self::Datagrams { socket, to } => return datagram::ask(ask, socket, *to).await,
            Self::Stream { stream, to, read } => {
                let How::Http { path, headers, nonce_header } = &ask.how else {
                    return found(Outcome::ProbeLost, "the connection is of another kind".to_owned());
                };
                let get = Get { path, headers, nonce_header };
                let own = |head: &Head| head.nonce == ask.nonce;
                let text = http::text(ask, &get, "keep-alive");
                let finding = match timeout(limit, converse(stream, read, &text, nonce_header, own)).await {
                    Ok(Ok(head)) => http::judged(ask, &get, head),
                    Ok(Err(End::Closed)) => found(Outcome::ProbeLost, "the server closed the connection".to_owned()),
                    Ok(Err(End::Broken(error))) => {
                        let outcome = match error.kind() {
                            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Outcome::Refused,
                            _ => failure(&error),
                        };
                        found(outcome, format!("the connection ended: {error}"))
                    }
                    Err(_) => {
                        let message = format!("no answer over the connection after {} ms", limit.as_millis());
                        return Finding { address: Some(to.ip()), ..found(Outcome::TimedOut, message) };
                    }
                };
                (finding, *to)
            }
        };
        if let (false, Some(why)) = (finding.outcome == Outcome::Reached, &finding.detail) {
            *self = Self::Ended(finding.outcome, why.clone());
        }
        Finding { address: Some(to.ip()), ..finding }
    }
}

/// Why there is no answer, and will be none.
enum End {
    Closed,
    Broken(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

/// Sends a request, and reads answers until the one that is wanted comes: those to earlier requests may have waited for a
/// way to open. It can be given up at any time, and another request be made.
async fn converse(
    stream: &mut TcpStream,
    read: &mut Vec<u8>,
    text: &str,
    nonce_header: &str,
    wanted: impl Fn(&Head) -> bool,
) -> Result<Head, End> {
    // All of it or nothing: half a request would spoil the next one.
    loop {
        stream.writable().await?;
        match stream.try_write(text.as_bytes()) {
            Ok(sent) if sent == text.len() => break,
            Ok(_) => return Err(End::Broken(io::Error::other("too much waits to be sent"))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
    loop {
        while let Some((head, length)) = http::whole(read, nonce_header)? {
            read.drain(..length);
            if wanted(&head) {
                return Ok(head);
            }
        }
        if stream.read_buf(read).await? == 0 {
            return Err(End::Closed);
        }
    }
}
