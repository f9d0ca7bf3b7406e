//! Metadata servers on a node itself: at a metadata address that the node has, or behind a rule of the node's that leads
//! its pods there.
//!
//! Each node has a container of its own for that, in the node's network: the emulator off the nodes has no part in it. The
//! ways to real servers stay closed below; while the node has the address, or the rule, nothing gets that far.

use std::{
    fmt::Write,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use testcontainers::{ContainerAsync, GenericImage};

use super::{
    emulator::{self, CONTAINER_NETWORK, CONTROL_PORT},
    node::NodePlace,
    routes::{self, broken, family},
};
use crate::{
    lab::{LabError, cluster::Shell},
    metadata::{Cloud, METADATA_ADDRESSES},
    scenario::{MetadataServerSpec, Topology},
};

/// The chain of the rules that lead pods elsewhere.
const CHAIN: &str = "POLICYPROBE";

/// The port of a node's own agent, as Google's has it.
const AGENT_PORT: u16 = 988;

/// A node's server.
pub(super) struct NodeServer {
    container: ContainerAsync<GenericImage>,
}

/// What is to be on a node.
pub(super) struct Plan<'a> {
    /// The run.
    pub(super) run: &'a str,
    /// The node's container.
    pub(super) node: &'a str,
    /// What the server says that it is.
    pub(super) identity: String,
    /// Whose server it is.
    pub(super) cloud: Cloud,
    /// How it is set up, and which of the two ways there is to it.
    pub(super) spec: &'a MetadataServerSpec,
}

impl Plan<'_> {
    /// Starts the server, sees to it that it is the one that answers, and only then leads anybody to it.
    pub(super) async fn start(self) -> Result<NodeServer, LabError> {
        let mut shell = shell(self.node);
        let mut places = self.cloud.definition().endpoints.to_vec();
        if !routes::forwards_ipv6(self.node, &mut shell).await? {
            places.retain(SocketAddr::is_ipv4);
        }
        if self.spec.topology == Topology::OnNode {
            take(self.node, &mut shell, &places).await?;
            let server = self.serve(&places).await?;
            for place in &places {
                routes::ask(self.node, &mut shell, *place, &self.identity).await?;
            }
            return Ok(server);
        }
        let own = own_addresses(self.node, &mut shell).await?;
        let agent = |place: &SocketAddr| own.iter().find(|own| own.is_ipv4() == place.is_ipv4());
        let led: Vec<_> =
            places.iter().filter_map(|place| Some((*place, SocketAddr::new(*agent(place)?, AGENT_PORT)))).collect();
        let mut agents: Vec<SocketAddr> = led.iter().map(|(_, agent)| *agent).collect();
        agents.dedup();
        let server = self.serve(&agents).await?;
        for agent in agents {
            routes::ask(self.node, &mut shell, agent, &self.identity).await?;
        }
        shell.read(&leading(&led)).await.map_err(|error| broken(self.node, &error))?;
        Ok(server)
    }

    async fn serve(&self, at: &[SocketAddr]) -> Result<NodeServer, LabError> {
        let control = SocketAddr::from((Ipv4Addr::LOCALHOST, CONTROL_PORT));
        let mut command = emulator::command(&[self.cloud], &self.identity, self.spec, control);
        command.extend(at.iter().flat_map(|at| ["--listen".to_owned(), at.to_string()]));
        let (name, network) =
            (format!("pp-{}-on-{}", self.run, self.node), format!("{CONTAINER_NETWORK}{}", self.node));
        Ok(NodeServer { container: emulator::start(self.run, &name, &network, command).await? })
    }
}

impl NodeServer {
    /// Where a node finds the log of its server.
    pub(super) fn control() -> String {
        format!("http://{}:{CONTROL_PORT}", Ipv4Addr::LOCALHOST)
    }

    /// Ends and removes the container.
    pub(super) async fn remove(self) -> Result<(), LabError> {
        let removed = self.container.rm().await;
        removed.map_err(|error| anyhow::Error::new(error).context("cannot remove a node's metadata server").into())
    }
}

/// Takes the addresses and the rules away from a node that any run has given to it.
pub(super) async fn clear(node: &str) -> Result<(), LabError> {
    let mut shell = shell(node);
    shell.read(&clearing()).await.map(drop).map_err(|error| broken(node, &error))
}

fn shell(node: &str) -> Shell {
    Shell::new(Arc::new(NodePlace { container: node.to_owned() }))
}

