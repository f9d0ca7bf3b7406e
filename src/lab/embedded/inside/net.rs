//! One network namespace: its links, addresses, routes and sockets. All of `nlink` but the rulesets is behind this.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, ensure};
use nlink::netlink::{
    Connection, Nftables, Route,
    addr::Ipv4Address,
    link::VethLink,
    route::{Ipv4Route, Ipv6Route},
    types::route::RouteType,
};
use tokio::{
    net::{TcpListener, UdpSocket},
    time::{Instant, sleep},
};

use super::{namespace::Namespace, serve::packets};

/// Settings that a new namespace would take from the host's, or that the kernel has off.
const SETTINGS: [(&str, &str); 4] = [
    ("/proc/sys/net/ipv4/ip_forward", "1"),
    // An "unreachable" that is held back would look like a time-out.
    ("/proc/sys/net/ipv4/icmp_ratelimit", "0"),
    ("/proc/sys/net/ipv4/conf/all/rp_filter", "0"),
    ("/proc/sys/net/ipv4/conf/default/rp_filter", "0"),
];

/// Worse than the metric of any other route.
const LAST_RESORT: u32 = 4_000_000;

/// How long a port may still be held by who has ended, and how often that is looked at.
const LET_GO: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// A network namespace, with netlink sockets in it.
pub(super) struct Host {
    ns: Arc<Namespace>,
    link: Connection<Route>,
    nft: Connection<Nftables>,
}

/// A route to add.
pub(super) struct Way<'a> {
    /// The destination.
    pub(super) to: (Ipv4Addr, u8),
    /// The next hop; none where the destination is on the link itself.
    pub(super) via: Option<Ipv4Addr>,
    /// The device.
    pub(super) dev: &'a str,
}

impl Host {
    /// A new namespace, with nothing in it but a loopback device.
    pub(super) async fn new() -> anyhow::Result<Self> {
        let begin = || {
            for (path, value) in SETTINGS {
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

    /// Gives a device an address.
    pub(super) async fn address(&self, dev: &str, address: Ipv4Addr, length: u8) -> anyhow::Result<()> {
        Ok(self.link.add_address(Ipv4Address::new(dev, address, length)).await?)
    }

    /// Adds a route. Packets that start here have this source, where one is given.
    pub(super) async fn route(&self, way: Way<'_>, source: Option<Ipv4Addr>) -> anyhow::Result<()> {
        let route = Ipv4Route::new(way.to.0, way.to.1).dev(way.dev);
        let route = match way.via {
            Some(via) => route.gateway(via),
            None => route.scope(nlink::netlink::types::route::RouteScope::Link),
        };
        let route = source.into_iter().fold(route, Ipv4Route::prefsrc);
        let (to, length) = way.to;
        self.link.add_route(route).await.with_context(|| format!("cannot add the route to {to}/{length}"))
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
    pub(super) async fn leaves_by(&self, address: Ipv4Addr) -> anyhow::Result<String> {
        let route = self.link.lookup_route(address.into()).await.with_context(|| format!("no route to {address}"))?;
        ensure!(route.route_type() == RouteType::Unicast, "the route to {address} is {:?}", route.route_type());
        let index = route.oif().with_context(|| format!("the route to {address} has no device"))?;
        self.link.interface_name(index).await?.with_context(|| format!("no device has the index {index}"))
    }

    /// Fails where packets for an address would leave, as the kernel says it: it has to be one of this namespace's own.
    pub(super) async fn keeps(&self, address: Ipv4Addr) -> anyhow::Result<()> {
        let route = self.link.lookup_route(address.into()).await.with_context(|| format!("no route to {address}"))?;
        ensure!(route.route_type() == RouteType::Local, "the route to {address} is {:?}", route.route_type());
        Ok(())
    }

    /// For rulesets.
    pub(super) fn nft(&self) -> &Connection<Nftables> {
        &self.nft
    }

    /// A listening socket in here.
    pub(super) async fn listen(&self, port: u16) -> anyhow::Result<TcpListener> {
        let bind = move || std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port));
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

    /// A datagram socket in here.
    pub(super) async fn datagrams(&self, port: u16) -> anyhow::Result<UdpSocket> {
        let bind = move || std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port));
        let socket = self.bind(bind).await.with_context(|| format!("cannot listen on UDP port {port}"))?;
        socket.set_nonblocking(true)?;
        Ok(UdpSocket::from_std(socket)?)
    }

    /// A socket that sees every packet in here.
    pub(super) async fn packets(&self) -> anyhow::Result<std::net::UdpSocket> {
        self.ns.run(packets).await?.context("cannot watch packets")
    }

    /// A connection from here.
    pub(super) async fn connect(&self, to: SocketAddr) -> anyhow::Result<tokio::net::TcpStream> {
        // Only the socket has to be made in the namespace; the connection is made outside, and can be given up.
        Ok(self.ns.run(tokio::net::TcpSocket::new_v4).await??.connect(to).await?)
    }

    /// The namespace, for whoever outlives this handle.
    pub(super) fn namespace(&self) -> Arc<Namespace> {
        self.ns.clone()
    }
}
