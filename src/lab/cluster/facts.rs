//! What a cluster is, read once: its nodes, its CNI, its DNS, its API server.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Namespace, Node, Pod, Service},
};
use kube::{Api, ResourceExt, api::ListParams};

use super::{
    access::Access,
    apply::broken,
    progress::{Progress, progress},
};
use crate::{
    lab::{LabError, WorldNamespace, WorldNode, WorldPod},
    probe::Proof,
    scenario::{NodeName, PodSpec, PortSpec, Protocol},
};

/// `DaemonSet`s by which a CNI is known: a part of the name, and the CNI.
const CNIS: [(&str, &str); 14] = [
    ("calico-node", "Calico"),
    ("cilium", "Cilium"),
    ("kube-router", "kube-router"),
    ("kindnet", "kindnet"),
    ("canal", "Canal"),
    ("antrea-agent", "Antrea"),
    ("ovnkube-node", "OVN-Kubernetes"),
    ("kube-ovn-cni", "Kube-OVN"),
    ("weave-net", "Weave Net"),
    ("aws-node", "Amazon VPC CNI"),
    ("azure-npm", "Azure NPM"),
    ("anetd", "GKE Dataplane V2"),
    ("netd", "GKE"),
    ("kube-flannel", "Flannel"),
];

const KUBE_SYSTEM: &str = "kube-system";

/// What was read.
pub(crate) struct Facts {
    /// For the report.
    pub(crate) texts: BTreeMap<String, String>,
    /// The lab's two nodes.
    pub(crate) nodes: Vec<WorldNode>,
    /// Their hostname labels.
    pub(crate) hostnames: BTreeMap<NodeName, String>,
    /// Their architectures, as `kubernetes.io/arch` has them.
    pub(crate) architectures: Vec<String>,
    /// The API server's Service.
    pub(crate) apiserver: Option<(IpAddr, u16)>,
    /// `kube-system`, which policies may name.
    pub(crate) kube_system: WorldNamespace,
    /// Whether its pods have IPv6 addresses.
    pub(crate) ipv6: bool,
}

/// How long a cluster has been there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Age {
    /// It is being made by this run.
    Young,
    /// It is up.
    Grown,
}

impl Facts {
    /// Reads them. The nodes of a young cluster count also before they are Ready.
    pub(crate) async fn read(access: &Access, age: Age) -> Result<Self, LabError> {
        let client = &access.client;
        let (everything, all) = (ListParams::default(), broken_reading);
        let (nodes, services, namespaces) = (
            Api::<Node>::all(client.clone()),
            Api::<Service>::namespaced(client.clone(), "default"),
            Api::<Namespace>::all(client.clone()),
        );
        let sets = Api::<DaemonSet>::all(client.clone());
        let (nodes, service, kube_system, sets, version) = tokio::try_join!(
            nodes.list(&everything),
            services.get_opt("kubernetes"),
            namespaces.get_opt(KUBE_SYSTEM),
            sets.list(&everything),
            client.apiserver_version(),
        )
        .map_err(|error| all(&error))?;
        let (master, worker) = choose(&nodes.items, age)?;
        let mut texts = BTreeMap::from([
            ("kubernetes".to_owned(), version.git_version),
            ("context".to_owned(), access.context.clone()),
            ("cni".to_owned(), cni(&sets.items)),
        ]);
        if let Some(info) = worker.status.as_ref().and_then(|status| status.node_info.as_ref()) {
            texts.insert("kernel".to_owned(), info.kernel_version.clone());
            texts.insert("container runtime".to_owned(), info.container_runtime_version.clone());
            texts.insert("node image".to_owned(), info.os_image.clone());
        }
        if master.name_any() == worker.name_any() {
            texts.insert("nodes".to_owned(), "one: it is both master and worker".to_owned());
        }
        let pair = [(NodeName::Master, master), (NodeName::Worker, worker)];
        let spec = service.as_ref().and_then(|service| service.spec.as_ref());
        let ranges = nodes.items.iter().filter_map(|node| node.spec.as_ref()?.pod_cidrs.as_ref());
        let ipv6 = ranges.flatten().any(|range| range.contains(':'));
        Ok(Self {
            ipv6,
            texts,
            nodes: pair.iter().map(|(role, node)| world_node(*role, node)).collect(),
            hostnames: pair.iter().map(|(role, node)| (*role, label(node, "kubernetes.io/hostname"))).collect(),
            architectures: pair.iter().map(|(_, node)| label(node, "kubernetes.io/arch")).collect(),
            apiserver: spec.and_then(|spec| {
                let port = spec.ports.as_ref()?.first()?.port;
                Some((spec.cluster_ip.as_ref()?.parse().ok()?, u16::try_from(port).ok()?))
            }),
            kube_system: WorldNamespace {
                literal: KUBE_SYSTEM.to_owned(),
                labels: kube_system.map(|namespace| namespace.labels().clone()).unwrap_or_default(),
            },
        })
    }
}

fn broken_reading(error: &kube::Error) -> LabError {
    broken("cannot read the cluster", error)
}

