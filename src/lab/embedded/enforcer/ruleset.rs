//! The compiler's result: what one node lets through, with everything resolved to addresses and numbers.

use std::net::IpAddr;

use super::Addresses;
use crate::scenario::Protocol;

/// The rules of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// A set of rules for every pod on the node. Traffic of a pod that is not among them is dropped.
    pub pods: Vec<PodRules>,
    /// In what packets are judged otherwise than by these rules. Only a mutant does so.
    pub quirk: Option<Quirk>,
}

/// A way in which a mutant judges packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quirk {
    /// A reply is judged like a first packet.
    JudgesReplies,
    /// The node's own traffic to its pods is judged.
    JudgesOwnNode,
    /// A rule's ports are compared with both ports of a packet.
    ReadsBothPorts,
    /// UDP from the port of DNS passes, as if it were an answer.
    TrustsDnsPort,
    /// What is no first packet passes only if its connection was begun under these rules, which have this number.
    OnlyConnectionsSince(u32),
}

/// The rules of one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRules {
    /// `namespace/name`.
    pub pod: String,
    /// The pod's addresses.
    pub addresses: Vec<IpAddr>,
    /// For connections that it starts.
    pub egress: Direction,
    /// For connections to it.
    pub ingress: Direction,
}

/// One direction of one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Direction {
    /// No policy selects the pod: everything passes.
    Open,
    /// What is not accepted is stopped.
    Isolated(Vec<Accept>),
}

/// Connections that pass: those to one of the peers, on one of the ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accept {
    /// The rule that says so: `namespace/policy egress[0]`.
    pub rule: String,
    /// The other end.
    pub peers: Peers,
    /// The ports; none means every protocol and port.
    pub ports: Option<Vec<PortRange>>,
}

/// The other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peers {
    /// Anybody, anywhere.
    Any,
    /// These.
    Only(Addresses),
}

impl Peers {
    /// Whether an address is meant.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Only(addresses) => addresses.contains(address),
        }
    }
}

/// Ports of one protocol, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The protocol.
    pub protocol: Protocol,
    /// The first port.
    pub first: u16,
    /// The last port.
    pub last: u16,
}

impl PortRange {
    /// Whether a protocol and port are meant.
    #[must_use]
    pub fn contains(&self, protocol: Protocol, port: u16) -> bool {
        self.protocol == protocol && (self.first..=self.last).contains(&port)
    }
}
