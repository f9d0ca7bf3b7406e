//! NetworkPolicy once more, and quite differently: every policy is expanded into the explicit set of flows that it
//! allows, over everything that there is. Slow, obvious, and without a line of the simulator's.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use k8s_openapi::{
    api::networking::v1::{IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use policyprobe::{
    policy::{Cluster, End, Flow},
    scenario::{Labels, Protocol},
};

use crate::worlds::{PORTS, PROTOCOLS};

/// Somebody at one address: an index into `Universe::parties`.
type Party = usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An index into the cluster's pods.
    Pod(usize),
    /// An index into the cluster's nodes.
    Node(usize),
    Outside,
}

/// One connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connection {
    pub from: Party,
    pub to: Party,
    pub port: u16,
    pub protocol: Protocol,
}

/// Everything that there is, and what the policies make of it.
pub struct Universe<'a> {
    cluster: &'a Cluster,
    pub parties: Vec<(Kind, IpAddr)>,
    /// Pods that some policy isolates, by direction, and the connections that policies allow them.
    incoming: BTreeMap<usize, BTreeSet<Connection>>,
    outgoing: BTreeMap<usize, BTreeSet<Connection>>,
}

impl<'a> Universe<'a> {
    pub fn new(cluster: &'a Cluster, outside: &[IpAddr]) -> Self {
        let pods = cluster.pods.iter().enumerate().map(|(index, pod)| (Kind::Pod(index), &pod.addresses));
        let nodes = cluster.nodes.iter().enumerate().map(|(index, node)| (Kind::Node(index), &node.addresses));
        let parties = pods
            .chain(nodes)
            .flat_map(|(kind, addresses)| addresses.iter().map(move |address| (kind, *address)))
            .chain(outside.iter().map(|address| (Kind::Outside, *address)))
            .collect();
        let mut universe = Self { cluster, parties, incoming: BTreeMap::new(), outgoing: BTreeMap::new() };
        for policy in &cluster.policies {
            universe.expand(policy);
        }
        universe
    }

    /// Every connection between addresses of one family.
    pub fn connections(&self) -> Vec<Connection> {
        let mut all = Vec::new();
        for from in 0..self.parties.len() {
            for to in 0..self.parties.len() {
                if self.parties[from].1.is_ipv4() != self.parties[to].1.is_ipv4() {
                    continue;
                }
                for port in PORTS {
                    all.extend(PROTOCOLS.map(|protocol| Connection { from, to, port, protocol }));
                }
            }
        }
        all
    }

