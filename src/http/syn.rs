//! First packets that no connection followed: what a server cannot know of itself, since the kernel makes connections for
//! it.
//!
//! A packet socket sees them as they arrive, before any rule of its own network namespace does. It needs `CAP_NET_RAW`
//! there: a lab's namespaces and Docker's containers have it, a user's shell has not. And it has to be the server's own
//! machine: in the namespace of a node a packet is seen that the node's policies drop right after.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

/// How long a connection may take to be accepted. A first packet that is repeated, after a second as a rule, counts anew.
pub(super) const GRACE: Duration = Duration::from_millis(800);
/// How many clients are remembered; further first packets are not.
const MOST: usize = 65_536;

/// What is known of clients whose first packet has just arrived, or whose connection has.
#[derive(Debug, Default)]
pub(super) struct Syns(HashMap<SocketAddr, (Instant, State)>);

#[derive(Debug)]
enum State {
    /// A packet arrived for this address, at this time in milliseconds since 1970.
    Waiting(SocketAddr, u64),
    /// The connection was made.
    Accepted,
}

impl Syns {
    /// A first packet has arrived.
    pub(super) fn arrived(&mut self, peer: SocketAddr, local: SocketAddr, at: u64, now: Instant) {
        if self.0.len() < MOST {
            self.0.entry(peer).or_insert((now, State::Waiting(local, at)));
        }
    }

    /// A connection was made, be it that its first packet was seen or will be.
    pub(super) fn accepted(&mut self, peer: SocketAddr, now: Instant) {
        if self.0.len() < MOST || self.0.contains_key(&peer) {
            self.0.insert(peer, (now, State::Accepted));
        }
    }

    /// Those that have waited for so long in vain: from where, to where, when. They are forgotten, as are connections.
    pub(super) fn given_up(&mut self, now: Instant, grace: Duration) -> Vec<(SocketAddr, SocketAddr, u64)> {
        let mut found = Vec::new();
        self.0.retain(|peer, (since, state)| {
            let is_over = now.duration_since(*since) >= grace;
            if let (true, State::Waiting(local, at)) = (is_over, state) {
                found.push((*peer, *local, *at));
            }
            !is_over
        });
        found.sort_by_key(|(_, _, at)| *at);
        found
    }
}

/// From where and to where, if this is the first packet of a TCP connection: an IP packet from its header on (RFC 791, RFC
/// 8200; TCP: RFC 9293 section 3.1).
pub(super) fn first_packet(packet: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    const TCP: u8 = 6;
    let (from, to, segment): (IpAddr, IpAddr, &[u8]) = match packet.first()? >> 4 {
        4 => {
            let length = usize::from(packet[0] & 0xf) * 4;
            let is_first = packet.get(6..8)?.iter().zip([0x1f, 0xff]).all(|(byte, mask)| byte & mask == 0);
            if *packet.get(9)? != TCP || !is_first || length < 20 {
                return None;
            }
            let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?));
            (address(12)?.into(), address(16)?.into(), packet.get(length..)?)
        }
        // A first packet with extension headers is not recognised.
        6 if *packet.get(6)? == TCP => {
            let address = |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?));
            (address(8)?.into(), address(24)?.into(), packet.get(40..)?)
        }
        _ => return None,
    };
    let port = |at: usize| Some(u16::from_be_bytes(segment.get(at..at + 2)?.try_into().ok()?));
    let (syn, ack) = (0x02, 0x10);
    let is_first = segment.get(13)? & (syn | ack) == syn;
    is_first.then_some((SocketAddr::new(from, port(0)?), SocketAddr::new(to, port(2)?)))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn segment(flags: u8) -> Vec<u8> {
        let mut bytes = vec![0; 20];
        bytes[..4].copy_from_slice(&[0x9c, 0x40, 0, 80]);
        bytes[12..14].copy_from_slice(&[0x50, flags]);
        bytes
    }

    fn v4(flags: u8) -> Vec<u8> {
        let head = [0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 192, 0, 2, 1];
        [&head[..], &segment(flags)].concat()
    }

    fn v6(flags: u8) -> Vec<u8> {
        let (from, to) = ("2001:db8::1".parse::<Ipv6Addr>().unwrap(), "2001:db8::2".parse::<Ipv6Addr>().unwrap());
        [&[0x60, 0, 0, 0, 0, 20, 6, 64][..], &from.octets(), &to.octets(), &segment(flags)].concat()
    }

    #[test]
    fn first_packets_are_told_from_others() {
        let found = |from: &str, to: &str| Some((from.parse().unwrap(), to.parse().unwrap()));
        assert_eq!(first_packet(&v4(2)), found("10.0.0.1:40000", "192.0.2.1:80"));
        assert_eq!(first_packet(&v6(0xc2)), found("[2001:db8::1]:40000", "[2001:db8::2]:80"));
        // An answer, the last one, the end, a reset.
        for flags in [0x12, 0x10, 0x11, 0x04] {
            assert_eq!((first_packet(&v4(flags)), first_packet(&v6(flags))), (None, None));
        }
        let mut udp = v4(2);
        udp[9] = 17;
        let mut fragment = v4(2);
        fragment[7] = 1;
        assert_eq!((first_packet(&udp), first_packet(&fragment), first_packet(&[])), (None, None, None));
    }

    #[test]
    fn only_a_packet_that_no_connection_followed_is_given_up() {
        let (mut syns, begin) = (Syns::default(), Instant::now());
        let [alone, early, late, last] = [1, 2, 3, 4].map(|port| SocketAddr::from(([10, 0, 0, 1], port)));
        let local = SocketAddr::from(([192, 0, 2, 1], 80));
        syns.accepted(early, begin);
        for (at, peer) in [alone, early, late].into_iter().enumerate() {
            syns.arrived(peer, local, at as u64, begin);
        }
        syns.arrived(alone, local, 9, begin);
        syns.accepted(late, begin);
        let grace = Duration::from_secs(1);
        let after = begin + grace;
        syns.arrived(last, local, 10, after);
        assert!(syns.given_up(begin, grace).is_empty());
        assert_eq!(syns.given_up(after, grace), [(alone, local, 0)]);
        assert_eq!(syns.given_up(after + grace, grace), [(last, local, 10)]);
        assert!(syns.0.is_empty());
    }

    proptest! {
        #[test]
        fn no_packet_is_too_short(packet in proptest::collection::vec(any::<u8>(), 0..80), cut in 0..80_usize) {
            let _ = first_packet(&packet);
            for whole in [v4(2), v6(2)] {
                prop_assert_eq!(first_packet(&whole[..cut.min(whole.len())]).is_some(), cut.min(whole.len()) >= whole.len() - 6);
            }
        }
    }
}
