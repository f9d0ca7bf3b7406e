//! Ports of the source for UDP, each of which comes again only when nobody remembers it.
//!
//! A node takes a datagram between the same two addresses and ports for part of the flow that it knows, for up to
//! `nf_conntrack_udp_timeout_stream`, 120 s: by default CNIs let it pass, whatever the policies say by now. The system's own
//! choice is random, and so too often one of those that were used a moment ago.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The first of the ports, and how many there are: Linux's own choice, `ip_local_port_range`.
const FIRST: u16 = 32_768;
const COUNT: u16 = 28_232;

/// Where a prober begins depends on the clock, so that it does not begin where the one before it did; at this pace all ports
/// come around in 280 s.
const PACE: Duration = Duration::from_millis(10);

/// The place in the sequence of ports, for each destination. They are far apart, because what is asked at the same time cannot
/// have the same port.
#[derive(Debug, Default)]
pub(super) struct Ports(Mutex<BTreeMap<(String, u16), u64>>);

impl Ports {
    /// The next port from which to ask a destination.
    pub(super) fn next(&self, host: &str, port: u16) -> u16 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.next_at(now, host, port)
    }

    fn next_at(&self, now: Duration, host: &str, port: u16) -> u16 {
        let clock = u64::try_from(now.as_millis() / PACE.as_millis()).unwrap_or_default();
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = places.entry((host.to_owned(), port)).or_default();
        *place = clock.max(*place + 1);
        let mut hasher = DefaultHasher::new();
        (host, port).hash(&mut hasher);
        nth(*place + hasher.finish() % u64::from(COUNT))
    }
}

/// The port that is used as long before and after this one as can be, for whoever finds this one taken.
pub(super) fn opposite(port: u16) -> u16 {
    nth(u64::from(port.wrapping_sub(FIRST)) + u64::from(COUNT / 2))
}

fn nth(place: u64) -> u16 {
    FIRST + u16::try_from(place % u64::from(COUNT)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_port_comes_again_while_a_node_may_remember_it() {
        let ports = Ports::default();
        // A hundred at once each second, for two minutes, and a prober that was started again half-way.
        let again = Ports::default();
        let all = (0..120).flat_map(|second| {
            let ports = if second < 60 { &ports } else { &again };
            let now = Duration::from_secs(1_000_000 + second);
            (0..100).map(move |_| ports.next_at(now, "10.0.0.1", 80))
        });
        let all: Vec<u16> = all.collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        assert!(all.iter().all(|port| (FIRST..FIRST + COUNT).contains(port)));
    }

    #[test]
    fn what_is_asked_at_once_is_asked_from_ports_of_its_own() {
        let (ports, now) = (Ports::default(), Duration::from_secs(7));
        let hosts = (1..=9).flat_map(|host| [80, 81].map(|port| (format!("10.0.0.{host}"), port)));
        let at_once = hosts.flat_map(|(host, port)| [(); 8].map(|()| ports.next_at(now, &host, port)));
        let at_once: Vec<u16> = at_once.collect();
        assert_eq!(at_once.iter().collect::<BTreeSet<_>>().len(), at_once.len());
    }

    #[test]
    fn the_other_choice_is_far_away() {
        for port in [FIRST, FIRST + 1, FIRST + COUNT / 2, FIRST + COUNT - 1] {
            assert_eq!(opposite(port).abs_diff(port), COUNT / 2);
            assert_eq!(opposite(opposite(port)), port);
        }
    }
}
