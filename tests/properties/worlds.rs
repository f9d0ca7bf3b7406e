//! Random small worlds: labels, ports and addresses from tiny alphabets, so that rules match often and miss often.
//!
//! Policies are made for a list of addresses, so that a live lab's can be given as well as made-up ones. All are valid:
//! the API server would take them.

use std::{net::IpAddr, sync::Arc};

use k8s_openapi::{
    api::networking::v1::{
        IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
        NetworkPolicyPort, NetworkPolicySpec,
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, LabelSelectorRequirement, ObjectMeta},
        util::intstr::IntOrString,
    },
};
use policyprobe::{
    engine::plan,
    lab::World,
    policy::Cluster,
    scenario::{LabSpec, Labels, NamespaceSpec, NodeName, OutsideSpec, PodSpec, PortSpec, Protocol},
};
use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
    sample::{select, subsequence},
};

/// The namespaces of every world.
pub const NAMESPACES: [&str; 2] = ["default", "other"];
/// The ports that flows go to; policies name these and their neighbours.
pub const PORTS: [u16; 4] = [53, 80, 81, 8080];
/// The protocols.
pub const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
const PORT_NAMES: [&str; 2] = ["web", "alt"];
const KEYS: [&str; 2] = ["app", "role"];
const VALUES: [&str; 2] = ["a", "b"];

/// A world with policies.
#[derive(Clone, Debug)]
pub struct RandomWorld {
    /// What a lab is asked for.
    pub lab: LabSpec,
    /// The policies, with namespace and unique names.
    pub policies: Vec<NetworkPolicy>,
}

impl RandomWorld {
    /// The made-up world of the lab.
    pub fn world(&self) -> World {
        plan::world(&self.lab)
    }

    /// What the simulator judges.
    pub fn cluster(&self) -> Cluster {
        plan::cluster(&self.world(), self.policies.iter().cloned().map(Arc::new).collect())
    }
}

/// Random worlds with made-up addresses.
pub fn worlds() -> impl Strategy<Value = RandomWorld> {
    labs().prop_flat_map(|lab| {
        let addresses = addresses(&plan::world(&lab));
        policies(&addresses).prop_map(move |policies| RandomWorld { lab: lab.clone(), policies })
    })
}

/// Every address of a world that a policy may be about.
pub fn addresses(world: &World) -> Vec<IpAddr> {
    let pods = world.pods.iter().flat_map(|pod| pod.addresses.clone());
    let nodes = world.nodes.iter().flat_map(|node| node.addresses.clone());
    pods.chain(nodes).chain(world.outside.iter().map(|host| host.address)).collect()
}

/// Random labs: two namespaces, two to four pods, an outside host.
pub fn labs() -> impl Strategy<Value = LabSpec> {
    (vec(labels(), NAMESPACES.len()), vec((labels(), select(&NAMESPACES[..]), ports(), any::<bool>()), 2..=4)).prop_map(
        |(namespaces, pods)| LabSpec {
            namespaces: NAMESPACES
                .iter()
                .zip(namespaces)
                .map(|(name, labels)| ((*name).to_owned(), NamespaceSpec { labels }))
                .collect(),
            pods: pods
                .into_iter()
                .enumerate()
                .map(|(index, (labels, namespace, ports, on_master))| PodSpec {
                    name: format!("p{index}"),
                    namespace: namespace.to_owned(),
                    labels,
                    node: if on_master { NodeName::Master } else { NodeName::Worker },
                    ports,
                    host_network: false,
                    relay: None,
                    owner: None,
                    service_account: None,
                })
                .collect(),
            outside: vec![OutsideSpec { name: "out".to_owned(), address: None, ports: all_ports() }],
            ..LabSpec::default()
        },
    )
}

/// Up to three random policies about these addresses.
pub fn policies(addresses: &[IpAddr]) -> impl Strategy<Value = Vec<NetworkPolicy>> + use<> {
    vec((select(&NAMESPACES[..]), specs(addresses)), 0..=3).prop_map(|policies| {
        policies.into_iter().enumerate().map(|(index, (namespace, spec))| policy(namespace, index, spec)).collect()
    })
}

/// A policy of a name that is its own.
pub fn policy(namespace: &str, index: usize, spec: NetworkPolicySpec) -> NetworkPolicy {
    let metadata = ObjectMeta {
        namespace: Some(namespace.to_owned()),
        name: Some(format!("policy-{index}")),
        ..ObjectMeta::default()
    };
    NetworkPolicy { metadata, spec: Some(spec) }
}

/// Random policies' specs.
pub fn specs(addresses: &[IpAddr]) -> impl Strategy<Value = NetworkPolicySpec> + use<> {
    let types = option::weighted(0.8, subsequence(vec!["Ingress".to_owned(), "Egress".to_owned()], 1..=2));
    let rules =
        || option::weighted(0.8, vec((option::weighted(0.9, vec(peers(addresses.to_vec()), 0..=2)), entries()), 0..=2));
    (selectors(), types, rules(), rules()).prop_map(|(pod_selector, policy_types, ingress, egress)| NetworkPolicySpec {
        pod_selector: Some(pod_selector),
        policy_types,
        ingress: ingress
            .map(|rules| rules.into_iter().map(|(from, ports)| NetworkPolicyIngressRule { from, ports }).collect()),
        egress: egress
            .map(|rules| rules.into_iter().map(|(to, ports)| NetworkPolicyEgressRule { to, ports }).collect()),
    })
}

