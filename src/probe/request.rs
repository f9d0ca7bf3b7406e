//! One request from one source, and its observation. What an observation *means* is the engine's business.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

use super::{Means, Outcome, direct::Keep};
use crate::scenario::{Credential, Family, Method};
use async_trait::async_trait;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::http;

/// A request to make from one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is asked.
    pub target: Target,
    /// Unique in the run; the server sends it back.
    pub nonce: String,
    /// The identity that the answer must carry (`pod/default/app1`, `metadata/gcp/RUN`).
    pub server: String,
    /// How long the connection may take to be made: the window.
    pub connect_limit: Duration,
    /// How long the answer may take once the connection is made; as long as two retransmissions need where nothing is said.
    pub answer_limit: Option<Duration>,
    /// How long the resolution of a name may take besides; nothing for an address.
    pub resolve_limit: Duration,
    /// The port of its own that the source asks from; one of the system's choice where none is said. Requests that share
    /// one are made one after the other.
    pub source_port: Option<u16>,
    /// The connection that it is made over, where that is one that stays. Requests over such are made one after the other.
    pub keep: Option<Keep>,
}

impl Request {
    /// One on a connection of its own, from a port of the system's choice, whose answer may take its usual time. A name has no
    /// time to be resolved in.
    #[must_use]
    pub fn new(target: Target, nonce: String, server: String, connect_limit: Duration) -> Self {
        let (answer_limit, resolve_limit, source_port, keep) = (None, Duration::ZERO, None, None);
        Self { target, nonce, server, connect_limit, answer_limit, resolve_limit, source_port, keep }
    }
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// An HTTP request, without a body but for a patch. Over TLS no certificate is checked: the identity is proved by the nonce.
    Http {
        /// The method.
        method: Method,
        /// Whether to use TLS.
        tls: bool,
        /// An address or a name.
        host: String,
        /// The port.
        port: u16,
        /// The path, with its leading slash and query.
        path: String,
        /// Headers, beside the nonce.
        headers: Vec<(String, String)>,
        /// The address family.
        family: Family,
        /// How the answer proves who gave it.
        proof: Proof,
        /// Whose credential it has. It is read in the source, and never leaves it but in the request.
        credential: Option<Credential>,
        /// A merge patch in JSON: the method is then PATCH.
        patch: Option<String>,
    },
    /// Only that the name resolves; nothing is sent to the address.
    Resolve {
        /// The name.
        name: String,
        /// The address family.
        family: Family,
    },
    /// A datagram that is answered by one with its nonce and the server's identity ([`crate::udp`]).
    Udp {
        /// An address or a name.
        host: String,
        /// The port.
        port: u16,
        /// The address family.
        family: Family,
    },
}

/// How an answer proves that it is to this request, and from this server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Proof {
    /// This header carries the nonce, and brings it back.
    Header(String),
    /// The body of what agnhost's `netexec` answers, whatever path was asked for.
    Netexec,
    /// Nothing in it does: kubelets bring no header back. It is whoever listens at the address and answers over HTTP.
    Nothing,
}

impl Default for Proof {
    fn default() -> Self {
        Self::Header(http::NONCE.to_owned())
    }
}

impl Target {
    /// What an address or a name is asked for in plain HTTP, of nobody's and changing nothing. A name's address is an IPv4 one.
    #[must_use]
    pub fn http(method: Method, host: &str, port: u16, path: &str, headers: &[(&str, &str)]) -> Self {
        Self::Http {
            method,
            tls: false,
            host: host.to_owned(),
            port,
            path: path.to_owned(),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            family: if host.parse::<Ipv6Addr>().is_ok() { Family::Ipv6 } else { Family::Ipv4 },
            proof: Proof::default(),
            credential: None,
            patch: None,
        }
    }

    /// The address or the name that is asked for.
    #[must_use]
    pub fn host(&self) -> &str {
        match self {
            Self::Http { host, .. } | Self::Udp { host, .. } => host,
            Self::Resolve { name, .. } => name,
        }
    }

