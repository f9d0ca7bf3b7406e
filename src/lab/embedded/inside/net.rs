//! One network namespace: its links, addresses, routes and sockets. All of `nlink` but the rulesets is behind this.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use nlink::netlink::{
    Connection, Nftables, Route,
    addr::{Ipv4Address, Ipv6Address},
    link::VethLink,
    route::{Ipv4Route, Ipv6Route},
    types::route::{RouteScope, RouteType},
};
use tokio::{
    net::{TcpListener, TcpSocket, UdpSocket},
    time::{Instant, sleep},
};

use super::{namespace::Namespace, serve::packets, topo};
use crate::lab::embedded::has_ipv6;

/// Settings that a new namespace would take from the host's, or that the kernel has off.
const SETTINGS: [(&str, &str); 4] = [
    ("/proc/sys/net/ipv4/ip_forward", "1"),
    // An "unreachable" that is held back would look like a time-out.
    ("/proc/sys/net/ipv4/icmp_ratelimit", "0"),
    ("/proc/sys/net/ipv4/conf/all/rp_filter", "0"),
    ("/proc/sys/net/ipv4/conf/default/rp_filter", "0"),
];

/// The same for IPv6, where the kernel has it.
const SETTINGS_OF_IPV6: [(&str, &str); 4] = [
    ("/proc/sys/net/ipv6/conf/all/disable_ipv6", "0"),
    ("/proc/sys/net/ipv6/conf/all/forwarding", "1"),
    ("/proc/sys/net/ipv6/icmp/ratelimit", "0"),
    // Devices have the addresses of the lab's plan, and none that the kernel thinks of.
    ("/proc/sys/net/ipv6/conf/default/addr_gen_mode", "1"),
];

/// Worse than the metric of any other route.
const LAST_RESORT: u32 = 4_000_000;

/// How long a port may still be held by who has ended, or an IPv6 address not be the namespace's own yet; and how often
/// that is looked at.
const LET_GO: Duration = Duration::from_secs(5);
const BECOME_LOCAL: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// So often an address is looked at without a pause.
const LOOKS_AT_ONCE: u32 = 50;

/// A network namespace, with netlink sockets in it.
pub(super) struct Host {
    ns: Arc<Namespace>,
    link: Connection<Route>,
    nft: Connection<Nftables>,
}

/// A route to add. All of its addresses are of one family.
pub(super) struct Way<'a> {
    /// The destination.
    pub(super) to: (IpAddr, u8),
    /// The next hop; none where the destination is on the link itself.
    pub(super) via: Option<IpAddr>,
    /// The device.
    pub(super) dev: &'a str,
}

impl Host {
    /// A new namespace, with nothing in it but a loopback device.
    pub(super) async fn new() -> anyhow::Result<Self> {
        let begin = || {
            let of_ipv6 = SETTINGS_OF_IPV6.iter().filter(|_| has_ipv6());
            for (path, value) in SETTINGS.iter().chain(of_ipv6) {
                fs::write(path, value).with_context(|| format!("cannot write {path}"))?;
            }
            let nft = Connection::<Nftables>::new().context("the kernel has no nftables (module nf_tables)")?;
            Ok((Connection::<Route>::new()?, nft))
        };
        let (ns, (link, nft)) = Namespace::new(begin).await?;
        let host = Self { ns, link, nft };
        host.link.set_link_up("lo").await?;
        Ok(host)
    }

    /// Joins two namespaces by a pair of devices.
    pub(super) async fn cable(&self, ours: &str, peer: &Self, theirs: &str) -> anyhow::Result<()> {
        let pair = VethLink::new(ours, theirs).peer_netns_fd(peer.ns.handle());
        self.link.add_link(pair).await.with_context(|| format!("cannot make the devices {ours} and {theirs}"))?;
        self.link.set_link_up(ours).await?;
        Ok(peer.link.set_link_up(theirs).await?)
    }

    /// Removes a device, and with it the one at its other end.
    pub(super) async fn unplug(&self, dev: &str) -> anyhow::Result<()> {
        Ok(self.link.del_link(dev).await?)
    }

    /// Gives a device an address, and a way to the others of its subnet.
    pub(super) async fn address(&self, dev: &str, (address, length): (IpAddr, u8)) -> anyhow::Result<()> {
        let added = match address {
            IpAddr::V4(v4) => self.link.add_address(Ipv4Address::new(dev, v4, length)).await,
            IpAddr::V6(v6) => {
                // Nobody else can have it: there is nothing to detect.
                let new = Ipv6Address::new(dev, v6, length).nodad();
                let is_alone = topo::alone(address).1 == length;
                self.link.add_address(if is_alone { new.noprefixroute() } else { new }).await
            }
        };
        added.with_context(|| format!("cannot give {dev} the address {address}"))?;
        if address.is_ipv6() { self.becomes_local(address).await } else { Ok(()) }
    }

    /// Waits until packets for an address are taken in: the kernel sees to that on a thread of its own, as soon as it can.
    async fn becomes_local(&self, address: IpAddr) -> anyhow::Result<()> {
        let began = Instant::now();
        let mut looks = 0;
        loop {
            match self.keeps(address).await {
                Err(_) if began.elapsed() < BECOME_LOCAL => {}
                ended => return ended,
            }
            looks += 1;
            if looks > LOOKS_AT_ONCE {
                sleep(LOOK_AGAIN).await;
            }
        }
    }