/// Random blocks around these addresses, with excepts that are strictly inside them.
pub fn blocks(addresses: Vec<IpAddr>) -> impl Strategy<Value = IPBlock> {
    (
        select(addresses.clone()),
        any::<prop::sample::Index>(),
        vec((select(addresses), any::<prop::sample::Index>()), 0..=2),
    )
        .prop_map(|(address, length, excepts)| {
            let whole = network(address, length.index(bits(address) + 1));
            let except = excepts
                .into_iter()
                .filter(|(inside, _)| whole.contains(inside))
                .filter(|_| usize::from(whole.prefix_len()) < bits(address))
                .map(|(inside, more)| {
                    let shortest = usize::from(whole.prefix_len()) + 1;
                    network(inside, shortest + more.index(bits(inside) - shortest + 1)).to_string()
                })
                .collect();
            IPBlock { cidr: whole.to_string(), except: Some(except) }
        })
}

fn network(address: IpAddr, length: usize) -> ipnet::IpNet {
    let length = u8::try_from(length).expect("at most 128");
    ipnet::IpNet::new(address, length).expect("no longer than the address").trunc()
}

fn bits(address: IpAddr) -> usize {
    if address.is_ipv4() { 32 } else { 128 }
}

fn labels() -> impl Strategy<Value = Labels> {
    btree_map(select(&KEYS[..]).prop_map(str::to_owned), select(&VALUES[..]).prop_map(str::to_owned), 0..=2)
}

fn all_ports() -> Vec<PortSpec> {
    PORTS.iter().map(|port| PortSpec { name: None, port: *port, protocol: Protocol::Tcp }).collect()
}

/// The two names on random numbers and protocols, so that one name means different ports on different pods.
fn ports() -> impl Strategy<Value = Vec<PortSpec>> {
    (subsequence(PORTS.to_vec(), 2).prop_shuffle(), vec(select(&PROTOCOLS[..]), 2)).prop_map(|(numbers, protocols)| {
        let named = PORT_NAMES.iter().zip(numbers).zip(protocols);
        named.map(|((name, port), protocol)| PortSpec { name: Some((*name).to_owned()), port, protocol }).collect()
    })
}

/// Random selectors, half of them by expressions.
pub fn selectors() -> impl Strategy<Value = LabelSelector> {
    let values = || subsequence(VALUES.map(str::to_owned).to_vec(), 1..=2);
    let requirement =
        (select(&KEYS[..]), 0..4_usize, values()).prop_map(|(key, operator, values)| LabelSelectorRequirement {
            key: key.to_owned(),
            operator: ["In", "NotIn", "Exists", "DoesNotExist"][operator].to_owned(),
            values: (operator < 2).then_some(values),
        });
    prop_oneof![
        1 => Just(LabelSelector::default()),
        2 => labels().prop_map(|labels| LabelSelector { match_labels: Some(labels), match_expressions: None }),
        2 => (option::of(labels()), vec(requirement, 1..=2)).prop_map(|(match_labels, requirements)| LabelSelector {
            match_labels,
            match_expressions: Some(requirements),
        }),
    ]
}

fn peers(addresses: Vec<IpAddr>) -> impl Strategy<Value = NetworkPolicyPeer> {
    let selected =
        |pod_selector, namespace_selector| NetworkPolicyPeer { pod_selector, namespace_selector, ip_block: None };
    prop_oneof![
        2 => selectors().prop_map(move |pods| selected(Some(pods), None)),
        1 => selectors().prop_map(move |namespaces| selected(None, Some(namespaces))),
        2 => (selectors(), selectors()).prop_map(move |(pods, namespaces)| selected(Some(pods), Some(namespaces))),
        3 => blocks(addresses)
            .prop_map(|block| NetworkPolicyPeer { ip_block: Some(block), ..NetworkPolicyPeer::default() }),
    ]
}

fn entries() -> impl Strategy<Value = Option<Vec<NetworkPolicyPort>>> {
    let number = || select(&[1_u16, 52, 53, 80, 81, 8080, 65535][..]).prop_map(i32::from);
    let port = prop_oneof![
        1 => Just((None, None)),
        3 => number().prop_map(|port| (Some(IntOrString::Int(port)), None)),
        2 => (number(), number())
            .prop_map(|(one, two)| (Some(IntOrString::Int(one.min(two))), Some(one.max(two)))),
        2 => select(&PORT_NAMES[..]).prop_map(|name| (Some(IntOrString::String(name.to_owned())), None)),
    ];
    let protocol = option::of(select(&["TCP", "UDP", "SCTP"][..]).prop_map(str::to_owned));
    let entry =
        (protocol, port).prop_map(|(protocol, (port, end_port))| NetworkPolicyPort { protocol, port, end_port });
    prop_oneof![1 => Just(None), 3 => vec(entry, 0..=2).prop_map(Some)]
}
