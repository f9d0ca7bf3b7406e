//! The nodes' routes to the emulator, and the proof that there is no other way; and those to hosts outside the cluster.
//!
//! On a machine that is itself a cloud's, the real metadata server is one route away. So every known address is made
//! unreachable first; then one way is opened, looked at, and tried with a request that is harmless anywhere.

use std::{
    fmt::Write,
    net::{IpAddr, SocketAddr},
};

use tokio::time::{Duration, Instant, MissedTickBehavior, interval};

use super::emulator::{self, Emulator};
use crate::{
    http::{IDENTITY_PATH, NONCE, SERVER},
    lab::{LabError, cluster::Shell},
    metadata::{LINK_LOCAL, guarded_prefixes},
};

/// Worse than any route that somebody sets on purpose.
const METRIC: u32 = 4_278_198_272;

/// How long the emulator may take to answer a node that has a way to it.
const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(200);

/// Marks the nodes' ways to hosts outside the cluster, ip-route(8) `proto`: a number that no routing daemon has.
const PROTOCOL: u8 = 222;

/// The file in which a node looks up names first, and the mark of our line in it.
const MARK: &str = "# policyprobe";

pub(super) fn broken(node: &str, error: &str) -> LabError {
    LabError::from(anyhow::anyhow!("cannot secure the routes of node `{node}`: {error}"))
}

/// Makes every metadata address unreachable from a node, for as long as the node lives.
pub(crate) async fn close(node: &str, shell: &mut Shell) -> Result<(), LabError> {
    shell.read(&closing()).await.map(drop).map_err(|error| broken(node, &error))
}

/// One command: IPv4 must succeed; IPv6 where the node has it. Single addresses only: Calico's pods have 169.254.1.1 as
/// their gateway, and a node that has no route to that address does not answer for it.
fn closing() -> String {
    let (mut v4, mut v6) = (String::new(), String::new());
    let single = |(address, length): &(IpAddr, u8)| *length == if address.is_ipv4() { 32 } else { 128 };
    for (address, length) in guarded_prefixes().filter(single) {
        let into = if address.is_ipv4() { &mut v4 } else { &mut v6 };
        let _ = writeln!(into, "route replace unreachable {address}/{length} metric {METRIC}");
    }
    format!(
        "ip -batch - 2>&1 <<'END'\n{v4}END\n\
         [ $? = 0 ] && {{ [ \"$(cat /proc/sys/net/ipv6/conf/all/disable_ipv6 2>/dev/null || echo 1)\" != 0 ] || \
         ip -6 -batch - 2>&1 <<'END'\n{v6}END\n}}"
    )
}

/// Closes the ways to emulators at these addresses: another container may have theirs by now.
pub(super) async fn forget(node: &str, shell: &mut Shell, addresses: &[IpAddr]) -> Result<(), LabError> {
    for address in addresses {
        let (ip, length) = family(*address);
        let stale = format!("{ip} route show exact {address}/{length} type unicast");
        let command = format!("[ -z \"$({stale})\" ] || {ip} route del unicast {address}/{length} 2>&1");
        shell.read(&command).await.map_err(|error| broken(node, &error))?;
    }
    Ok(())
}

/// Leads a node to a host outside the cluster by this container's address. An address to which the node has a way of its own
/// already, other than the default one, is somebody's who must stay reachable.
pub(crate) async fn lead(node: &str, shell: &mut Shell, host: IpAddr, by: IpAddr) -> Result<(), LabError> {
    let (ip, length) = family(host);
    let taken = shell.read(&format!("{ip} route show match {host} 2>&1")).await;
    let taken = taken.map_err(|error| no_way(node, host, &error))?;
    if let Some(route) = taken.iter().find(|route| is_taken(route)) {
        return Err(LabError::with_hint(
            format!("the outside host {host} cannot be: node `{node}` has another way there: {route}"),
            "take an address that the cluster does not use; 203.0.113.0/24 is free",
        ));
    }
    let routed =
        format!("{ip} route replace {host}/{length} via {by} proto {PROTOCOL} 2>&1 && {ip} route get {host} 2>&1");
    let route = shell.read(&routed).await.map_err(|error| no_way(node, host, &error))?;
    if leads_to(&route, by) { Ok(()) } else { Err(no_way(node, host, &route.join(" "))) }
}

