//! Where a prober's sockets come from: its own network namespace, or another one.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::net::{TcpSocket, UdpSocket};

use super::ports::opposite;
use crate::udp::say_when;

/// A kind of socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// What goes over it.
    pub transport: Transport,
    /// Over IPv6.
    pub v6: bool,
    /// The port that it is bound to.
    pub port: Port,
}

/// The port of a new socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// The system chooses.
    Any,
    /// This one, or another one if somebody else has it.
    Rather(u16),
    /// This one.
    Only(u16),
}

/// What goes over a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Stream,
    /// UDP.
    Datagrams,
}

/// A new socket.
#[derive(Debug)]
pub enum Socket {
    /// TCP, not connected.
    Stream(TcpSocket),
    /// UDP, bound to a port.
    Datagrams(UdpSocket),
}

/// Makes sockets in the source.
pub trait Sockets: Send + Sync + 'static {
    /// Makes a socket of each of these kinds, in their order.
    fn open(&self, kinds: Vec<Kind>) -> impl Future<Output = Vec<io::Result<Socket>>> + Send;
}

/// The network namespace of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Here;

impl Sockets for Here {
    async fn open(&self, kinds: Vec<Kind>) -> Vec<io::Result<Socket>> {
        kinds.into_iter().map(socket).collect()
    }
}

/// The network namespace of this process, and one of its addresses. There is no socket of the other family.
#[derive(Clone, Copy, Debug)]
pub struct HereFrom(pub IpAddr);

impl Sockets for HereFrom {
    async fn open(&self, kinds: Vec<Kind>) -> Vec<io::Result<Socket>> {
        kinds.into_iter().map(|kind| socket_from(kind, self.0)).collect()
    }
}

/// Makes a socket in the current thread's network namespace. It has to be called within a runtime.
pub fn socket(kind: Kind) -> io::Result<Socket> {
    bound(kind, None)
}

fn socket_from(kind: Kind, address: IpAddr) -> io::Result<Socket> {
    if kind.v6 != address.is_ipv6() {
        return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, format!("the source has {address} alone")));
    }
    bound(kind, Some(address))
}

fn bound(Kind { transport, v6, port }: Kind, address: Option<IpAddr>) -> io::Result<Socket> {
    let any = if v6 { IpAddr::from(Ipv6Addr::UNSPECIFIED) } else { Ipv4Addr::UNSPECIFIED.into() };
    let local = |port| SocketAddr::new(address.unwrap_or(any), port);
    if transport == Transport::Datagrams {
        return match port {
            Port::Any => datagrams(local(0)),
            Port::Only(port) => datagrams(local(port)),
            Port::Rather(port) => [port, opposite(port), 0]
                .into_iter()
                .map(|port| datagrams(local(port)))
                .find(|made| !made.as_ref().is_err_and(is_taken))
                .unwrap_or_else(|| Err(io::ErrorKind::AddrInUse.into())),
        };
    }
    let stream = if v6 { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    spare_a_packet(&stream);
    if let Port::Only(port) = port {
        // Others may have left connections behind that still linger on the port, and this one must leave none.
        stream.set_reuseaddr(true)?;
        stream.set_zero_linger()?;
        stream.bind(local(port))?;
    } else if address.is_some() {
        stream.bind(local(0))?;
    }
    Ok(Socket::Stream(stream))
}

/// Has the end of the handshake travel with the request, which follows at once, tcp(7): probes are many, and packets cost most.
fn spare_a_packet(stream: &TcpSocket) {
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(stream).set_tcp_quickack(false);
    #[cfg(not(target_os = "linux"))]
    let _ = stream;
}

fn datagrams(local: SocketAddr) -> io::Result<Socket> {
    // Nobody else may have the port at the same time: which of two would get an answer is the system's choice.
    let socket = std::net::UdpSocket::bind(local)?;
    socket.set_nonblocking(true)?;
    tell_more(&socket, local.is_ipv6())?;
    UdpSocket::from_std(socket).map(Socket::Datagrams)
}

/// Whether a port is somebody else's for the moment: of a socket, or of a connection to the same place.
pub(super) fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable)
}

/// Without this the kernel keeps to itself that a host or a network is unreachable, ip(7), and when a datagram came,
/// socket(7).
#[cfg(target_os = "linux")]
fn tell_more(socket: &std::net::UdpSocket, v6: bool) -> io::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt};
    say_when(socket)?;
    if v6 {
        setsockopt(socket, sockopt::Ipv6RecvErr, &true)?;
    } else {
        setsockopt(socket, sockopt::Ipv4RecvErr, &true)?;
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn tell_more(_: &std::net::UdpSocket, _: bool) -> io::Result<()> {
    Ok(())
}

/// Lets this process have as many open files as it may, and says how many those are.
#[must_use]
pub fn raise_file_limit() -> u64 {
    #[cfg(unix)]
    {
        use nix::sys::resource::{Resource, getrlimit, setrlimit};
        if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
            return if setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft };
        }
    }
    256
}
