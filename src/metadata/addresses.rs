//! The addresses at which clouds really have metadata servers. Nothing here sends anything.
//!
//! On a machine that is itself a cloud's, a packet to one of these reaches credentials: a lab first makes all of them
//! unreachable, and then opens the way to its own server.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address, and whose service is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetadataAddress {
    /// The address.
    pub address: IpAddr,
    /// Whose it is, and for what.
    pub owner: &'static str,
}

/// Nearly every cloud's metadata server.
pub const LINK_LOCAL: IpAddr = v4(169, 254, 169, 254);
/// Google Compute Engine's metadata server over IPv6.
pub const GCE_V6: IpAddr = v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254]);
/// AWS EC2's instance metadata service over IPv6.
pub const EC2_V6: IpAddr = v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254]);
/// Azure's `WireServer`, a public address.
pub const WIRESERVER: IpAddr = v4(168, 63, 129, 16);

/// AWS ECS' credentials and metadata of tasks.
pub const ECS: IpAddr = v4(169, 254, 170, 2);
/// AWS EKS Pod Identity's agent.
pub const EKS_POD_IDENTITY: IpAddr = v4(169, 254, 170, 23);
/// AWS EKS Pod Identity's agent over IPv6.
pub const EKS_POD_IDENTITY_V6: IpAddr = v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23]);
/// Google Kubernetes Engine's own server on each node, behind a rewriting of [`LINK_LOCAL`].
pub const GKE_NODE: IpAddr = v4(169, 254, 169, 252);
/// Alibaba Cloud's metadata server.
pub const ALIBABA: IpAddr = v4(100, 100, 100, 200);
/// Oracle Cloud's metadata server over IPv6.
pub const ORACLE_V6: IpAddr = v6([0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe]);

/// Every known address.
pub const METADATA_ADDRESSES: &[MetadataAddress] = &[
    known(LINK_LOCAL, "AWS, Google, Azure, Oracle, IBM, OpenStack, DigitalOcean, Hetzner and others"),
    known(EC2_V6, "AWS EC2"),
    known(ECS, "AWS ECS task credentials"),
    known(EKS_POD_IDENTITY, "AWS EKS Pod Identity"),
    known(EKS_POD_IDENTITY_V6, "AWS EKS Pod Identity"),
    known(GCE_V6, "Google Compute Engine"),
    known(GKE_NODE, "Google Kubernetes Engine's node-local metadata server"),
    known(WIRESERVER, "Azure WireServer"),
    known(ALIBABA, "Alibaba Cloud"),
    known(ORACLE_V6, "Oracle Cloud"),
    known(v4(192, 0, 0, 192), "Oracle Cloud Classic"),
    known(v6([0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe]), "OpenStack, Hetzner"),
    known(v6([0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1]), "Akamai"),
    known(v4(169, 254, 42, 42), "Scaleway"),
    known(v6([0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42]), "Scaleway"),
    known(v4(169, 254, 0, 23), "Tencent Cloud"),
];

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn v6(s: [u16; 8]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]))
}

const fn known(address: IpAddr, owner: &'static str) -> MetadataAddress {
    MetadataAddress { address, owner }
}

/// Whether a metadata server may be at this address: the known ones, all of 169.254.0.0/16 (the next cloud takes one of
/// them), and the IPv6 addresses that stand for such an IPv4 address (mapped, NAT64, 6to4).
#[must_use]
pub fn is_metadata_address(address: IpAddr) -> bool {
    let address = match address {
        IpAddr::V6(v6) => embedded(v6).map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    };
    matches!(address, IpAddr::V4(v4) if v4.is_link_local())
        || METADATA_ADDRESSES.iter().any(|known| known.address == address)
}

/// The prefixes (address and length) that hold every known address, to be made unreachable. The /32 and /128 of each
/// address are among them, so that no route that is wider than those leads to a real server.
pub fn guarded_prefixes() -> impl Iterator<Item = (IpAddr, u8)> {
    let single = |known: &MetadataAddress| (known.address, if known.address.is_ipv4() { 32 } else { 128 });
    std::iter::once((v4(169, 254, 0, 0), 16)).chain(METADATA_ADDRESSES.iter().map(single))
}

/// The IPv4 address inside an IPv6 address: mapped (RFC 4291), NAT64's well-known prefix (RFC 6052), 6to4 (RFC 3056).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            Some(join(high, low))
        }
        _ => None,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn known_addresses_and_their_disguises_are_told_from_others() {
        for text in "169.254.0.1 169.254.169.254 168.63.129.16 100.100.100.200 fd00:ec2::254 fd00:ec2::23 fd20:ce::254 \
                     fd00:c1::a9fe:a9fe fe80::a9fe:a9fe ::ffff:169.254.169.254 64:ff9b::6464:64c8 2002:a9fe:a9fe::"
            .split_whitespace()
        {
            assert!(is_metadata_address(text.parse().unwrap()), "{text}");
        }
        for text in "169.253.255.255 169.255.0.0 168.63.129.17 100.100.100.201 127.0.0.1 0.0.0.0 :: ::1 fe80::1 \
                     fd00:ec2::255 ::ffff:10.0.0.1 64:ff9b::808:808"
            .split_whitespace()
        {
            assert!(!is_metadata_address(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn every_known_address_is_recognised_and_guarded_by_itself() {
        for known in METADATA_ADDRESSES {
            assert!(is_metadata_address(known.address), "{known:?}");
            assert!(guarded_prefixes().any(|(address, length)| address == known.address && length >= 32), "{known:?}");
        }
    }
}