/// Gives a node the addresses, and looks at where what is sent to them goes.
async fn take(node: &str, shell: &mut Shell, places: &[SocketAddr]) -> Result<(), LabError> {
    for address in places.iter().map(SocketAddr::ip) {
        let (ip, length) = family(address);
        // A source for what the node sends elsewhere it must never be; nor tentative, when the server begins to listen.
        let how = if address.is_ipv4() { "scope host" } else { "preferred_lft 0 nodad" };
        // The kernel makes an IPv6 address local a moment after it is there (`addrconf_dad_work`).
        let taken = format!(
            "{ip} addr replace {address}/{length} dev lo {how} 2>&1; \
             for look in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do \
             route=$({ip} route get {address} 2>&1); case $route in local*) break;; esac; sleep 0.1; done; \
             echo \"$route\""
        );
        let route = shell.read(&taken).await.map_err(|error| broken(node, &error))?;
        if !route.first().is_some_and(|route| route.starts_with("local ")) {
            return Err(broken(node, &format!("{address} is not on the node: {}", route.join(" "))));
        }
    }
    Ok(())
}

/// The node's addresses that its pods get to, one of each family: those with which it goes elsewhere.
async fn own_addresses(node: &str, shell: &mut Shell) -> Result<Vec<IpAddr>, LabError> {
    let own = routes::addresses(node, shell).await?;
    let hosts = shell.read("getent ahosts \"$(hostname)\" | cut -d ' ' -f 1; true").await;
    let named: Vec<IpAddr> =
        hosts.map_err(|error| broken(node, &error))?.iter().filter_map(|line| line.parse().ok()).collect();
    let of = |is_v4: bool| named.iter().chain(&own).find(move |own| own.is_ipv4() == is_v4 && !own.is_loopback());
    Ok([of(true), of(false)].into_iter().flatten().copied().collect())
}

/// The rules that lead pods from each place to an agent. What a node sends itself does not pass them.
fn leading(led: &[(SocketAddr, SocketAddr)]) -> String {
    let mut script = String::from("set -e\n");
    for tables in ["iptables", "ip6tables"] {
        let own: Vec<_> = led.iter().filter(|(from, _)| from.is_ipv4() == (tables == "iptables")).collect();
        if own.is_empty() {
            continue;
        }
        // Writing to a string cannot fail.
        let _ = writeln!(script, "{tables} -w -t nat -N {CHAIN}");
        for (from, to) in own {
            let rule = format!("-p tcp -d {} --dport {} -j DNAT --to-destination {to}", from.ip(), from.port());
            let _ = writeln!(script, "{tables} -w -t nat -A {CHAIN} {rule}");
        }
        // Before those of Services, which know nothing of these addresses.
        let _ = writeln!(script, "{tables} -w -t nat -I PREROUTING -j {CHAIN}");
    }
    format!("( {script} ) 2>&1")
}

/// What undoes both, as far as it was done.
fn clearing() -> String {
    let mut script = String::new();
    for tables in ["iptables", "ip6tables"] {
        let _ = writeln!(script, "while {tables} -w -t nat -D PREROUTING -j {CHAIN}; do :; done");
        let _ = writeln!(script, "{tables} -w -t nat -F {CHAIN} && {tables} -w -t nat -X {CHAIN}");
    }
    for known in METADATA_ADDRESSES {
        let (ip, length) = family(known.address);
        let _ = writeln!(script, "{ip} addr del {}/{length} dev lo", known.address);
    }
    format!("( {script} ) >/dev/null 2>&1; true")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn pods_are_led_from_every_place_of_a_family_that_there_is_an_agent_for() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let script = leading(&[(at("169.254.169.254:80"), at("172.18.0.3:988"))]);
        assert!(
            script.contains("-p tcp -d 169.254.169.254 --dport 80 -j DNAT --to-destination 172.18.0.3:988\n"),
            "{script}"
        );
        assert!(script.contains("-I PREROUTING -j POLICYPROBE\n") && !script.contains("ip6tables"), "{script}");
        let both = leading(&[(at("[fd00:ec2::254]:80"), at("[fc00::3]:988"))]);
        assert!(both.contains("ip6tables") && both.contains("--to-destination [fc00::3]:988\n"), "{both}");
    }

    #[test]
    fn every_known_address_is_taken_back() {
        let script = clearing();
        for known in METADATA_ADDRESSES {
            assert!(script.contains(&format!("addr del {}/", known.address)), "{script}");
        }
        assert!(script.ends_with("true"));
    }
}
