//! Addresses and routes of the agent's own network namespace: metadata addresses among them are taken after the ways to
//! real ones are closed.

use std::{fs, net::IpAddr};

use anyhow::{Context, Result};
use policyprobe::metadata::guarded_prefixes;

use crate::netlink::Netlink;

/// Interface 1 is the loopback device in every network namespace.
const LOOPBACK: u32 = 1;

/// Worse than any route that somebody sets on purpose; the worst of all stands for "none" over IPv6.
const METRIC: u32 = u32::MAX - 1;

/// Makes every known metadata address unreachable, then puts these on the loopback device. Where IPv6 is switched off,
/// IPv6 addresses are left out; those that were taken are returned.
pub(crate) fn take(addresses: &[IpAddr]) -> Result<Vec<IpAddr>> {
    let netlink = Netlink::open().context("cannot open a netlink socket")?;
    let has_v6 = has_v6();
    for (address, length) in guarded_prefixes().filter(|(address, _)| has_v6 || address.is_ipv4()) {
        netlink
            .unreachable(address, length, METRIC)
            .with_context(|| format!("cannot make {address}/{length} unreachable (this needs CAP_NET_ADMIN)"))?;
    }
    let taken: Vec<_> = addresses.iter().copied().filter(|address| has_v6 || address.is_ipv4()).collect();
    for address in &taken {
        netlink
            .add_address(LOOPBACK, *address)
            .with_context(|| format!("cannot add {address} to the loopback device (this needs CAP_NET_ADMIN)"))?;
    }
    Ok(taken)
}

/// Adds a route to each address by its gateway, in place of the one that there was.
pub(crate) fn route(ways: &[(IpAddr, IpAddr)]) -> Result<()> {
    let netlink = Netlink::open().context("cannot open a netlink socket")?;
    for (address, gateway) in ways {
        let added = netlink.route(*address, *gateway);
        added.with_context(|| format!("cannot add a route to {address} by {gateway} (this needs CAP_NET_ADMIN)"))?;
    }
    Ok(())
}

/// Whether the kernel has IPv6 and the loopback device may have an IPv6 address.
fn has_v6() -> bool {
    fs::read_to_string("/proc/sys/net/ipv6/conf/lo/disable_ipv6").is_ok_and(|off| off.trim() == "0")
}