/// Takes a node's ways to hosts outside the cluster back.
pub(crate) async fn clear(node: &str, shell: &mut Shell) -> Result<(), LabError> {
    let flush = format!("ip route flush proto {PROTOCOL} 2>&1; ip -6 route flush proto {PROTOCOL} 2>&1; true");
    let flushed = shell.read(&flush).await;
    flushed.map(drop).map_err(|error| anyhow::anyhow!("cannot take back the routes of node `{node}`: {error}").into())
}

fn no_way(node: &str, host: IpAddr, error: &str) -> LabError {
    LabError::from(anyhow::anyhow!("cannot lead node `{node}` to the outside host {host}: {error}"))
}

/// Whether a route, of those that match an address, is somebody else's.
fn is_taken(route: &str) -> bool {
    let words: Vec<&str> = route.split_ascii_whitespace().collect();
    let ours = PROTOCOL.to_string();
    let is_default = matches!(words[..], [] | ["default", ..] | ["unreachable", "default", ..]);
    !is_default && !words.windows(2).any(|pair| pair == ["proto", &ours])
}

/// Opens the ways to an emulator, and asks it who it is at each of its addresses. Nothing else is asked before this has
/// succeeded.
pub(super) async fn open(node: &str, shell: &mut Shell, emulator: &Emulator) -> Result<(), LabError> {
    let with_v6 = forwards_ipv6(node, shell).await?;
    for place in emulator.places().into_iter().filter(|place| with_v6 || place.is_ipv4()) {
        let Some(by) = emulator.way(place.ip()) else { continue };
        let (address, (ip, length)) = (place.ip(), family(place.ip()));
        let routed = format!("{ip} route replace {address}/{length} via {by} 2>&1 && {ip} route get {address} 2>&1");
        let route = shell.read(&routed).await.map_err(|error| broken(node, &error))?;
        if !leads_to(&route, by) {
            return Err(broken(node, &format!("the way to {address} is not through {by}: {}", route.join(" "))));
        }
        ask(node, shell, place, &emulator.identity).await?;
    }
    let names = emulator::names();
    let hosts = format!("grep -q '{MARK}$' /etc/hosts || echo '{LINK_LOCAL} {names} {MARK}' >>/etc/hosts");
    shell.read(&hosts).await.map(drop).map_err(|error| broken(node, &error))
}

/// Whether the cluster has IPv6: kind has its nodes forward it only then.
pub(super) async fn forwards_ipv6(node: &str, shell: &mut Shell) -> Result<bool, LabError> {
    let read = shell.read("cat /proc/sys/net/ipv6/conf/all/forwarding 2>/dev/null || echo 0").await;
    read.map(|lines| lines == ["1"]).map_err(|error| broken(node, &error))
}

/// Asks a server who it is, on a path that no real one has.
pub(super) async fn ask(node: &str, shell: &mut Shell, place: SocketAddr, identity: &str) -> Result<(), LabError> {
    let nonce = format!("identity-{node}");
    let ask = format!(
        "curl -q -g -s -S --noproxy '*' --connect-timeout 2 --max-time 4 -o /dev/null -D - -H '{NONCE}: {nonce}' \
         http://{place}{IDENTITY_PATH} 2>&1"
    );
    let answer = answer(node, shell, &ask).await?;
    if header(&answer, SERVER) != Some(identity) || header(&answer, NONCE) != Some(&nonce) {
        return Err(LabError::RealMetadata { address: place.ip() });
    }
    Ok(())
}

/// The emulator's answer. Where a killed run's emulator had the same address, its neighbours take a moment to find out
/// who has it now.
async fn answer(node: &str, shell: &mut Shell, ask: &str) -> Result<Vec<String>, LabError> {
    let give_up = Instant::now() + PATIENCE;
    let mut polls = interval(POLL);
    polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        polls.tick().await;
        match shell.read(ask).await {
            Ok(answer) => return Ok(answer),
            Err(error) if Instant::now() >= give_up => {
                return Err(broken(node, &format!("the emulator does not answer: {error}")));
            }
            Err(_) => {}
        }
    }
}

