//! The leaves of a stage: pods, hosts outside, the DNS. Each is a namespace with servers in it.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use anyhow::Context;
use tokio::{net::UdpSocket, task::JoinSet};

use super::{
    dns::{self, Zone},
    net::Host,
    plumbing::{self, Backbone, Node},
    relay,
    serve::{self, Log},
    topo,
};
use crate::{
    lab::{LabError, NODE_PORT, OWN_NETWORKS, WorldOutside, WorldPod, embedded::enforcer},
    probe::Proof,
    scenario::{Labels, OutsideSpec, PodSpec, PortSpec, Protocol},
};

/// A pod that runs.
pub(super) struct LivePod {
    /// As the scenario has it, with the labels as they are now.
    pub(super) spec: PodSpec,
    /// The labels that it was made with, as an owner's template has them.
    pub(super) template: Labels,
    pub(super) addresses: Vec<IpAddr>,
    /// Its node's device towards it; none of a pod in its node's own network.
    pub(super) device: Option<String>,
    pub(super) host: Arc<Host>,
    pub(super) log: Log,
    servers: JoinSet<()>,
}

impl LivePod {
    /// Makes a pod's network on its node. An owner that the scenario asks for is left out: nothing here could make a pod
    /// again, and the enforcer knows pods by their labels alone.
    pub(super) async fn place(spec: PodSpec, node: &Node, number: u32, log: Log) -> anyhow::Result<Self> {
        let (servers, template) = (JoinSet::new(), spec.labels.clone());
        if spec.host_network {
            let (host, addresses) = (Arc::clone(&node.host), node.plans().map(|plan| plan.address).collect());
            return Ok(Self { addresses, device: None, host, log, servers, spec, template });
        }
        let addresses: Vec<_> = node.plans().map(|plan| plan.pod(number)).collect();
        let device = format!("{}{number}", topo::POD_DEVICES);
        let host = Arc::new(Host::new().await?);
        plumbing::hang(&host, &addresses, &node.hub(), &device).await?;
        Ok(Self { addresses, device: Some(device), host, log, servers, spec, template })
    }

    /// Has it serve, from when this returns on.
    pub(super) async fn serve(&mut self, relays_to: Option<SocketAddr>) -> anyhow::Result<()> {
        let listening = async {
            anyhow::Ok((listeners(&self.host, &self.spec.ports).await?, datagrams(&self.host, &self.spec.ports).await?))
        };
        let (listeners, sockets) = listening.await.map_err(|error| in_use(&self.spec, error))?;
        let identity = self.identity();
        serve::serve(&mut self.servers, listeners, &identity, serve::echo(&identity), &self.log);
        serve::answer(&mut self.servers, sockets, &identity, &self.log);
        if let (Some(port), Some(to)) = (self.spec.relay, relays_to) {
            let (listener, namespace) = (self.host.listen(port).await?, self.host.namespace());
            self.servers.spawn(relay::serve(listener, namespace, to));
        }
        Ok(())
    }

    /// Ends its servers and takes its link away; its addresses then lead nowhere, or to its node alone.
    pub(super) async fn stop(&mut self, node: &Node) -> anyhow::Result<()> {
        if let Some(device) = &self.device {
            return node.host.unplug(device).await;
        }
        // Its ports are the node's, and free for whoever comes next once nobody serves there.
        self.servers.shutdown().await;
        Ok(())
    }

    /// The cluster's DNS, as the pod that it is in most clusters.
    pub(super) async fn coredns(node: &Node, zone: Zone) -> anyhow::Result<Self> {
        let port = |name: &str, protocol| PortSpec { name: Some(name.to_owned()), port: 53, protocol };
        let spec = PodSpec {
            name: "coredns".to_owned(),
            namespace: "kube-system".to_owned(),
            labels: Labels::from([("k8s-app".to_owned(), "kube-dns".to_owned())]),
            node: node.name,
            ports: vec![port("dns", Protocol::Udp), port("dns-tcp", Protocol::Tcp)],
            host_network: false,
            relay: None,
            owner: None,
            service_account: None,
        };
        let addresses: Vec<_> = topo::families().iter().map(|family| topo::coredns(*family)).collect();
        let device = format!("{}-dns", topo::POD_DEVICES);
        let (host, log, servers) = (Arc::new(Host::new().await?), Log::default(), JoinSet::new());
        plumbing::hang(&host, &addresses, &node.hub(), &device).await?;
        let template = spec.labels.clone();
        let mut pod = Self { spec, template, addresses, device: Some(device), host, log, servers };
        pod.servers.spawn(dns::serve_udp(pod.host.datagrams(53).await?, zone.clone()));
        pod.servers.spawn(dns::serve_tcp(pod.host.listen(53).await?, zone));
        Ok(pod)
    }

    /// What its server says that it is.
    pub(super) fn identity(&self) -> String {
        format!("pod/{}/{}", self.spec.namespace, self.spec.name)
    }

    pub(super) fn world(&self) -> WorldPod {
        WorldPod {
            spec: self.spec.clone(),
            addresses: self.addresses.clone(),
            identity: self.identity(),
            proof: Proof::default(),
        }
    }