    /// The same, asked by nobody in particular and changing nothing: enough to see that the server answers.
    #[must_use]
    pub fn anonymous(mut self) -> Self {
        if let Self::Http { credential, patch, .. } = &mut self {
            (*credential, *patch) = (None, None);
        }
        self
    }

    /// The same, asked at this port.
    #[must_use]
    pub fn on(mut self, asked: u16) -> Self {
        if let Self::Http { port, .. } | Self::Udp { port, .. } = &mut self {
            *port = asked;
        }
        self
    }

    /// Whether the host stands for an IPv4 address in a spelling of its own, and is no name.
    #[must_use]
    pub fn is_spelt(&self) -> bool {
        let host = self.host();
        let is_number = |part: &str| {
            let digits = part.strip_prefix("0x").unwrap_or(part);
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        match host.parse::<IpAddr>() {
            Ok(address) => address.to_canonical() != address,
            Err(_) => host.starts_with(|c: char| c.is_ascii_digit()) && host.split('.').all(is_number),
        }
    }

    /// The same, asked of this address. A name that is only to be resolved stays.
    #[must_use]
    pub fn at(mut self, address: IpAddr) -> Self {
        if let Self::Http { host, .. } | Self::Udp { host, .. } = &mut self {
            *host = address.to_string();
        }
        self
    }
}

/// One request's observation.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// What happened.
    pub outcome: Outcome,
    /// The HTTP status, where there was one.
    pub status: Option<u16>,
    /// The server's identity, as the answer says it.
    pub server: Option<String>,
    /// The address that was connected to, or tried.
    pub address: Option<IpAddr>,
    /// The address that the request came from, as the server says it.
    pub client: Option<IpAddr>,
    /// How long the resolution of a name took.
    pub resolve: Option<Duration>,
    /// From the start of the connection to its establishment, name resolution not included; over UDP, how long the question
    /// and its answer were on their way.
    pub connect: Option<Duration>,
    /// Over UDP, how long the question waited at the server besides.
    pub held: Option<Duration>,
    /// How many datagrams were lost before the one that was answered, or all of them but one. None over TCP, which sends
    /// again by itself: there it shows in the time that the connection took.
    pub resent: Option<u32>,
    /// When it ended by the clock of who made it, which begins with that process; none of a process that says no such thing.
    pub clock: Option<Duration>,
    /// Why, where the outcome alone does not say it (`curl: (7) ...`).
    pub detail: Option<String>,
}

impl Observation {
    /// Nothing is known, for this reason.
    #[must_use]
    pub fn lost(detail: Option<String>) -> Self {
        let outcome = Outcome::ProbeLost;
        Self {
            outcome,
            status: None,
            server: None,
            address: None,
            client: None,
            resolve: None,
            connect: None,
            held: None,
            resent: None,
            clock: None,
            detail,
        }
    }
}

/// An observation, and which request of the batch it belongs to.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The index in the batch.
    pub index: usize,
    /// When the harness learnt of it.
    pub at: Instant,
    /// The observation.
    pub observation: Observation,
}

/// A place in a source from where requests can be made, kept open over the steps.
#[async_trait]
pub trait Session: Send {
    /// Makes all requests of the batch at once; each is answered when it is done. A request without an answer when the
    /// stream ends is lost, never denied. Dropping the stream gives the batch up.
    fn probe<'a>(&'a mut self, batch: &'a [Request]) -> BoxStream<'a, Answer>;

    /// Makes the requests one after the other, each on a connection of its own and `every` after the one before: the
    /// samples of a witness. No name is resolved more than once, so it is for addresses. Otherwise as [`Self::probe`].
    fn watch<'a>(&'a mut self, batch: &'a [Request], every: Duration) -> BoxStream<'a, Answer>;

    /// Makes one request and returns the answer's body beside the observation. Only for servers whose identity is
    /// proved: the bodies of a real metadata server are never kept.
    async fn fetch(&mut self, request: &Request) -> (Observation, String);

    /// The literal command that stands for a request, for a person to repeat it from a shell on the harness' machine
    /// or in the source.
    fn command(&self, request: &Request) -> String;

    /// By which means the request is made here.
    fn means(&self, request: &Request) -> Means {
        let _ = request;
        Means::Curl
    }
}
