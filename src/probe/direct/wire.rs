//! What a prober is told and what it says: one JSON document a line, both ways. Times are in microseconds.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::http::ANSWER_LIMIT;
use crate::probe::Outcome;

/// To a prober.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Makes requests. [`Report::Done`] with the same id ends it.
    Call {
        /// Names the call; the caller chooses it.
        id: u64,
        /// The requests.
        work: Work,
    },
    /// Asks the server whose control endpoint is here which of some nonces it has seen. [`Report::Seen`] with the same id
    /// is the answer.
    Seen {
        /// Names the call; the caller chooses it.
        id: u64,
        /// The control endpoint.
        at: SocketAddr,
        /// The nonces.
        nonces: BTreeSet<String>,
    },
    /// Gives a call up. Nothing more is said about it.
    Cancel {
        /// The call.
        id: u64,
    },
}

/// The requests of one call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Work {
    /// The requests.
    pub asks: Vec<Ask>,
    /// From the start of one request to the start of the next; all at once where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_us: Option<u64>,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Ask {
    /// Which of the caller's requests it is.
    pub index: usize,
    /// Unique; the server sends it back.
    pub nonce: String,
    /// The identity that must answer.
    pub server: String,
    /// How long the connection, or over UDP the answer, may take.
    pub limit_us: u64,
    /// How long an answer over TCP may take once the connection is made, where it may not take its usual time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_us: Option<u64>,
    /// How long the resolution of a name may take besides.
    pub resolve_us: u64,
    /// An address or a name.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether a name means an IPv6 address; otherwise it means an IPv4 address.
    #[serde(default)]
    pub v6: bool,
    /// The port of its own to ask from; one of the system's choice where none is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// The connection to ask over; one that nothing else is asked over where none is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<Keep>,
    /// What is asked.
    pub how: How,
}

impl Ask {
    pub(super) fn answer_limit(&self) -> Duration {
        self.answer_us.map_or(ANSWER_LIMIT, Duration::from_micros)
    }
}

/// A connection, or over UDP a socket, that stays open from one request to the next.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Keep {
    /// Which of the source's it is.
    pub name: String,
    /// Whether to make it where it is not there yet. Otherwise it has to be there.
    pub make: bool,
}

/// The protocol of a request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// An HTTP GET over TCP, without TLS.
    Http {
        /// The path, with its leading slash and query.
        path: String,
        /// Headers, beside the nonce.
        headers: Vec<(String, String)>,
        /// The header that carries the nonce, and brings it back.
        nonce_header: String,
    },
    /// A datagram of [`crate::udp`].
    Udp,
}

/// From a prober.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// The first report: the prober takes calls.
    Ready {
        /// Its version.
        version: String,
    },
    /// A request is done.
    Found {
        /// The call.
        id: u64,
        /// What came of it.
        finding: Finding,
    },
    /// The sentinel: a call is over. What has no finding by now is lost.
    Done {
        /// The call.
        id: u64,
        /// How many requests have a finding.
        answered: usize,
    },
    /// What a server has seen.
    Seen {
        /// The call.
        id: u64,
        /// Those of the nonces that it knows, or why nobody can say.
        seen: Result<BTreeSet<String>, String>,
    },
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Finding {
    /// Which of the caller's requests it is.
    pub index: usize,
    /// What happened.
    pub outcome: Outcome,
    /// The HTTP status, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The server's identity, as the answer says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The address that was connected to, or tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The address that the request came from, as the server says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    /// How long the resolution of a name took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolve_us: Option<u64>,
    /// How long the connection took to be made; over UDP, how long the datagram that was answered and its answer were on their
    /// way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_us: Option<u64>,
    /// Over UDP, how long the question waited at the server besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_us: Option<u64>,
    /// Over UDP, how many datagrams were lost before the one that was answered, or all of them but one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resent: Option<u32>,
    /// When it ended, by the prober's own clock.
    #[serde(default)]
    pub ended_us: u64,
    /// Why, where the outcome alone does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Finding {
    /// A finding of which only the outcome and the reason are known.
    #[must_use]
    pub(super) fn of(index: usize, outcome: Outcome, detail: Option<String>) -> Self {
        Self {
            index,
            outcome,
            status: None,
            server: None,
            address: None,
            client: None,
            resolve_us: None,
            connect_us: None,
            held_us: None,
            resent: None,
            ended_us: 0,
            detail,
        }
    }
}

/// A duration in microseconds.
#[must_use]
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
