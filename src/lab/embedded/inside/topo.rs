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
//! Everything is a network namespace of its own. What hangs below a node or above the router is a leaf: its addresses on
//! `eth0`, and a default route by way of its hub, over a link without a subnet. So all of a pod's traffic is routed,
//! and thus forwarded, by its node, also to pods beside it. A pod in its node's network is no leaf: it serves and probes in
//! the node's own namespace.
//!
//! Where the kernel has IPv6 everything has an address of that family too, all of them in `fd00:10::/32`: pods in
//! `fd00:10:244::/64` and `fd00:10:245::/64`, links in `fd00:10:30:N::/64`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{
    lab::embedded::{enforcer::Devices, has_ipv6},
    scenario::{Family, NodeName},
};

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

/// The DNS server's IPv4 address, on the master. It is written into the lab's resolv.conf.
pub(super) const COREDNS: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 2);
/// The address that `kubernetes.default` has, as in most clusters. Nothing is behind it.
pub(super) const APISERVER: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// The first outside host's, from the range for documentation; the others follow.
pub(super) const FIRST_OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// The port of a node's own agent for metadata, as Google's has it.
pub(super) const METADATA_AGENT_PORT: u16 = 988;

/// The address before the first that an ordinary pod gets, in its node's network.
const BEFORE_FIRST_POD: u32 = 9;
/// The DNS server's in that of the master.
const DNS_POD: u32 = 2;

/// A node's side of the plan, in one family.
pub(super) struct NodePlan {
    /// Its address on the link to the other node: the one that it is known by.
    pub(super) address: IpAddr,
    /// Its address on the link to the router.
    pub(super) uplink: IpAddr,
    /// The router's address on that link.
    pub(super) router: IpAddr,
    /// Its address as its pods' gateway.
    pub(super) gateway: IpAddr,
    /// Its pods' network, of this length.
    pub(super) pods: (IpAddr, u8),
}

impl NodePlan {
    /// The address of the pod with this number, from 1 on.
    pub(super) fn pod(&self, number: u32) -> IpAddr {
        self.host(BEFORE_FIRST_POD + number)
    }

    fn host(&self, number: u32) -> IpAddr {
        match self.pods.0 {
            IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() + number).into(),
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() + u128::from(number)).into(),
        }
    }
}

/// The families that the lab has.
pub(super) fn families() -> &'static [Family] {
    if has_ipv6() { &[Family::Ipv4, Family::Ipv6] } else { &[Family::Ipv4] }
}

/// Whether the lab has addresses of this one's family.
pub(super) fn has_family_of(address: IpAddr) -> bool {
    families().contains(&family_of(address))
}

/// The family of an address.
pub(super) fn family_of(address: IpAddr) -> Family {
    if address.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 }
}

/// The plan of a node.
pub(super) fn node(name: NodeName, family: Family) -> NodePlan {
    let (pods, pods_v6, link) = match name {
        NodeName::Master => (244, 0x244, 1),
        NodeName::Worker => (245, 0x245, 2),
    };
    match family {
        Family::Ipv4 => NodePlan {
            address: [172, 30, 0, link].into(),
            uplink: [172, 30, link, 1].into(),
            router: [172, 30, link, 2].into(),
            gateway: [10, pods, 0, 1].into(),
            pods: ([10, pods, 0, 0].into(), 16),
        },
        Family::Ipv6 => NodePlan {
            address: v6(0x30, 0, link.into()),
            uplink: v6(0x30, link.into(), 1),
            router: v6(0x30, link.into(), 2),
            gateway: v6(pods_v6, 0, 1),
            pods: (v6(pods_v6, 0, 0), 64),
        },
    }
}

/// The router's address as the hub of what is above it.
pub(super) fn router(family: Family) -> IpAddr {
    match family {
        Family::Ipv4 => [198, 51, 100, 1].into(),
        Family::Ipv6 => v6(0x51, 0, 1),
    }
}

/// The DNS server's address, on the master.
pub(super) fn coredns(family: Family) -> IpAddr {
    node(NodeName::Master, family).host(DNS_POD)
}

/// All addresses of a family.
pub(super) fn anywhere(family: Family) -> (IpAddr, u8) {
    match family {
        Family::Ipv4 => (Ipv4Addr::UNSPECIFIED.into(), 0),
        Family::Ipv6 => (Ipv6Addr::UNSPECIFIED.into(), 0),
    }
}

/// A network that holds nothing but this address.
pub(super) fn alone(address: IpAddr) -> (IpAddr, u8) {
    (address, if address.is_ipv4() { 32 } else { 128 })
}

/// An address on a link, with the link's subnet.
pub(super) fn on_link(address: IpAddr) -> (IpAddr, u8) {
    (address, if address.is_ipv4() { 30 } else { 64 })
}

/// The address that goes with an IPv6 address on the same link. What forwards asks for neighbours from there, and is itself
/// known there to its leaves: over IPv6 nobody answers for an address of another device, as everybody does over IPv4.
pub(super) fn link_local(address: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(v6) = address else { return None };
    let [.., a, b, c, d] = v6.segments();
    Some(Ipv6Addr::from([0xfe80, 0, 0, 0, a, b, c, d]).into())
}

/// The node that is not this one.
pub(super) fn other(name: NodeName) -> NodeName {
    match name {
        NodeName::Master => NodeName::Worker,
        NodeName::Worker => NodeName::Master,
    }
}

const fn v6(network: u16, link: u16, host: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x10, network, link, 0, 0, 0, host))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::lab::OWN_NETWORKS;

    #[test]
    fn every_address_is_one_nodes_alone_and_the_labs_own() {
        for family in [Family::Ipv4, Family::Ipv6] {
            let nodes = NodeName::ALL.map(|name| node(name, family));
            let all = nodes.iter().flat_map(|plan| {
                [plan.address, plan.uplink, plan.router, plan.gateway, plan.pods.0, plan.pod(1), plan.pod(200)]
            });
            let all: Vec<IpAddr> = all.chain([router(family), coredns(family)]).collect();
            assert!(all.iter().all(|address| family_of(*address) == family));
            assert!(all.iter().all(|address| OWN_NETWORKS.iter().any(|own| own.contains(address))), "{all:?}");
            assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        }
        assert_eq!(coredns(Family::Ipv4), COREDNS);
    }
}
