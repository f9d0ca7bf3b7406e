//! Watching for first packets that no connection followed, and putting them into a server's log.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
};

use tokio::time::interval;

use super::{
    Log,
    syn::{GRACE, first_packet},
};

/// The longest headers of IP and TCP.
const HEADERS: usize = 128;

/// A socket that sees every packet of the network namespace in which it is made; needs `CAP_NET_RAW` there. It is no UDP
/// socket, but one of datagrams, and to receive those is all that it is for.
#[cfg(target_os = "linux")]
pub fn packets() -> io::Result<UdpSocket> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    Ok(socket(AddressFamily::Packet, SockType::Datagram, flags, SockProtocol::EthAll)?.into())
}

/// Only Linux has such sockets.
#[cfg(not(target_os = "linux"))]
pub fn packets() -> io::Result<UdpSocket> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Puts each first packet to an address that is watched into the log, if no connection to that log's servers followed it
/// soon. It ends when the future is dropped, or with the socket's error.
pub async fn watch(
    packets: UdpSocket,
    log: Log,
    is_watched: impl Fn(SocketAddr) -> bool + Send + 'static,
) -> io::Result<()> {
    let packets = tokio::net::UdpSocket::from_std(packets)?;
    log.expect_syns();
    let mut turns = interval(GRACE / 4);
    // What is longer is cut off.
    let mut buffer = [0; HEADERS];
    loop {
        tokio::select! {
            length = packets.recv(&mut buffer) => {
                if let Some((peer, local)) = first_packet(&buffer[..length?])
                    && is_watched(local)
                {
                    log.arrived(peer, local);
                }
            }
            _ = turns.tick() => log.give_syns_up(GRACE),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use tokio::{
        net::{TcpListener, TcpStream},
        time::timeout,
    };

    use super::*;
    use crate::http::Event;

    /// Where it is allowed at all: as root, mostly.
    #[tokio::test]
    async fn a_connection_that_nobody_accepts_leaves_its_first_packet() {
        let Ok(packets) = packets() else { return eprintln!("skipped: no CAP_NET_RAW here") };
        let log = Log::default();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let watching = watch(packets, log.clone(), move |local| local == address);
        let client = async {
            // The kernel answers for a listener; its owner never learns of this.
            let (lost, kept) = (TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap());
            log.accepted(kept.local_addr().unwrap());
            let found = async {
                let mut turns = interval(Duration::from_millis(10));
                while log.entries().is_empty() {
                    turns.tick().await;
                }
            };
            timeout(Duration::from_secs(10), found).await.unwrap();
            lost.local_addr().unwrap()
        };
        let peer = tokio::select! {
            peer = client => peer,
            ended = watching => panic!("{ended:?}"),
        };
        let [entry] = log.entries().try_into().unwrap();
        assert_eq!((entry.event, entry.peer, entry.local), (Event::Syn, peer, address));
    }
}
