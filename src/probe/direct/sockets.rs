//! Where a prober's sockets come from: its own network namespace, or another one.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::net::{TcpSocket, UdpSocket};

/// A kind of socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TCP.
    Stream {
        /// Over IPv6.
        v6: bool,
    },
    /// UDP.
    Datagrams {
        /// Over IPv6.
        v6: bool,
    },
}

/// A new socket.
#[derive(Debug)]
pub enum Socket {
    /// TCP, not connected.
    Stream(TcpSocket),
    /// UDP, bound to a port of the system's choice.
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
    match kind {
        Kind::Stream { v6: false } => TcpSocket::new_v4().map(Socket::Stream),
        Kind::Stream { v6: true } => TcpSocket::new_v6().map(Socket::Stream),
        Kind::Datagrams { v6 } => {
            let any = if v6 { IpAddr::from(Ipv6Addr::UNSPECIFIED) } else { Ipv4Addr::UNSPECIFIED.into() };
            datagrams(any)
        }
    }
}

fn socket_from(kind: Kind, address: IpAddr) -> io::Result<Socket> {
    let (Kind::Stream { v6 } | Kind::Datagrams { v6 }) = kind;
    if v6 != address.is_ipv6() {
        return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, format!("the source has {address} alone")));
    }
    if matches!(kind, Kind::Datagrams { .. }) {
        return datagrams(address);
    }
    let stream = if v6 { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    stream.bind((address, 0).into())?;
    Ok(Socket::Stream(stream))
}

fn datagrams(address: IpAddr) -> io::Result<Socket> {
    let socket = std::net::UdpSocket::bind(SocketAddr::from((address, 0)))?;
    socket.set_nonblocking(true)?;
    tell_of_errors(&socket, address.is_ipv6())?;
    UdpSocket::from_std(socket).map(Socket::Datagrams)
}

/// Without this the kernel keeps to itself that a host or a network is unreachable, ip(7).
#[cfg(target_os = "linux")]
fn tell_of_errors(socket: &std::net::UdpSocket, v6: bool) -> io::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt};
    if v6 {
        setsockopt(socket, sockopt::Ipv6RecvErr, &true)?;
    } else {
        setsockopt(socket, sockopt::Ipv4RecvErr, &true)?;
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn tell_of_errors(_: &std::net::UdpSocket, _: bool) -> io::Result<()> {
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
