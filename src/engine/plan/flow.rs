//! From a world and a cell to what the simulator judges.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use k8s_openapi::api::networking::v1::NetworkPolicy;

use super::{PlannedCell, cells::home};
use crate::{
    lab::{ServerId, Source, World, WorldPod},
    policy::{Cluster, End, Flow, NAME_LABEL, Node, Pod, ServiceAddress},
    scenario::{Family, NodeName, Protocol, Topology},
};

/// What stands for a Service's address, which worlds do not tell: the cluster's DNS in the ranges that kubeadm and kind
/// give to Services. Only whether an `ipBlock` holds Services' addresses depends on it.
pub(super) fn service_address(family: Family) -> IpAddr {
    match family {
        Family::Ipv4 => IpAddr::from([10, 96, 0, 10]),
        Family::Ipv6 => IpAddr::from([0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0xa]),
    }
}

/// A world with policies, as the simulator sees it. Policies must name literal namespaces.
#[must_use]
pub fn cluster(world: &World, policies: Vec<Arc<NetworkPolicy>>) -> Cluster {
    let mut namespaces: BTreeMap<_, _> =
        world.namespaces.values().map(|namespace| (namespace.literal.clone(), namespace.labels.clone())).collect();
    let pods: Vec<Pod> = world.pods.iter().chain(&world.others).map(|pod| pod_of(world, pod)).collect();
    for pod in &pods {
        namespaces
            .entry(pod.namespace.clone())
            .or_insert_with(|| [(NAME_LABEL.to_owned(), pod.namespace.clone())].into());
    }
    let nodes = world.nodes.iter().map(|node| Node { name: node.name, addresses: node.addresses.clone() });
    Cluster { namespaces, pods, nodes: nodes.collect(), policies }
}

/// The flow that a cell's request makes. None where the lab lacks an address for it.
pub(super) fn flow<'c>(cluster: &'c Cluster, world: &World, cell: &PlannedCell) -> Option<Flow<'c>> {
    let (from, from_address) = source(cluster, world, &cell.from, cell.family)?;
    if let Some(relay) = &cell.via {
        let (to, to_address) = source(cluster, world, relay, cell.family)?;
        let (port, protocol) = (cell.port, cell.protocol);
        return Some(Flow { from, from_address, to, to_address, port, protocol, service: None });
    }
    let (to, to_address) = server(cluster, world, cell)?;
    let (port, protocol) = (cell.server_port, cell.protocol);
    // A rewriting of the destination by the node is to a policy what a Service's is: it may see either.
    let service = cell.service.or_else(|| rewritten(world, cell));
    Some(Flow { from, from_address, to, to_address, port, protocol, service })
}

/// The flow that comes of it behind a relay, if there is one.
pub(super) fn onward<'c>(cluster: &'c Cluster, world: &World, cell: &PlannedCell) -> Option<Flow<'c>> {
    let relay = cell.via.clone()?;
    flow(cluster, world, &PlannedCell { from: relay, via: None, address: None, ..cell.clone() })
}

/// The address of the metadata server, where a rule of the node leads the source elsewhere.
fn rewritten(world: &World, cell: &PlannedCell) -> Option<ServiceAddress> {
    let metadata = world.metadata.as_ref().filter(|_| cell.server == ServerId::Metadata)?;
    let (_, own_network) = home(world, &cell.from)?;
    let is_rewritten = metadata.topology == Topology::Dnat && own_network;
    let address = cell.address.filter(|_| is_rewritten)?;
    Some(ServiceAddress { address, port: cell.port })
}

/// The flow by which a cell's source asks DNS for a name.
pub(super) fn dns_flow<'c>(cluster: &'c Cluster, world: &World, cell: &PlannedCell) -> Option<Flow<'c>> {
    let (to, to_address) = dns(cluster, world)?;
    let family = if to_address.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 };
    let (from, from_address) = source(cluster, world, &cell.from, family)?;
    let service = Some(ServiceAddress { address: service_address(family), port: 53 });
    Some(Flow { from, from_address, to, to_address, port: 53, protocol: Protocol::Udp, service })
}