    /// What the simulator is asked.
    pub fn flow(&self, connection: &Connection) -> Flow<'a> {
        let end = |party: Party| match self.parties[party].0 {
            Kind::Pod(index) => End::Pod(&self.cluster.pods[index]),
            Kind::Node(index) => End::Node(&self.cluster.nodes[index]),
            Kind::Outside => End::Outside,
        };
        Flow {
            from: end(connection.from),
            from_address: self.parties[connection.from].1,
            to: end(connection.to),
            to_address: self.parties[connection.to].1,
            port: connection.port,
            protocol: connection.protocol,
            service: None,
        }
    }

    /// Whether the connection must pass; none where the API leaves it open.
    pub fn passes(&self, connection: &Connection) -> Option<bool> {
        let (from, to) = (self.parties[connection.from].0, self.parties[connection.to].0);
        if from == to {
            return Some(true);
        }
        let out = match from {
            Kind::Pod(pod) => self.outgoing.get(&pod).is_none_or(|allowed| allowed.contains(connection)),
            _ => true,
        };
        let into = match to {
            Kind::Pod(pod) => self.incoming.get(&pod).is_none_or(|allowed| allowed.contains(connection)),
            _ => true,
        };
        let neighbours = |pod: usize, node: usize| self.cluster.pods[pod].node == self.cluster.nodes[node].name;
        match (from, to) {
            (Kind::Node(node), Kind::Pod(pod)) if neighbours(pod, node) => Some(true),
            (Kind::Pod(pod), Kind::Node(node)) if neighbours(pod, node) && !out => None,
            _ => Some(out && into),
        }
    }

    fn expand(&mut self, policy: &NetworkPolicy) {
        let namespace = policy.metadata.namespace.clone().unwrap();
        let spec = policy.spec.clone().unwrap();
        let mut subjects: Vec<usize> = (0..self.cluster.pods.len()).collect();
        subjects.retain(|pod| self.cluster.pods[*pod].namespace == namespace);
        subjects.retain(|pod| agree(&spec.pod_selector.clone().unwrap(), &self.cluster.pods[*pod].labels));
        let types = match (spec.policy_types, &spec.egress) {
            (Some(types), _) => types,
            (None, Some(egress)) if !egress.is_empty() => vec!["Ingress".to_owned(), "Egress".to_owned()],
            (None, _) => vec!["Ingress".to_owned()],
        };
        for name in types {
            let into = name == "Ingress";
            let rules: Vec<_> = if into {
                spec.ingress.iter().flatten().map(|rule| (rule.from.clone(), rule.ports.clone())).collect()
            } else {
                spec.egress.iter().flatten().map(|rule| (rule.to.clone(), rule.ports.clone())).collect()
            };
            for subject in &subjects {
                let mut allowed = BTreeSet::new();
                for (peers, ports) in &rules {
                    let peers = self.peers(&namespace, peers.as_deref().unwrap_or_default());
                    allowed.extend(self.connections_of(*subject, &peers, ports.as_deref().unwrap_or_default(), into));
                }
                let sets = if into { &mut self.incoming } else { &mut self.outgoing };
                sets.entry(*subject).or_default().extend(allowed);
            }
        }
    }

    /// The connections between a pod and peers over ports.
    fn connections_of(&self, pod: usize, peers: &[Party], ports: &[NetworkPolicyPort], into: bool) -> Vec<Connection> {
        let own = (0..self.parties.len()).filter(|party| self.parties[*party].0 == Kind::Pod(pod));
        let pairs = own.flat_map(|own| peers.iter().map(move |peer| if into { (*peer, own) } else { (own, *peer) }));
        pairs
            .flat_map(|(from, to)| {
                let open = self.numbers(ports, self.parties[to].0);
                open.into_iter().map(move |(port, protocol)| Connection { from, to, port, protocol })
            })
            .collect()
    }

    /// The parties that a rule is about.
    fn peers(&self, namespace: &str, peers: &[NetworkPolicyPeer]) -> Vec<Party> {
        let everybody = 0..self.parties.len();
        if peers.is_empty() {
            return everybody.collect();
        }
        let is_peer = |peer: &NetworkPolicyPeer, party: Party| {
            let (kind, address) = self.parties[party];
            if let Some(block) = &peer.ip_block {
                return inside(block, address);
            }
            let Kind::Pod(index) = kind else { return false };
            let pod = &self.cluster.pods[index];
            let by_namespace = match &peer.namespace_selector {
                Some(selector) => agree(selector, &self.cluster.namespaces[&pod.namespace]),
                None => pod.namespace == namespace,
            };
            by_namespace && peer.pod_selector.iter().all(|selector| agree(selector, &pod.labels))
        };
        everybody.filter(|party| peers.iter().any(|peer| is_peer(peer, *party))).collect()
    }

    /// The ports that a rule opens towards a destination, of those that there are.
    fn numbers(&self, ports: &[NetworkPolicyPort], destination: Kind) -> BTreeSet<(u16, Protocol)> {
        let all = PORTS.iter().flat_map(|port| PROTOCOLS.map(|protocol| (*port, protocol)));
        if ports.is_empty() {
            return all.collect();
        }
        let mut open = BTreeSet::new();
        for entry in ports {
            let wanted = entry.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
            let of_protocol = all.clone().filter(|(_, protocol)| format!("{protocol:?}").to_uppercase() == wanted);
            match (&entry.port, destination) {
                (None, _) => open.extend(of_protocol),
                (Some(IntOrString::Int(first)), _) => {
                    let range = *first..=entry.end_port.unwrap_or(*first);
                    open.extend(of_protocol.filter(|(port, _)| range.contains(&i32::from(*port))));
                }
                (Some(IntOrString::String(name)), Kind::Pod(pod)) => {
                    let served = &self.cluster.pods[pod].ports;
                    let named = served.iter().filter(|port| port.name.as_ref() == Some(name));
                    let named: Vec<_> = named.map(|port| (port.port, port.protocol)).collect();
                    open.extend(of_protocol.filter(|port| named.contains(port)));
                }
                (Some(IntOrString::String(_)), _) => {}
            }
        }
        open
    }
}

/// Whether a selector agrees with labels: `matchLabels` is turned into expressions, as the API describes it, and a
/// missing value is the empty set.
pub fn agree(selector: &LabelSelector, labels: &Labels) -> bool {
    let equal = selector.match_labels.iter().flatten();
    let mut wanted: Vec<(String, String, Vec<String>)> =
        equal.map(|(key, value)| (key.clone(), "In".to_owned(), vec![value.clone()])).collect();
    for requirement in selector.match_expressions.iter().flatten() {
        let values = requirement.values.clone().unwrap_or_default();
        wanted.push((requirement.key.clone(), requirement.operator.clone(), values));
    }
    wanted.iter().all(|(key, operator, values)| {
        let own: BTreeSet<&String> = labels.get(key).into_iter().collect();
        let common = values.iter().filter(|value| own.contains(value)).count();
        match operator.as_str() {
            "In" => common == 1,
            "NotIn" => common == 0,
            "Exists" => own.len() == 1,
            "DoesNotExist" => own.is_empty(),
            other => panic!("no operator: {other}"),
        }
    })
}

/// Whether an address is in a block, by comparing digits.
pub fn inside(block: &IPBlock, address: IpAddr) -> bool {
    let begins = |cidr: &String| {
        let (network, length) = cidr.split_once('/').unwrap();
        let (network, address) = (digits(network.parse().unwrap()), digits(address));
        network.len() == address.len() && address.starts_with(&network[..length.parse().unwrap()])
    };
    begins(&block.cidr) && !block.except.iter().flatten().any(begins)
}

fn digits(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("{:032b}", u32::from(address)),
        IpAddr::V6(address) => format!("{:0128b}", u128::from(address)),
    }
}
