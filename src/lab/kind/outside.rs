//! Hosts outside the cluster: addresses in one container on kind's network, made of the image that the emulator is made of.
//!
//! The container is started when the first scenario asks for a host, and each host when it is first asked for; they stay
//! for the scenarios after it. A host is known by its address, so that scenarios in different lanes can share it whatever
//! they call it. Every node has a route to it by the container, and the container one to each pod by the pod's node, so
//! that a pod sees the host's own address.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use async_trait::async_trait;
use futures::future::try_join_all;
use testcontainers::{ContainerAsync, GenericImage};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    sync::{Mutex, OwnedMutexGuard},
    time::timeout,
};

use super::{command::run, emulator, node::NodePlace, routes};
use crate::{
    lab::{
        LabError, WorldOutside,
        cluster::{Hosts, IMAGE_AGENT, Place, Shell, Wire},
    },
    metadata::is_metadata_address,
    scenario::{OutsideSpec, PortSpec, Protocol},
};

/// How long a host may take to serve.
const PATIENCE: Duration = Duration::from_secs(20);

/// The first of the ports at which servers say what they have seen, on the container's loopback device.
const FIRST_CONTROL: u16 = 61_100;

/// Where hosts get addresses that ask for none: TEST-NET-3, which no cluster has a use for.
const ADDRESSES: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 0);

/// The hosts of a run.
pub(crate) struct OutsideHosts {
    run: String,
    network: String,
    /// The containers of all nodes.
    nodes: Vec<String>,
    made: Arc<Mutex<Made>>,
}

/// What there is already.
#[derive(Default)]
struct Made {
    container: Option<ContainerAsync<GenericImage>>,
    /// The container's own addresses.
    own: Vec<IpAddr>,
    served: BTreeSet<(IpAddr, u16, Protocol)>,
    /// Where the servers of an address say what they have seen.
    controls: BTreeMap<IpAddr, Vec<SocketAddr>>,
    /// The streams of the servers, which end with the container.
    servers: Vec<Wire>,
    /// The ways to pods.
    ways: BTreeMap<IpAddr, IpAddr>,
}

impl OutsideHosts {
    /// None yet.
    pub(crate) fn new(run: &str, network: String, nodes: Vec<String>) -> Self {
        Self { run: run.to_owned(), network, nodes, made: Arc::default() }
    }

    fn name(&self) -> String {
        format!("pp-{}-outside", self.run)
    }

    fn inside(&self) -> NodePlace {
        NodePlace { container: self.name() }
    }

    /// What there is, with the container. That is started in a task of its own: the daemon would finish what is given up
    /// half-way, and the removal has to know.
    async fn started(&self) -> Result<OwnedMutexGuard<Made>, LabError> {
        let made = Arc::clone(&self.made).lock_owned().await;
        if made.container.is_some() {
            return Ok(made);
        }
        let (run, name, network) = (self.run.clone(), self.name(), self.network.clone());
        let starting = tokio::spawn(async move {
            let mut made = made;
            let container = emulator::start(&run, &name, &network, vec!["wait".to_owned()]).await?;
            made.container = Some(container);
            made.own = emulator::own_addresses(&name).await?;
            Ok(made)
        });
        starting.await.map_err(|error| LabError::from(anyhow::Error::new(error)))?
    }