/// The command for routes of an address' family, and the length of its prefix.
pub(super) fn family(address: IpAddr) -> (&'static str, u8) {
    if address.is_ipv4() { ("ip", 32) } else { ("ip -6", 128) }
}

fn leads_to(route: &[String], by: IpAddr) -> bool {
    let words: Vec<&str> = route.iter().flat_map(|line| line.split_ascii_whitespace()).collect();
    words.windows(2).any(|pair| pair[0] == "via" && pair[1].parse() == Ok(by))
}

fn header<'a>(answer: &'a [String], name: &str) -> Option<&'a str> {
    let fields = answer.iter().filter_map(|line| line.split_once(':'));
    fields.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
}

/// All addresses of a node, those on bridges and tunnels included.
pub(crate) async fn addresses(node: &str, shell: &mut Shell) -> Result<Vec<IpAddr>, LabError> {
    let lines = shell.read("ip -o addr").await.map_err(|error| broken(node, &error))?;
    Ok(lines.iter().filter_map(|line| parse_address(line)).collect())
}

fn parse_address(line: &str) -> Option<IpAddr> {
    let mut words = line.split_ascii_whitespace().skip_while(|word| !word.starts_with("inet"));
    let address: IpAddr = words.nth(1)?.split('/').next()?.parse().ok()?;
    Some(address).filter(|address| !address.is_loopback())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn every_known_address_is_closed() {
        let command = closing();
        assert!(command.contains("route replace unreachable 169.254.169.254/32 metric 4278198272\n"), "{command}");
        assert!(command.contains("route replace unreachable fd00:ec2::254/128"), "{command}");
        assert!(!command.contains("/16"), "{command}");
    }

    #[test]
    fn a_route_counts_only_through_the_emulator() {
        let route = |text: &str| vec![text.to_owned(), "    cache".to_owned()];
        let emulator = IpAddr::from([172, 18, 0, 4]);
        assert!(leads_to(&route("169.254.169.254 via 172.18.0.4 dev eth0 src 172.18.0.2 uid 0"), emulator));
        assert!(!leads_to(&route("169.254.169.254 via 172.18.0.40 dev eth0 src 172.18.0.2"), emulator));
        assert!(!leads_to(&route("169.254.169.254 dev eth0 src 172.18.0.4"), emulator));
    }

    #[test]
    fn an_address_is_free_where_only_the_default_route_leads_there() {
        assert!(!is_taken("default via 172.18.0.1 dev eth0"));
        assert!(!is_taken("203.0.113.10 via 172.18.0.5 dev eth0 proto 222"), "an earlier run's");
        assert!(is_taken("172.18.0.0/16 dev eth0 proto kernel scope link src 172.18.0.2"));
        assert!(is_taken("10.244.1.0/24 via 172.18.0.3 dev eth0 proto 17"));
    }

    #[test]
    fn addresses_are_read_without_loopback() {
        let line =
            "2: kube-bridge    inet 10.244.1.1/24 brd 10.244.1.255 scope global kube-bridge\\       valid_lft forever";
        assert_eq!(parse_address(line), Some("10.244.1.1".parse().unwrap()));
        assert_eq!(parse_address("1: lo    inet 127.0.0.1/8 scope host lo"), None);
        assert_eq!(parse_address("3: eth0    inet6 fe80::1/64 scope link"), Some("fe80::1".parse().unwrap()));
    }

    #[test]
    fn an_identity_is_read_whatever_the_case_of_its_header() {
        let answer = ["HTTP/1.1 200 OK", "policyprobe-server: metadata/gcp/r1"].map(str::to_owned);
        assert_eq!(header(&answer, SERVER), Some("metadata/gcp/r1"));
        assert_eq!(header(&answer, NONCE), None);
    }
}