    /// Adds a route. Packets that start here have this source, where one is given.
    pub(super) async fn route(&self, way: Way<'_>, source: Option<IpAddr>) -> anyhow::Result<()> {
        let (to, length) = way.to;
        let added = match (to, way.via, source) {
            (IpAddr::V4(to), via @ (None | Some(IpAddr::V4(_))), source @ (None | Some(IpAddr::V4(_)))) => {
                let route = Ipv4Route::new(to, length).dev(way.dev);
                let route = match via {
                    Some(IpAddr::V4(via)) => route.gateway(via),
                    _ => route.scope(RouteScope::Link),
                };
                self.link
                    .add_route(if let Some(IpAddr::V4(source)) = source { route.prefsrc(source) } else { route })
                    .await
            }
            (IpAddr::V6(to), via @ (None | Some(IpAddr::V6(_))), source @ (None | Some(IpAddr::V6(_)))) => {
                let route = Ipv6Route::new(to, length).dev(way.dev);
                let route = if let Some(IpAddr::V6(via)) = via { route.gateway(via) } else { route };
                self.link
                    .add_route(if let Some(IpAddr::V6(source)) = source { route.prefsrc(source) } else { route })
                    .await
            }
            _ => bail!("the route to {to}/{length} is of two families"),
        };
        added.with_context(|| format!("cannot add the route to {to}/{length}"))
    }

    /// Makes a network unreachable, but for what has a better route.
    pub(super) async fn unreachable(&self, (network, length): (IpAddr, u8)) -> anyhow::Result<()> {
        let kind = RouteType::Unreachable;
        let added = match network {
            IpAddr::V4(v4) => {
                self.link.add_route(Ipv4Route::new(v4, length).route_type(kind).metric(LAST_RESORT)).await
            }
            IpAddr::V6(v6) => {
                match self.link.add_route(Ipv6Route::new(v6, length).route_type(kind).metric(LAST_RESORT)).await {
                    // A kernel without IPv6 has no way to an IPv6 address.
                    Err(error) if error.is_not_supported() => Ok(()),
                    added => added,
                }
            }
        };
        added.with_context(|| format!("cannot make {network}/{length} unreachable"))
    }

    /// The device by which packets for an address would leave, as the kernel says it.
    pub(super) async fn leaves_by(&self, address: IpAddr) -> anyhow::Result<String> {
        let route = self.link.lookup_route(address).await.with_context(|| format!("no route to {address}"))?;
        ensure!(route.route_type() == RouteType::Unicast, "the route to {address} is {:?}", route.route_type());
        let index = route.oif().with_context(|| format!("the route to {address} has no device"))?;
        self.link.interface_name(index).await?.with_context(|| format!("no device has the index {index}"))
    }

    /// Fails where packets for an address would leave, as the kernel says it: it has to be one of this namespace's own.
    pub(super) async fn keeps(&self, address: IpAddr) -> anyhow::Result<()> {
        let route = self.link.lookup_route(address).await.with_context(|| format!("no route to {address}"))?;
        ensure!(route.route_type() == RouteType::Local, "the route to {address} is {:?}", route.route_type());
        Ok(())
    }

    /// For rulesets.
    pub(super) fn nft(&self) -> &Connection<Nftables> {
        &self.nft
    }

    /// A listening socket in here, for both families.
    pub(super) async fn listen(&self, port: u16) -> anyhow::Result<TcpListener> {
        let bind = move || std::net::TcpListener::bind((any(), port));
        let listener = self.bind(bind).await.with_context(|| format!("cannot listen on port {port}"))?;
        listener.set_nonblocking(true)?;
        Ok(TcpListener::from_std(listener)?)
    }

    /// Binds a port, of which a server may just have ended: every process that is being started meanwhile holds a copy of
    /// its socket until its exec.
    async fn bind<T: Send + 'static>(
        &self,
        bind: impl Fn() -> io::Result<T> + Copy + Send + 'static,
    ) -> anyhow::Result<T> {
        let began = Instant::now();
        loop {
            match self.ns.run(bind).await? {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && began.elapsed() < LET_GO => {
                    sleep(LOOK_AGAIN).await;
                }
                bound => return Ok(bound?),
            }
        }
    }

    /// A datagram socket in here, for both families.
    pub(super) async fn datagrams(&self, port: u16) -> anyhow::Result<UdpSocket> {
        let bind = move || std::net::UdpSocket::bind((any(), port));
        let socket = self.bind(bind).await.with_context(|| format!("cannot listen on UDP port {port}"))?;
        socket.set_nonblocking(true)?;
        Ok(UdpSocket::from_std(socket)?)
    }

    /// A datagram socket in here that asks this place alone.
    pub(super) async fn datagrams_to(&self, to: SocketAddr) -> anyhow::Result<UdpSocket> {
        let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = self.ns.run(move || std::net::UdpSocket::bind((any, 0))).await??;
        socket.set_nonblocking(true)?;
        let socket = UdpSocket::from_std(socket)?;
        socket.connect(to).await?;
        Ok(socket)
    }

    /// A socket that sees every packet in here.
    pub(super) async fn packets(&self) -> anyhow::Result<std::net::UdpSocket> {
        self.ns.run(packets).await?.context("cannot watch packets")
    }

    /// A connection from here.
    pub(super) async fn connect(&self, to: SocketAddr) -> anyhow::Result<tokio::net::TcpStream> {
        // Only the socket has to be made in the namespace; the connection is made outside, and can be given up.
        Ok(self.ns.run(move || stream_to(to)).await??.connect(to).await?)
    }

    /// The namespace, for whoever outlives this handle.
    pub(super) fn namespace(&self) -> Arc<Namespace> {
        self.ns.clone()
    }
}

/// All addresses of this namespace: those of IPv4 are IPv6's too, mapped.
fn any() -> IpAddr {
    if has_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }
}

/// A socket for a connection to this address.
pub(super) fn stream_to(to: SocketAddr) -> io::Result<TcpSocket> {
    if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }
}
