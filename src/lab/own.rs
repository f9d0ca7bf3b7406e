//! What labs keep for themselves: addresses and a port that no scenario can give to its hosts and pods.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// The port at which a node's own server listens, over TCP, in labs that have one.
pub const NODE_PORT: u16 = 9999;

/// The networks of pods, Services, links and the router. An outside host that has an address in one of them would not
/// be outside. The first two are kubeadm's and kind's too.
pub const OWN_NETWORKS: [Ipv4Net; 4] = [
    Ipv4Net::new_assert(Ipv4Addr::new(10, 244, 0, 0), 15),
    Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 12),
    Ipv4Net::new_assert(Ipv4Addr::new(172, 30, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(198, 51, 100, 0), 24),
];