/// The cluster's DNS servers, as they are now.
pub(crate) async fn dns_pods(access: &Access, nodes: &[WorldNode]) -> Result<Vec<WorldPod>, LabError> {
    let pods = Api::<Pod>::namespaced(access.client.clone(), KUBE_SYSTEM);
    let found =
        pods.list(&ListParams::default().labels("k8s-app=kube-dns")).await.map_err(|error| broken_reading(&error))?;
    Ok(found.items.iter().map(|pod| dns_pod(pod, nodes)).collect())
}

fn dns_pod(pod: &Pod, nodes: &[WorldNode]) -> WorldPod {
    let on = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
    let node = nodes.iter().find(|node| Some(&node.literal) == on).map(|node| node.name).unwrap_or_default();
    let port = |name: &str, protocol| PortSpec { name: Some(name.to_owned()), port: 53, protocol };
    let spec = PodSpec {
        name: pod.name_any(),
        namespace: KUBE_SYSTEM.to_owned(),
        labels: pod.labels().clone(),
        node,
        ports: vec![port("dns", Protocol::Udp), port("dns-tcp", Protocol::Tcp)],
        host_network: false,
        relay: None,
        owner: None,
        service_account: None,
    };
    let addresses = match progress(pod) {
        Progress::Running { addresses, .. } => addresses,
        _ => Vec::new(),
    };
    WorldPod { identity: format!("dns/{}", spec.name), spec, addresses, proof: Proof::default() }
}

/// A control plane's node and another one; two others where the control plane is hidden; one for both where there is one.
fn choose(nodes: &[Node], age: Age) -> Result<(&Node, &Node), LabError> {
    let is_master = |node: &&Node| node.labels().contains_key("node-role.kubernetes.io/control-plane");
    let ready: Vec<&Node> = nodes.iter().filter(|node| age == Age::Young || is_ready(node)).collect();
    let mut workers = ready.iter().copied().filter(|node| !is_master(node) && !is_cordoned(node));
    let master = ready.iter().copied().find(is_master);
    match (master, workers.next()) {
        (Some(master), Some(worker)) => Ok((master, worker)),
        (Some(only), None) => Ok((only, only)),
        (None, Some(worker)) => Ok((workers.next().unwrap_or(worker), worker)),
        (None, None) => Err(LabError::with_hint("no node of the cluster is Ready", "`kubectl get nodes` says more")),
    }
}

fn is_cordoned(node: &Node) -> bool {
    node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true)
}

/// Whether a node says that it is Ready.
pub(crate) fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn label(node: &Node, key: &str) -> String {
    node.labels().get(key).cloned().unwrap_or_else(|| node.name_any())
}

fn world_node(name: NodeName, node: &Node) -> WorldNode {
    let told = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    let internal =
        told.filter(|address| address.type_ == "InternalIP").filter_map(|address| address.address.parse().ok());
    let ranges = node.spec.iter().flat_map(|spec| spec.pod_cidrs.iter().flatten());
    // Most CNIs give a bridge towards the pods the first address of the node's range.
    let gateways = ranges.filter_map(|range| range.parse::<ipnet::IpNet>().ok()?.hosts().next());
    WorldNode { name, literal: node.name_any(), addresses: internal.chain(gateways).collect(), server: None }
}

fn cni(sets: &[DaemonSet]) -> String {
    let known = CNIS.iter().find_map(|(part, cni)| Some((cni, sets.iter().find(|set| set.name_any().contains(part))?)));
    let Some((cni, set)) = known else { return "unknown: no DaemonSet of a known CNI".to_owned() };
    let containers = set.spec.iter().filter_map(|spec| spec.template.spec.as_ref()).flat_map(|pod| &pod.containers);
    let image = containers.into_iter().find_map(|container| container.image.clone()).unwrap_or_default();
    format!("{cni}, by the DaemonSet {}/{} ({image})", set.namespace().unwrap_or_default(), set.name_any())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(name: &str, is_master: bool, ready: &str) -> Node {
        let role = if is_master { json!({ "node-role.kubernetes.io/control-plane": "" }) } else { json!({}) };
        serde_json::from_value(json!({
            "metadata": { "name": name, "labels": role }, "spec": { "podCIDRs": ["10.244.1.0/24"] },
            "status": { "conditions": [{ "type": "Ready", "status": ready }],
                        "addresses": [{ "type": "InternalIP", "address": "172.18.0.2" }, { "type": "Hostname", "address": name }] },
        }))
        .unwrap()
    }

    #[test]
    fn a_ready_worker_is_chosen_beside_the_control_plane() {
        let nodes = [node("w0", false, "False"), node("m", true, "True"), node("w1", false, "True")];
        let (master, worker) = choose(&nodes, Age::Grown).unwrap();
        assert_eq!((master.name_any(), worker.name_any()), ("m".to_owned(), "w1".to_owned()));
        let managed = [node("a", false, "True"), node("b", false, "True")];
        let (master, worker) = choose(&managed, Age::Grown).unwrap();
        assert_ne!(master.name_any(), worker.name_any());
        assert!(choose(&nodes[..1], Age::Grown).is_err());
    }

    #[test]
    fn a_node_has_its_address_and_the_gateway_of_its_pods() {
        let found = world_node(NodeName::Worker, &node("w", false, "True"));
        let expected: Vec<IpAddr> = vec!["172.18.0.2".parse().unwrap(), "10.244.1.1".parse().unwrap()];
        assert_eq!(found.addresses, expected);
    }
}