    /// Sees to it that a host serves on its ports, and that each node has a way to it.
    async fn serve(&self, made: &mut Made, address: IpAddr, ports: &[PortSpec]) -> Result<(), LabError> {
        let is_new = |port: &&PortSpec| !made.served.contains(&(address, port.port, port.protocol));
        let missing: Vec<PortSpec> = ports.iter().filter(is_new).cloned().collect();
        let known = made.controls.contains_key(&address);
        if !known {
            self.lead_nodes(&made.own, address).await?;
        }
        if known && missing.is_empty() {
            return Ok(());
        }
        let number = u16::try_from(made.servers.len()).unwrap_or(u16::MAX);
        let control = SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST_CONTROL.saturating_add(number)));
        let command = command(address, &missing, control);
        let arguments: Vec<&str> = command.iter().map(String::as_str).collect();
        let serving = async {
            let mut server = self.inside().start(&arguments).await?;
            let mut line = String::new();
            let read = BufReader::new(&mut server.output).read_line(&mut line).await;
            match read.map(|_| line.trim()) {
                Ok("ready") => Ok(server),
                Ok(_) => Err("it ended at once".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        };
        let late = || Err(format!("it does not serve after {} s", PATIENCE.as_secs()));
        let server = timeout(PATIENCE, serving).await.unwrap_or_else(|_| late());
        made.servers.push(server.map_err(|why| anyhow::anyhow!("cannot start the outside host {address}: {why}"))?);
        made.served.extend(missing.iter().map(|port| (address, port.port, port.protocol)));
        made.controls.entry(address).or_default().push(control);
        Ok(())
    }

    /// Gives every node a way to a host.
    async fn lead_nodes(&self, own: &[IpAddr], address: IpAddr) -> Result<(), LabError> {
        let Some(by) = own.iter().find(|own| own.is_ipv4() == address.is_ipv4()) else {
            return Err(LabError::with_hint(
                format!("the outside host {address} cannot be reached: kind's network has no IPv6"),
                "give it an IPv4 address, or remove the Docker network `kind` for kind to make it again with IPv6",
            ));
        };
        try_join_all(self.nodes.iter().map(|node| async {
            let mut shell = Shell::new(Arc::new(NodePlace { container: node.clone() }));
            routes::lead(node, &mut shell, address, *by).await
        }))
        .await
        .map(drop)
    }

    /// Removes the container, and the nodes' ways to it where the nodes stay.
    pub(crate) async fn remove(&self, nodes_stay: bool) -> Result<(), LabError> {
        let made = std::mem::take(&mut *self.made.lock().await);
        let Some(container) = made.container else { return Ok(()) };
        if nodes_stay {
            try_join_all(self.nodes.iter().map(|node| async {
                let mut shell = Shell::new(Arc::new(NodePlace { container: node.clone() }));
                routes::clear(node, &mut shell).await
            }))
            .await?;
        }
        container.rm().await.context("cannot remove the container of the outside hosts").map_err(LabError::from)
    }
}

#[async_trait]
impl Hosts for OutsideHosts {
    async fn make(&self, wanted: &[OutsideSpec]) -> Result<Vec<WorldOutside>, LabError> {
        let addresses = addresses(wanted)?;
        let mut made = self.started().await?;
        let mut hosts = Vec::new();
        for (spec, address) in wanted.iter().zip(addresses) {
            self.serve(&mut made, address, &spec.ports).await?;
            hosts.push(WorldOutside { name: spec.name.clone(), address, identity: identity(address) });
        }
        Ok(hosts)
    }

    async fn lead(&self, pods: &BTreeMap<IpAddr, IpAddr>) -> Result<(), LabError> {
        let mut made = self.made.lock().await;
        let new = pods.iter().filter(|(pod, node)| made.ways.get(*pod) != Some(*node));
        let ways: Vec<String> = new.map(|(pod, node)| format!("{pod}={node}")).collect();
        if ways.is_empty() {
            return Ok(());
        }
        let container = self.name();
        let mut arguments = vec!["exec", &container, IMAGE_AGENT, "route", "--in-container"];
        arguments.extend(ways.iter().flat_map(|way| ["--way", way]));
        run("docker", &arguments, None).await?;
        made.ways.extend(pods.iter().map(|(pod, node)| (*pod, *node)));
        Ok(())
    }

    fn place(&self) -> Arc<dyn Place> {
        Arc::new(self.inside())
    }

    fn by_hand(&self) -> String {
        format!("sudo nsenter -n -t $(docker inspect -f '{{{{.State.Pid}}}}' {})", self.name())
    }

    async fn controls(&self, address: IpAddr) -> Vec<SocketAddr> {
        self.made.lock().await.controls.get(&address).cloned().unwrap_or_default()
    }
}

