//! Ports of the source for UDP, each of which comes again only when nobody remembers it.
//!
//! A node takes a datagram between the same two addresses and ports for part of the flow that it knows, for up to
//! `nf_conntrack_udp_timeout_stream`, 120 s: by default CNIs let it pass, whatever the policies say by now. The system's own
//! choice is random, and so too often one of those that were used a moment ago.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The first of the ports, and how many there are: Linux's own choice, `ip_local_port_range`.
const FIRST: u16 = 32_768;
const COUNT: u16 = 28_232;

/// Where a prober begins depends on the clock, so that it does not begin where the one before it did; at this pace all ports
/// come around in 280 s.
const PACE: Duration = Duration::from_millis(10);

/// The place in the sequence of ports, for each destination.
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
        FIRST + u16::try_from(*place % u64::from(COUNT)).unwrap_or_default()
    }
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
    fn each_destination_has_its_own() {
        let ports = Ports::default();
        let now = Duration::from_secs(7);
        let first = ports.next_at(now, "10.0.0.1", 80);
        assert_eq!(ports.next_at(now, "10.0.0.1", 80), first + 1);
        assert_eq!(ports.next_at(now, "10.0.0.1", 81), first);
        assert_eq!(ports.next_at(now, "10.0.0.2", 80), first);
    }
}
