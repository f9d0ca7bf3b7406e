//! Taking metadata addresses in the agent's own network namespace, after the ways to real ones are closed.

use std::{fs, net::IpAddr};

use anyhow::{Context, Result};
use nlink::netlink::{
    Connection, Route,
    route::{Ipv4Route, Ipv6Route},
    types::route::RouteType,
};
use policyprobe::metadata::guarded_prefixes;

/// Interface 1 is the loopback device in every network namespace.
const LOOPBACK: u32 = 1;

/// Worse than any route that somebody sets on purpose; the worst of all stands for "none" over IPv6.
const METRIC: u32 = u32::MAX - 1;

/// Makes every known metadata address unreachable, then puts these on the loopback device. Where IPv6 is switched off,
/// IPv6 addresses are left out; those that were taken are returned.
pub(crate) async fn take(addresses: &[IpAddr]) -> Result<Vec<IpAddr>> {
    let link = Connection::<Route>::new().context("cannot open a netlink socket")?;
    let has_v6 = has_v6();
    for (address, length) in guarded_prefixes().filter(|(address, _)| has_v6 || address.is_ipv4()) {
        let closed = match address {
            IpAddr::V4(v4) => {
                let route = Ipv4Route::from_addr(v4, length).route_type(RouteType::Unreachable).metric(METRIC);
                link.replace_route(route).await
            }
            IpAddr::V6(v6) => {
                let route = Ipv6Route::from_addr(v6, length).route_type(RouteType::Unreachable).metric(METRIC);
                link.replace_route(route).await
            }
        };
        closed.with_context(|| format!("cannot make {address}/{length} unreachable: it needs CAP_NET_ADMIN"))?;
    }
    let taken: Vec<_> = addresses.iter().copied().filter(|address| has_v6 || address.is_ipv4()).collect();
    for address in &taken {
        let length = if address.is_ipv4() { 32 } else { 128 };
        link.replace_address_by_index(LOOPBACK, *address, length)
            .await
            .with_context(|| format!("cannot add {address}/{length} to the loopback device: it needs CAP_NET_ADMIN"))?;
    }
    Ok(taken)
}

/// Whether the kernel has IPv6 and the loopback device may have an IPv6 address.
fn has_v6() -> bool {
    fs::read_to_string("/proc/sys/net/ipv6/conf/lo/disable_ipv6").is_ok_and(|off| off.trim() == "0")
}
