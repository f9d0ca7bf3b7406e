//! Sets of addresses, as the kernel's interval sets want them: sorted ranges that neither overlap nor touch.

use std::net::IpAddr;

use super::CompileError;

/// A set of IPv4 and IPv6 addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// IPv4, as numbers, first and last of each range.
    pub v4: Vec<(u128, u128)>,
    /// IPv6, likewise.
    pub v6: Vec<(u128, u128)>,
}

impl Addresses {
    /// Whether there is no address in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether an address is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let (ranges, number) = match address {
            IpAddr::V4(v4) => (&self.v4, u128::from(v4.to_bits())),
            IpAddr::V6(v6) => (&self.v6, v6.to_bits()),
        };
        ranges.iter().any(|&(first, last)| first <= number && number <= last)
    }

    /// Adds one address.
    pub fn add(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(v4) => insert(&mut self.v4, (v4.to_bits().into(), v4.to_bits().into())),
            IpAddr::V6(v6) => insert(&mut self.v6, (v6.to_bits(), v6.to_bits())),
        }
    }

    /// Adds a block without its exceptions. Host bits are ignored, as they are by the API server.
    pub fn add_block(&mut self, cidr: &str, except: &[String]) -> Result<(), CompileError> {
        let block = Block::parse(cidr)?;
        let mut ranges = vec![block.range];
        for hole in except {
            let hole = Block::parse(hole)?;
            if hole.v6 == block.v6 {
                ranges = ranges.into_iter().flat_map(|range| without(range, hole.range)).collect();
            }
        }
        let all = if block.v6 { &mut self.v6 } else { &mut self.v4 };
        for range in ranges {
            insert(all, range);
        }
        Ok(())
    }
}

/// A CIDR as a range of numbers.
struct Block {
    v6: bool,
    range: (u128, u128),
}

impl Block {
    fn parse(cidr: &str) -> Result<Self, CompileError> {
        let bad = || CompileError::Cidr(cidr.to_owned());
        let (address, length) = cidr.split_once('/').ok_or_else(bad)?;
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let length: u32 = length.parse().map_err(|_| bad())?;
        let (number, bits) = match address {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
            IpAddr::V6(v6) => (v6.to_bits(), 128),
        };
        let host_bits = u32::checked_sub(bits, length).ok_or_else(bad)?;
        // A shift by 128 is the whole of IPv6.
        let host = 1_u128.checked_shl(host_bits).map_or(u128::MAX, |size| size - 1);
        Ok(Self { v6: address.is_ipv6(), range: (number & !host, number | host) })
    }
}

/// What is left of a range without another.
fn without((first, last): (u128, u128), (from, to): (u128, u128)) -> impl Iterator<Item = (u128, u128)> {
    let below = (first < from).then(|| (first, last.min(from - 1)));
    let above = (last > to).then(|| (first.max(to + 1), last));
    below.into_iter().chain(above)
}

fn insert(ranges: &mut Vec<(u128, u128)>, range: (u128, u128)) {
    ranges.push(range);
    ranges.sort_unstable();
    let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
    for &(first, last) in ranges.iter() {
        match merged.last_mut() {
            Some(previous) if first <= previous.1.saturating_add(1) => previous.1 = previous.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    *ranges = merged;
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn block(cidr: &str, except: &[&str]) -> Addresses {
        let mut all = Addresses::default();
        all.add_block(cidr, &except.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        all
    }

    fn has(all: &Addresses, address: &str) -> bool {
        all.contains(address.parse().unwrap())
    }

    #[test]
    fn everything_but_one_address() {
        let all = block("0.0.0.0/0", &["169.254.169.254/32"]);
        assert_eq!(all.v4.len(), 2);
        assert!(has(&all, "0.0.0.0") && has(&all, "255.255.255.255"));
        assert!(has(&all, "169.254.169.253") && has(&all, "169.254.169.255"));
        assert!(!has(&all, "169.254.169.254") && !has(&all, "::1"));
    }

    #[test]
    fn the_whole_of_ipv6() {
        let all = block("::/0", &["fd00:ec2::254/128"]);
        assert!(has(&all, "::") && has(&all, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"));
        assert!(!has(&all, "fd00:ec2::254") && !has(&all, "1.2.3.4"));
    }

    #[test]
    fn exceptions_at_the_edges_and_over_all() {
        assert_eq!(block("10.0.0.0/30", &["10.0.0.0/32", "10.0.0.3/32"]), block("10.0.0.1/32", &[]).plus("10.0.0.2"));
        assert!(block("10.0.0.0/24", &["10.0.0.0/16"]).is_empty());
    }

    #[test]
    fn host_bits_are_ignored_and_neighbours_merge() {
        let mut all = block("10.0.0.77/25", &[]);
        all.add_block("10.0.0.128/25", &[]).unwrap();
        assert_eq!(all, block("10.0.0.0/24", &[]));
    }

    #[test]
    fn faulty_blocks() {
        for cidr in ["10.0.0.0", "10.0.0.0/33", "::/129", "/8", "10.0.0/8", "10.0.0.0/-1", "10.0.0.0/ 8"] {
            assert!(Addresses::default().add_block(cidr, &[]).is_err(), "{cidr}");
        }
    }

    impl Addresses {
        fn plus(mut self, address: &str) -> Self {
            self.add(address.parse().unwrap());
            self
        }
    }
}
