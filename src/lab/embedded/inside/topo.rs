//! The lab's plan: who is connected to whom, and every address. It is the same in each stage, since stages share nothing.
//!
//! ```text
//!     169.254.169.254            203.0.113.1, .2, ...
//!     metadata server            hosts outside the cluster
//!            │                          │
//!            └───────── router ─────────┘
//!          172.30.1.0/30 │  │ 172.30.2.0/30
//!                        │  │
//!                  master ── worker       172.30.0.0/30
//!                   │  │       │
//!            coredns  pods    pods        10.244.0.0/16 and 10.245.0.0/16
//! ```
//!
//! Everything is a network namespace of its own. What hangs below a node or above the router is a leaf: one address on
//! `eth0`, and a default route by way of its hub, over a link without a subnet. So all of a pod's traffic is routed,
//! and thus forwarded, by its node, also to pods beside it. A pod in its node's network is no leaf: it serves and probes in
//! the node's own namespace.

use std::net::Ipv4Addr;

use crate::{lab::embedded::enforcer::Devices, scenario::NodeName};

/// What leaves a leaf goes by way of this device.
pub(super) const LEAF_DEVICE: &str = "eth0";
/// What a node's devices towards its pods begin with.
pub(super) const POD_DEVICES: &str = "pod";
/// What the router's devices towards outside hosts begin with.
pub(super) const OUTSIDE_DEVICES: &str = "out";
/// The router's device towards the metadata server.
pub(super) const METADATA_DEVICE: &str = "metadata";
/// A node's device towards the other node.
pub(super) const PEER_DEVICE: &str = "peer";
/// A node's device towards the router.
pub(super) const ROUTER_DEVICE: &str = "router";

/// How a node's enforcer tells its pods from the rest.
pub(super) const NODE_DEVICES: Devices = Devices { pods: POD_DEVICES, uplinks: &[PEER_DEVICE, ROUTER_DEVICE] };

/// The router's address as the hub of what is above it.
pub(super) const ROUTER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// The DNS server's, on the master. It is written into the lab's resolv.conf.
pub(super) const COREDNS: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 2);
/// The address that `kubernetes.default` has, as in most clusters. Nothing is behind it.
pub(super) const APISERVER: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// The first outside host's, from the range for documentation; the others follow.
pub(super) const FIRST_OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// The port of a node's own agent for metadata, as Google's has it.
pub(super) const METADATA_AGENT_PORT: u16 = 988;

/// A node's side of the plan.
pub(super) struct NodePlan {
    /// Its address on the link to the other node: the one that it is known by.
    pub(super) address: Ipv4Addr,
    /// Its address on the link to the router.
    pub(super) uplink: Ipv4Addr,
    /// The router's address on that link.
    pub(super) router: Ipv4Addr,
    /// Its address as its pods' gateway.
    pub(super) gateway: Ipv4Addr,
    /// Its pods' network, of this length.
    pub(super) pods: (Ipv4Addr, u8),
    /// The address before the first that an ordinary pod gets.
    pub(super) before_first_pod: Ipv4Addr,
}

/// The plan of a node.
pub(super) fn node(name: NodeName) -> NodePlan {
    let (pods, link) = match name {
        NodeName::Master => (244, 1),
        NodeName::Worker => (245, 2),
    };
    NodePlan {
        address: Ipv4Addr::new(172, 30, 0, link),
        uplink: Ipv4Addr::new(172, 30, link, 1),
        router: Ipv4Addr::new(172, 30, link, 2),
        gateway: Ipv4Addr::new(10, pods, 0, 1),
        pods: (Ipv4Addr::new(10, pods, 0, 0), 16),
        before_first_pod: Ipv4Addr::new(10, pods, 0, 9),
    }
}

/// The length of the links' subnets.
pub(super) const LINK_LENGTH: u8 = 30;

/// The node that is not this one.
pub(super) fn other(name: NodeName) -> NodeName {
    match name {
        NodeName::Master => NodeName::Worker,
        NodeName::Worker => NodeName::Master,
    }
}
