//! A made-up world for the check before any lab is touched: plausible addresses, nothing real.

use std::{collections::BTreeMap, net::IpAddr};

use crate::{
    lab::{NODE_PORT, World, WorldMetadata, WorldNamespace, WorldNode, WorldOutside, WorldPod},
    policy::NAME_LABEL,
    probe::Proof,
    scenario::{DEFAULT_NAMESPACE, LabSpec, Labels, NamespaceSpec, NodeName, PodSpec, PortSpec, Protocol},
};

/// The namespace of the cluster's DNS.
const SYSTEM_NAMESPACE: &str = "kube-system";
/// The API server's Service: the first address of the range that kubeadm and kind give to Services, and its port.
const APISERVER: (IpAddr, u16) = (IpAddr::V4(std::net::Ipv4Addr::new(10, 96, 0, 1)), 443);

/// The world that a lab would make of a scenario's `lab` section: pods in `10.244.0.0/16` by node, nodes in
/// `172.18.0.0/16`, outside hosts in `203.0.113.0/24` (TEST-NET-3) unless the scenario gives an address, each but the
/// last also with an IPv6 address; literal namespace names are the logical ones.
#[must_use]
pub fn world(lab: &LabSpec) -> World {
    let mut namespaces: BTreeMap<String, WorldNamespace> =
        lab.namespaces.iter().map(|(name, spec)| (name.clone(), namespace(name, spec))).collect();
    namespaces
        .entry(DEFAULT_NAMESPACE.to_owned())
        .or_insert_with(|| namespace(DEFAULT_NAMESPACE, &NamespaceSpec::default()));
    let pods = lab.pods.iter().enumerate().map(|(index, spec)| pod(spec, index)).collect();
    let outside = lab.outside.iter().zip(10_u8..).map(|(spec, host)| WorldOutside {
        name: spec.name.clone(),
        address: spec.address.unwrap_or(IpAddr::from([203, 0, 113, host])),
        identity: format!("outside/{}", spec.name),
    });
    let metadata = lab.metadata.map(|cloud| WorldMetadata {
        cloud,
        addresses: cloud.definition().addresses(),
        identity: "metadata".to_owned(),
        topology: lab.metadata_server.topology,
    });
    World {
        namespaces,
        pods,
        nodes: NodeName::ALL.map(node).to_vec(),
        outside: outside.collect(),
        metadata,
        apiserver: Some(APISERVER),
        others: vec![dns()],
    }
}

/// A pod at the `index`th address of its node; a hostNetwork pod at its node's addresses.
pub(super) fn pod(spec: &PodSpec, index: usize) -> WorldPod {
    let addresses = if spec.host_network { node_addresses(spec.node) } else { pod_addresses(spec.node, index) };
    let identity = format!("pod/{}/{}", spec.namespace, spec.name);
    WorldPod { spec: spec.clone(), addresses, identity, proof: Proof::default() }
}

fn namespace(name: &str, spec: &NamespaceSpec) -> WorldNamespace {
    let mut labels = spec.labels.clone();
    labels.insert(NAME_LABEL.to_owned(), name.to_owned());
    WorldNamespace { literal: name.to_owned(), labels }
}

fn node(name: NodeName) -> WorldNode {
    WorldNode {
        name,
        literal: name.as_str().to_owned(),
        addresses: node_addresses(name),
        server: Some((format!("node/{}", name.as_str()), NODE_PORT)),
    }
}

fn node_addresses(node: NodeName) -> Vec<IpAddr> {
    let host = match node {
        NodeName::Master => 2,
        NodeName::Worker => 3,
    };
    vec![IpAddr::from([172, 18, 0, host]), IpAddr::from([0xfc00, 0xf853, 0xccd, 0xe793, 0, 0, 0, u16::from(host)])]
}

/// Addresses from 4,000 a node, which wrap round: two scenarios' pods in one would be more than any lab takes.
fn pod_addresses(node: NodeName, index: usize) -> Vec<IpAddr> {
    let block = match node {
        NodeName::Master => 0,
        NodeName::Worker => 16,
    };
    let index = u16::try_from(index % 4000).unwrap_or_default();
    let [high, low] = [index / 250, 2 + index % 250].map(|part| u8::try_from(part).unwrap_or_default());
    vec![
        IpAddr::from([10, 244, block + high, low]),
        IpAddr::from([0xfd00, 0x10, 0x244, u16::from(block), 0, 0, 0, 2 + index]),
    ]
}

/// The cluster's DNS as kubeadm and kind deploy it.
fn dns() -> WorldPod {
    let port = |name: &str, protocol| PortSpec { name: Some(name.to_owned()), port: 53, protocol };
    let spec = PodSpec {
        name: "coredns".to_owned(),
        namespace: SYSTEM_NAMESPACE.to_owned(),
        labels: Labels::from([("k8s-app".to_owned(), "kube-dns".to_owned())]),
        node: NodeName::Master,
        ports: vec![port("dns", Protocol::Udp), port("dns-tcp", Protocol::Tcp)],
        host_network: false,
        relay: None,
        owner: None,
        service_account: None,
    };
    pod(&spec, 3000)
}
