//! Receiving a datagram, with the time at which the kernel got it: how long this process took to look is no part of the way.

use std::{io, net::SocketAddr, time::SystemTime};

use tokio::net::UdpSocket;

/// A datagram that was received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    /// Its length in bytes.
    pub(crate) length: usize,
    /// Who sent it.
    pub(crate) peer: SocketAddr,
    /// When the kernel got it, by the system's clock, where it says so.
    pub(crate) at: Option<SystemTime>,
}

/// Has the kernel say when datagrams come, socket(7).
#[cfg(target_os = "linux")]
pub(crate) fn say_when(socket: &impl std::os::fd::AsFd) -> io::Result<()> {
    nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::ReceiveTimestampns, &true)?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn say_when<S>(_: &S) -> io::Result<()> {
    Ok(())
}

/// Receives a datagram. An error may be of an earlier one that was sent.
#[cfg(target_os = "linux")]
pub(crate) async fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Received> {
    use std::{
        io::IoSliceMut,
        net::{SocketAddrV4, SocketAddrV6},
        os::fd::AsRawFd,
        time::Duration,
    };

    use nix::sys::{
        socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg},
        time::TimeSpec,
    };

    let receive = || {
        let mut space = nix::cmsg_space!(TimeSpec);
        let mut slices = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_DONTWAIT;
        let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags)?;
        let at = message.cmsgs()?.find_map(|part| match part {
            ControlMessageOwned::ScmTimestampns(at) => Some(SystemTime::UNIX_EPOCH + Duration::from(at)),
            _ => None,
        });
        let v4 = |address: &SockaddrStorage| address.as_sockaddr_in().map(|v4| SocketAddrV4::from(*v4).into());
        let v6 = |address: &SockaddrStorage| address.as_sockaddr_in6().map(|v6| SocketAddrV6::from(*v6).into());
        let peer = message.address.as_ref().and_then(|address| v4(address).or_else(|| v6(address)));
        let peer = peer.ok_or_else(|| io::Error::other("a datagram of nobody's"))?;
        Ok(Received { length: message.bytes, peer, at })
    };
    socket.async_io(tokio::io::Interest::READABLE, receive).await
}

#[cfg(not(target_os = "linux"))]
pub(crate) async fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Received> {
    let (length, peer) = socket.recv_from(buffer).await?;
    Ok(Received { length, peer, at: None })
}