/// The first address of a family.
pub(super) fn of_family(addresses: &[IpAddr], family: Family) -> Option<IpAddr> {
    addresses.iter().copied().find(|address| address.is_ipv6() == (family == Family::Ipv6))
}

fn pod_of(world: &World, pod: &WorldPod) -> Pod {
    Pod {
        namespace: literal(world, &pod.spec.namespace).to_owned(),
        name: pod.spec.name.clone(),
        labels: pod.spec.labels.clone(),
        addresses: pod.addresses.clone(),
        ports: pod.spec.ports.clone(),
        node: pod.spec.node,
        host_network: pod.spec.host_network,
    }
}

fn literal<'a>(world: &'a World, namespace: &'a str) -> &'a str {
    world.namespaces.get(namespace).map_or(namespace, |namespace| &namespace.literal)
}

fn source<'c>(cluster: &'c Cluster, world: &World, from: &Source, family: Family) -> Option<(End<'c>, IpAddr)> {
    match from {
        Source::Pod(namespace, name) => pod(cluster, world, namespace, name, family),
        Source::Node(name) => node(cluster, *name, family),
        Source::Outside(name) => outside(world, name, family),
    }
}

fn server<'c>(cluster: &'c Cluster, world: &World, cell: &PlannedCell) -> Option<(End<'c>, IpAddr)> {
    match &cell.server {
        ServerId::Pod(namespace, name) => pod(cluster, world, namespace, name, cell.family),
        ServerId::Node(name) | ServerId::Kubelet(name) => node(cluster, *name, cell.family),
        ServerId::Outside(name) => outside(world, name, cell.family),
        ServerId::Metadata => {
            let metadata = world.metadata.as_ref()?;
            let address = cell.address.or_else(|| of_family(&metadata.addresses, cell.family))?;
            match (metadata.topology, home(world, &cell.from)) {
                (Topology::OnNode, Some((own, _))) => Some((node(cluster, own, cell.family)?.0, address)),
                // What comes of the node's rule: its agent, at an address of the node.
                (Topology::Dnat, Some((own, true))) => node(cluster, own, cell.family),
                _ => Some((End::Outside, address)),
            }
        }
        ServerId::Dns => dns(cluster, world),
        // It runs on the control plane's node, in that node's network.
        ServerId::Apiserver => node(cluster, NodeName::Master, cell.family),
    }
}

fn pod<'c>(
    cluster: &'c Cluster,
    world: &World,
    namespace: &str,
    name: &str,
    family: Family,
) -> Option<(End<'c>, IpAddr)> {
    let namespace = literal(world, namespace);
    let pod = cluster.pods.iter().find(|pod| pod.namespace == namespace && pod.name == name)?;
    Some((End::Pod(pod), of_family(&pod.addresses, family)?))
}

fn node(cluster: &Cluster, name: NodeName, family: Family) -> Option<(End<'_>, IpAddr)> {
    let node = cluster.nodes.iter().find(|node| node.name == name)?;
    Some((End::Node(node), of_family(&node.addresses, family)?))
}

fn outside<'c>(world: &World, name: &str, family: Family) -> Option<(End<'c>, IpAddr)> {
    let host = world.outside_host(name)?;
    Some((End::Outside, of_family(&[host.address], family)?))
}

/// The cluster's DNS: the pod beside the scenario's own that serves port 53. DNS is asked over IPv4 where there is any,
/// whatever the family of the address that is asked for.
fn dns<'c>(cluster: &'c Cluster, world: &World) -> Option<(End<'c>, IpAddr)> {
    let pod_of_dns = world.others.iter().find(|pod| pod.spec.ports.iter().any(|port| port.port == 53))?;
    let (namespace, name) = (&pod_of_dns.spec.namespace, &pod_of_dns.spec.name);
    pod(cluster, world, namespace, name, Family::Ipv4).or_else(|| pod(cluster, world, namespace, name, Family::Ipv6))
}
