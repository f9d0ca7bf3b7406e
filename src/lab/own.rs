//! What labs keep for themselves: addresses and a port that no scenario can give to its hosts and pods.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The port at which a node's own server listens, over TCP, in labs that have one.
pub const NODE_PORT: u16 = 9999;

/// The networks of pods, Services, links and the router. An outside host that has an address in one of them would not
/// be outside. The first two, and what is in the last, are kubeadm's and kind's too.
pub const OWN_NETWORKS: [IpNet; 5] = [
    v4(Ipv4Addr::new(10, 244, 0, 0), 15),
    v4(Ipv4Addr::new(10, 96, 0, 0), 12),
    v4(Ipv4Addr::new(172, 30, 0, 0), 16),
    v4(Ipv4Addr::new(198, 51, 100, 0), 24),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 0, 0), 32)),
];

const fn v4(network: Ipv4Addr, length: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(network, length))
}
