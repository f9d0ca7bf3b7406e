//! How each cloud's metadata server is asked, where a scenario says nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::scenario::Cloud;

/// What a probe must know of a cloud.
pub(super) struct Ask {
    /// The server's name in the cloud's DNS.
    pub(super) host: &'static str,
    /// A path that says which image the machine runs.
    pub(super) path: &'static str,
    /// Headers without which the server refuses.
    pub(super) headers: &'static [(&'static str, &'static str)],
    /// Its addresses, IPv4 first.
    pub(super) addresses: [IpAddr; 2],
}

/// The cloud's ways, from its documentation (for Google: "View and query VM metadata").
pub(super) fn ask(cloud: Cloud) -> Ask {
    match cloud {
        Cloud::Gcp => Ask {
            host: "metadata.google.internal",
            path: "/computeMetadata/v1/instance/image",
            headers: &[("Metadata-Flavor", "Google")],
            addresses: [
                IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
                IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
            ],
        },
    }
}
