//! Where a prober's sockets come from: its own network namespace, or another one.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
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

/// Makes a socket in the current thread's network namespace. It has to be called within a runtime.
pub fn socket(kind: Kind) -> io::Result<Socket> {
    match kind {
        Kind::Stream { v6: false } => TcpSocket::new_v4().map(Socket::Stream),
        Kind::Stream { v6: true } => TcpSocket::new_v6().map(Socket::Stream),
        Kind::Datagrams { v6 } => {
            let any = if v6 {
                SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
            } else {
                SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
            };
            let socket = std::net::UdpSocket::bind(any)?;
            socket.set_nonblocking(true)?;
            tell_of_errors(&socket, v6)?;
            UdpSocket::from_std(socket).map(Socket::Datagrams)
        }
    }
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