    /// As the enforcer sees it. It takes what a pod in its node's network sends and gets for the node's own, as most
    /// network plugins do: policies neither select such a pod nor mean it by its labels.
    pub(super) fn for_enforcer(&self) -> Option<enforcer::Pod> {
        (!self.spec.host_network).then(|| enforcer::Pod {
            namespace: self.spec.namespace.clone(),
            name: self.spec.name.clone(),
            labels: self.spec.labels.clone(),
            addresses: self.addresses.clone(),
            ports: self.spec.ports.clone(),
            node: self.spec.node,
        })
    }
}

/// A host outside the cluster.
pub(super) struct Outside {
    pub(super) name: String,
    pub(super) host: Host,
    pub(super) log: Log,
    address: IpAddr,
    servers: JoinSet<()>,
}

impl Outside {
    /// Starts the host with this index.
    pub(super) async fn start(spec: &OutsideSpec, index: u32, backbone: &Backbone) -> anyhow::Result<Self> {
        let address = outside_address(spec, index)?;
        let (host, log, servers) = (Host::new().await?, Log::default(), JoinSet::new());
        let device = format!("{}{index}", topo::OUTSIDE_DEVICES);
        plumbing::hang(&host, &[address], &backbone.hub(), &device).await?;
        let mut outside = Self { name: spec.name.clone(), host, log, address, servers };
        let listeners = listeners(&outside.host, &spec.ports).await?;
        let identity = outside.identity();
        serve::serve(&mut outside.servers, listeners, &identity, serve::echo(&identity), &outside.log);
        let sockets = datagrams(&outside.host, &spec.ports).await?;
        serve::answer(&mut outside.servers, sockets, &identity, &outside.log);
        Ok(outside)
    }

    fn identity(&self) -> String {
        format!("outside/{}", self.name)
    }

    pub(super) fn world(&self) -> WorldOutside {
        WorldOutside { name: self.name.clone(), address: self.address, identity: self.identity() }
    }
}

/// Says what helps where a port of a node is taken: by the node itself, by a metadata server on it, or by another pod.
fn in_use(spec: &PodSpec, error: anyhow::Error) -> anyhow::Error {
    let is_taken = |cause: &(dyn std::error::Error + 'static)| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.is_some_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
    };
    if !spec.host_network || !error.chain().any(is_taken) {
        return error;
    }
    LabError::with_hint(
        format!("the pod `{}/{}` in its node's network {error}", spec.namespace, spec.name),
        format!("something on the node has that port already (the node itself serves on {NODE_PORT}): choose another"),
    )
    .into()
}

/// SCTP ports have no server; policies can name them all the same.
async fn listeners(host: &Host, ports: &[PortSpec]) -> anyhow::Result<Vec<tokio::net::TcpListener>> {
    let mut all = Vec::new();
    for port in ports.iter().filter(|port| port.protocol == Protocol::Tcp) {
        all.push(host.listen(port.port).await?);
    }
    Ok(all)
}

async fn datagrams(host: &Host, ports: &[PortSpec]) -> anyhow::Result<Vec<UdpSocket>> {
    let mut all = Vec::new();
    for port in ports.iter().filter(|port| port.protocol == Protocol::Udp) {
        all.push(host.datagrams(port.port).await?);
    }
    Ok(all)
}

fn outside_address(spec: &OutsideSpec, index: u32) -> anyhow::Result<IpAddr> {
    let next = Ipv4Addr::from_bits(topo::FIRST_OUTSIDE.to_bits() + index);
    let address = spec.address.unwrap_or(next.into());
    if !topo::has_family_of(address) {
        return Err(refuse(spec, "this kernel has no IPv6: leave `address` out"));
    }
    if OWN_NETWORKS.iter().any(|network| network.contains(&address)) {
        return Err(refuse(spec, "the embedded lab uses that address itself; 203.0.113.0/24 is free"));
    }
    if serve::is_metadata_address(address) {
        return Err(refuse(spec, "that is a metadata server's address; `metadata: gcp` puts one there"));
    }
    Ok(address)
}

fn refuse(spec: &OutsideSpec, hint: &str) -> anyhow::Error {
    let address = spec.address.map(|address| address.to_string()).unwrap_or_default();
    LabError::with_hint(format!("the outside host `{}` cannot have the address {address}", spec.name), hint).into()
}

/// Says what it was that could not be started.
pub(super) fn starting<T>(result: anyhow::Result<T>, what: &str) -> anyhow::Result<T> {
    result.with_context(|| format!("cannot start {what}"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn address(wanted: Option<&str>) -> anyhow::Result<IpAddr> {
        let address = wanted.map(|text| text.parse().unwrap());
        outside_address(&OutsideSpec { name: "host".to_owned(), address, ports: Vec::new() }, 1)
    }

    #[test]
    fn outside_addresses_are_given_or_chosen_and_never_the_labs_own() {
        assert_eq!(address(None).unwrap(), IpAddr::from([203, 0, 113, 2]));
        assert_eq!(address(Some("8.8.8.8")).unwrap(), IpAddr::from([8, 8, 8, 8]));
        for taken in ["10.244.0.9", "10.245.255.1", "172.30.0.1", "169.254.169.254", "fd00:10:244::9", "fd00:ec2::254"]
        {
            assert!(address(Some(taken)).is_err(), "{taken}");
        }
        let of_ipv6 = address(Some("2001:db8::1"));
        assert_eq!(of_ipv6.is_ok(), topo::has_family_of(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1])));
    }
}
