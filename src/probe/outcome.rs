//! What can happen to a request, and by what it was made.

use serde::{Deserialize, Serialize};

/// What makes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Means {
    /// A `curl` process: the literal proof, which can be repeated by hand.
    Curl,
    /// An open prober, with sockets of its own.
    Agent,
}

/// What happened to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The right server answered with the right nonce, whatever the HTTP status.
    Reached,
    /// Something answered that is not the server asked for.
    WrongServer,
    /// The connection was made, and then nothing came: whoever is there, or the way back, says nothing. A server whose
    /// answers may take too few hops is such a case; a policy is not.
    NoAnswer,
    /// No connection in time.
    TimedOut,
    /// Refused: a reset, or an ICMP port unreachable.
    Refused,
    /// No route, or an ICMP that says so.
    Unreachable,
    /// The name was not resolved.
    NameNotResolved,
    /// Nothing is known: the probe itself failed, or its answer was lost.
    ProbeLost,
}

impl Outcome {
    /// Whether traffic was stopped, in one of the ways in which a CNI may stop it.
    #[must_use]
    pub fn is_stopped(self) -> bool {
        matches!(self, Self::TimedOut | Self::Refused | Self::Unreachable)
    }
}
