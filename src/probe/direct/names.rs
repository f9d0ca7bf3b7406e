//! Pure: what the system's files say about names, resolv.conf(5) and hosts(5).
//!
//! A static executable cannot rely on the C library's name services, so the agent resolves names itself.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
};

/// How names are resolved here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    hosts: Vec<(String, IpAddr)>,
    /// The name servers, all of the family of the first.
    pub(super) servers: Vec<SocketAddr>,
    search: Vec<String>,
    ndots: usize,
}

impl Names {
    /// As the files say now.
    pub(super) fn of_system() -> Self {
        let read = |file| fs::read_to_string(file).unwrap_or_default();
        Self::read(&read("/etc/hosts"), &read("/etc/resolv.conf"))
    }

    /// From the two files' texts.
    pub(super) fn read(hosts: &str, resolv: &str) -> Self {
        let mut names = Self { ndots: 1, ..Self::default() };
        for line in hosts.lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let Some(address) = words.next().and_then(|word| word.parse().ok()) else { continue };
            names.hosts.extend(words.map(|name| (name.to_ascii_lowercase(), address)));
        }
        for line in resolv.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    names.servers.extend(address.map(|address| SocketAddr::new(address, 53)));
                }
                Some("search" | "domain") => {
                    names.search = words.map(|word| word.trim_end_matches('.').to_owned()).collect();
                }
                Some("options") => {
                    let ndots = words.rev().find_map(|word| word.strip_prefix("ndots:")?.parse().ok());
                    names.ndots = ndots.unwrap_or(names.ndots).min(15);
                }
                _ => {}
            }
        }
        if let Some(first) = names.servers.first().copied() {
            names.servers.retain(|server| server.is_ipv6() == first.is_ipv6());
        }
        names
    }

    /// The address that the file of hosts has for a name.
    pub(super) fn host(&self, name: &str, v6: bool) -> Option<IpAddr> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        self.hosts.iter().find(|(host, address)| *host == name && address.is_ipv6() == v6).map(|(_, address)| *address)
    }

    /// The names to ask for, in order.
    pub(super) fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(absolute) = name.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let searched = self.search.iter().filter(|domain| !domain.is_empty()).map(|domain| format!("{name}.{domain}"));
        let dots = name.matches('.').count();
        let absolute = std::iter::once(name.to_owned());
        if dots >= self.ndots { absolute.chain(searched).collect() } else { searched.chain(absolute).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESOLV: &str = "# a pod's\nnameserver 10.96.0.10\nnameserver fd00::a\nsearch default.svc.cluster.local svc.cluster.local\n\
                          options ndots:5 timeout:1\n";

    #[test]
    fn a_pods_files() {
        let names = Names::read("127.0.0.1 localhost\n::1 localhost # loop\n10.244.0.7\tapp1 App1.x\n", RESOLV);
        assert_eq!(names.servers, [SocketAddr::from(([10, 96, 0, 10], 53))]);
        assert_eq!(names.host("APP1.X.", false), Some(IpAddr::from([10, 244, 0, 7])));
        assert_eq!(names.host("localhost", true), Some(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])));
        assert_eq!(names.host("app1", true), None);
        assert_eq!(names.candidates("db.x"), ["db.x.default.svc.cluster.local", "db.x.svc.cluster.local", "db.x"]);
        assert_eq!(names.candidates("a.b.c.d.e.f")[0], "a.b.c.d.e.f");
        assert_eq!(names.candidates("db."), ["db"]);
        assert_eq!(Names::read("", "").candidates("a.b"), ["a.b"]);
    }
}
