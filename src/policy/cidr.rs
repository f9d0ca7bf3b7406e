//! `ipBlock`: a CIDR and what is taken out of it. Which address counts is the caller's business.

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::IPBlock;

/// Whether an address is in the block and in none of its excepts. A block that the API would refuse (a bad CIDR, an
/// except that is not inside the block) holds nothing.
pub(super) fn holds(block: &IPBlock, address: IpAddr) -> bool {
    let Some(whole) = parse(&block.cidr) else { return false };
    let excepts: Option<Vec<IpNet>> = block.except.iter().flatten().map(|except| parse(except)).collect();
    let Some(excepts) = excepts else { return false };
    if !excepts.iter().all(|except| whole.contains(except)) {
        return false;
    }
    // An IPv4 address in IPv6's clothes is the same address to a packet filter.
    let address = address.to_canonical();
    whole.contains(&address) && !excepts.iter().any(|except| except.contains(&address))
}

/// A network, its host bits cleared: the API accepts `10.10.1.6/24` and means `10.10.1.0/24`.
fn parse(cidr: &str) -> Option<IpNet> {
    cidr.parse::<IpNet>().ok().map(|net| net.trunc())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn check(cidr: &str, except: &[&str], address: &str) -> bool {
        let except = (!except.is_empty()).then(|| except.iter().map(ToString::to_string).collect());
        holds(&IPBlock { cidr: cidr.to_owned(), except }, address.parse().unwrap())
    }

    #[test]
    fn a_block_ends_where_its_mask_says() {
        for (cidr, first, last, before, after) in [
            ("10.1.2.3/32", "10.1.2.3", "10.1.2.3", "10.1.2.2", "10.1.2.4"),
            ("10.1.2.2/31", "10.1.2.2", "10.1.2.3", "10.1.2.1", "10.1.2.4"),
            ("10.1.2.128/25", "10.1.2.128", "10.1.2.255", "10.1.2.127", "10.1.3.0"),
            ("10.1.128.0/17", "10.1.128.0", "10.1.255.255", "10.1.127.255", "10.2.0.0"),
            ("10.128.0.0/9", "10.128.0.0", "10.255.255.255", "10.127.255.255", "11.0.0.0"),
            ("fd00:1::/64", "fd00:1::", "fd00:1::ffff:ffff:ffff:ffff", "fd00:0:ffff::", "fd00:1:0:1::"),
        ] {
            assert!(check(cidr, &[], first), "{first} in {cidr}");
            assert!(check(cidr, &[], last), "{last} in {cidr}");
            assert!(!check(cidr, &[], before), "{before} before {cidr}");
            assert!(!check(cidr, &[], after), "{after} after {cidr}");
        }
    }

    #[test]
    fn everything_is_everything_of_one_family() {
        assert!(check("0.0.0.0/0", &[], "255.255.255.255"));
        assert!(!check("0.0.0.0/0", &[], "fd00::1"));
        assert!(check("::/0", &[], "fd00::1"));
        assert!(!check("::/0", &[], "10.0.0.1"));
        assert!(check("0.0.0.0/1", &[], "127.255.255.255") && !check("0.0.0.0/1", &[], "128.0.0.0"));
    }

    #[test]
    fn excepts_are_taken_out() {
        let metadata = &["169.254.169.254/32"];
        assert!(!check("0.0.0.0/0", metadata, "169.254.169.254"));
        assert!(check("0.0.0.0/0", metadata, "169.254.169.253"));
        let nested = &["10.1.0.0/24", "10.1.0.7/32", "10.1.1.0/24"];
        assert!(!check("10.1.0.0/16", nested, "10.1.0.7"));
        assert!(!check("10.1.0.0/16", nested, "10.1.1.255"));
        assert!(check("10.1.0.0/16", nested, "10.1.2.0"));
        assert!(!check("10.1.0.0/16", nested, "10.2.0.0"));
        assert!(!check("::/0", &["fd00:ec2::254/128"], "fd00:ec2::254"));
    }

    #[test]
    fn host_bits_do_not_count() {
        assert!(check("10.10.1.6/24", &[], "10.10.1.1"));
        assert!(!check("10.0.0.9/8", &["10.0.0.9/24"], "10.0.0.1"));
    }

    #[test]
    fn a_mapped_address_is_its_ipv4_address() {
        assert!(check("10.0.0.0/8", &[], "::ffff:10.0.0.1"));
        assert!(!check("::/0", &[], "::ffff:10.0.0.1"));
    }

    #[test]
    fn bad_blocks_hold_nothing() {
        for (cidr, except) in [
            ("", &[][..]),
            ("10.0.0.0", &[]),
            ("10.0.0.0/33", &[]),
            ("0.0.0.0/0", &["nonsense"]),
            ("10.0.0.0/8", &["11.0.0.0/32"]),
            ("0.0.0.0/0", &["fd00::/8"]),
            ("10.0.0.0/16", &["10.0.0.0/8"]),
        ] {
            assert!(!check(cidr, except, "10.0.0.1"), "{cidr} except {except:?}");
        }
    }
}