/// What a host says that it is.
fn identity(address: IpAddr) -> String {
    format!("outside/{address}")
}

/// What starts a host's server in the container.
fn command(address: IpAddr, ports: &[PortSpec], control: SocketAddr) -> Vec<String> {
    let mut command = [IMAGE_AGENT, "serve", "--in-container"].map(str::to_owned).to_vec();
    let values = [("--address", address.to_string()), ("--identity", identity(address))];
    let served = ports.iter().filter_map(|port| match port.protocol {
        Protocol::Tcp => Some(("--listen", SocketAddr::new(address, port.port).to_string())),
        Protocol::Udp => Some(("--udp", SocketAddr::new(address, port.port).to_string())),
        Protocol::Sctp => None,
    });
    let all = values.into_iter().chain(served).chain([("--control", control.to_string())]);
    command.extend(all.flat_map(|(flag, value)| [flag.to_owned(), value]));
    command
}

/// The hosts' addresses, each its own.
fn addresses(wanted: &[OutsideSpec]) -> Result<Vec<IpAddr>, LabError> {
    let given: BTreeSet<IpAddr> = wanted.iter().filter_map(|spec| spec.address).collect();
    let free = (1..=254).map(|host| IpAddr::from(Ipv4Addr::from_bits(ADDRESSES.to_bits() + host)));
    let mut free = free.filter(|address| !given.contains(address));
    wanted
        .iter()
        .map(|spec| {
            let address = spec.address.or_else(|| free.next()).context("there are too many outside hosts")?;
            let refuse = |hint| {
                let message = format!("the outside host `{}` cannot have the address {address}", spec.name);
                Err(LabError::with_hint(message, hint))
            };
            if is_metadata_address(address) {
                return refuse("that is a metadata server's address; `metadata: gcp` puts one there");
            }
            if !is_routed(address) {
                return refuse("no such address is routed; 203.0.113.0/24 is free");
            }
            Ok(address)
        })
        .collect()
}

/// Whether an address may be one of another machine, behind a router.
fn is_routed(address: IpAddr) -> bool {
    let special = address.is_unspecified() || address.is_loopback() || address.is_multicast();
    let local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !special && !local
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn host(name: &str, address: Option<&str>) -> OutsideSpec {
        let address = address.map(|text| text.parse().unwrap());
        OutsideSpec { name: name.to_owned(), address, ports: Vec::new() }
    }

    #[test]
    fn a_host_that_asks_for_no_address_gets_one_that_no_other_has() {
        let found = addresses(&[host("a", None), host("b", Some("203.0.113.1")), host("c", None)]).unwrap();
        assert_eq!(found, ["203.0.113.2", "203.0.113.1", "203.0.113.3"].map(|text| text.parse::<IpAddr>().unwrap()));
    }

    #[test]
    fn what_is_no_other_machines_address_is_refused() {
        for address in ["169.254.169.254", "fd00:ec2::254", "169.254.1.1", "127.0.0.2", "224.0.0.1", "fe80::1", "::"] {
            assert!(addresses(&[host("a", Some(address))]).is_err(), "{address}");
        }
        assert!(addresses(&[host("a", Some("8.8.8.8")), host("b", Some("2001:db8::1"))]).is_ok());
    }

    #[test]
    fn a_host_serves_at_its_own_address_alone() {
        let port = |port, protocol| PortSpec { name: None, port, protocol };
        let ports = [port(443, Protocol::Tcp), port(53, Protocol::Udp), port(9, Protocol::Sctp)];
        let command = command(Ipv4Addr::new(203, 0, 113, 10).into(), &ports, ([127, 0, 0, 1], 61_100).into());
        assert_eq!(
            command.join(" "),
            "/agent serve --in-container --address 203.0.113.10 --identity outside/203.0.113.10 --listen 203.0.113.10:443 \
             --udp 203.0.113.10:53 --control 127.0.0.1:61100"
        );
    }
}
