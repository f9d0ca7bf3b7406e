//! From policies to what each node lets through. Pure; nothing of `crate::policy` is used.

use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec};

use super::{
    Accept, Addresses, Cluster, Direction, Peers, Pod, PodRules, PortRange, Ruleset, ports::PortEntry,
    selector::selects,
};
use crate::scenario::NodeName;

/// A policy that the API server would have refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// Not a CIDR.
    #[error("`{0}` is not a CIDR")]
    Cidr(String),
    /// Not a port or a range of ports.
    #[error("{0}: not a port or a range of ports from 1 to 65535")]
    Port(String),
    /// Not a protocol.
    #[error("`{0}` is not a protocol: TCP, UDP and SCTP are")]
    Protocol(String),
    /// Not an operator of selectors.
    #[error("`{0}` is not an operator: In, NotIn, Exists and DoesNotExist are")]
    Operator(String),
    /// An operator with the wrong number of values.
    #[error("the operator `{operator}` takes {needed} values")]
    Values {
        /// The operator.
        operator: String,
        /// `some` or `no`.
        needed: &'static str,
    },
    /// Not a policy type.
    #[error("`{0}` is not a policy type: Ingress and Egress are")]
    PolicyType(String),
    /// A peer that names nobody, or says it in two ways.
    #[error("a peer has either an ipBlock or selectors")]
    Peer,
}

/// The rules of one node: both directions of each of its pods.
pub fn compile(cluster: &Cluster, node: NodeName) -> Result<Ruleset, CompileError> {
    let compiler = Compiler { cluster };
    let here = cluster.pods.iter().filter(|pod| pod.node == node);
    Ok(Ruleset { pods: here.map(|pod| compiler.pod(pod)).collect::<Result<_, _>>()?, ..Ruleset::default() })
}

/// Whether every part of a policy can be compiled, whoever it selects.
pub fn check(policy: &NetworkPolicy) -> Result<(), CompileError> {
    let Some(spec) = &policy.spec else { return Ok(()) };
    // Whatever depends on a pod is looked at for one pod, in the policy's own namespace.
    let nobody = Pod {
        namespace: namespace_of(policy).to_owned(),
        name: String::new(),
        labels: crate::scenario::Labels::default(),
        addresses: Vec::new(),
        ports: Vec::new(),
        node: NodeName::default(),
    };
    let cluster = Cluster { pods: vec![nobody.clone()], ..Cluster::default() };
    applies_to(policy, spec, &nobody)?;
    for way in [Way::Egress, Way::Ingress] {
        isolates(spec, way)?;
        for rule in rules(policy, spec, way) {
            Compiler { cluster: &cluster }.rule(&rule, namespace_of(policy), &nobody, way)?;
        }
    }
    Ok(())
}

/// A direction of a policy.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Egress,
    Ingress,
}

/// One rule of a policy, whichever its direction.
struct RuleView<'a> {
    name: String,
    peers: &'a [NetworkPolicyPeer],
    ports: &'a [NetworkPolicyPort],
}

struct Compiler<'a> {
    cluster: &'a Cluster,
}

impl Compiler<'_> {
    fn pod(&self, pod: &Pod) -> Result<PodRules, CompileError> {
        Ok(PodRules {
            pod: format!("{}/{}", pod.namespace, pod.name),
            addresses: pod.addresses.clone(),
            egress: self.direction(pod, Way::Egress)?,
            ingress: self.direction(pod, Way::Ingress)?,
        })
    }

    /// A pod is isolated as soon as one policy selects it; what any of them accepts passes.
    fn direction(&self, pod: &Pod, way: Way) -> Result<Direction, CompileError> {
        let mut direction = Direction::Open;
        for policy in &self.cluster.policies {
            let Some(spec) = &policy.spec else { continue };
            if !isolates(spec, way)? || !applies_to(policy, spec, pod)? {
                continue;
            }
            let mut accepts = match direction {
                Direction::Open => Vec::new(),
                Direction::Isolated(accepts) => accepts,
            };
            for rule in rules(policy, spec, way) {
                accepts.extend(self.rule(&rule, namespace_of(policy), pod, way)?);
            }
            direction = Direction::Isolated(accepts);
        }
        Ok(direction)
    }

    fn rule(&self, rule: &RuleView<'_>, home: &str, pod: &Pod, way: Way) -> Result<Vec<Accept>, CompileError> {
        let peers = self.peers(rule.peers, home)?;
        let accept = |peers, ports| Accept { rule: rule.name.clone(), peers, ports };
        if rule.ports.is_empty() {
            return Ok(vec![accept(peers, None)]);
        }
        let entries = rule.ports.iter().map(PortEntry::parse).collect::<Result<Vec<_>, _>>()?;
        // A name is looked up at the end that is connected to: the pod itself, or each peer.
        if way == Way::Ingress {
            let ports = entries.iter().flat_map(|entry| entry.at(pod)).collect();
            return Ok(vec![accept(peers, Some(ports))]);
        }
        let (numbers, named): (Vec<_>, Vec<_>) = entries.into_iter().partition(|e| matches!(e, PortEntry::Range(_)));
        let to_peers = self.named_ports(&named, &peers).map(|(to, ports)| accept(Peers::Only(to), Some(ports)));
        let to_peers: Vec<_> = to_peers.collect();
        let numbers: Vec<PortRange> = numbers.iter().flat_map(|entry| entry.at(pod)).collect();
        Ok(std::iter::once(accept(peers, Some(numbers))).chain(to_peers).collect())
    }

    /// The pods among the peers that have a port of one of these names.
    fn named_ports(&self, named: &[PortEntry], peers: &Peers) -> impl Iterator<Item = (Addresses, Vec<PortRange>)> {
        self.cluster.pods.iter().filter_map(move |pod| {
            let ports: Vec<_> = named.iter().flat_map(|entry| entry.at(pod)).collect();
            let mut addresses = Addresses::default();
            pod.addresses.iter().filter(|address| peers.contains(**address)).for_each(|a| addresses.add(*a));
            (!ports.is_empty() && !addresses.is_empty()).then_some((addresses, ports))
        })
    }

    /// No peers at all means everybody.
    fn peers(&self, peers: &[NetworkPolicyPeer], home: &str) -> Result<Peers, CompileError> {
        if peers.is_empty() {
            return Ok(Peers::Any);
        }
        let mut all = Addresses::default();
        for peer in peers {
            match (&peer.ip_block, &peer.namespace_selector, &peer.pod_selector) {
                (Some(block), None, None) => all.add_block(&block.cidr, block.except.as_deref().unwrap_or_default())?,
                (Some(_), ..) | (None, None, None) => return Err(CompileError::Peer),
                _ => {
                    for pod in &self.cluster.pods {
                        if self.is_peer(peer, pod, home)? {
                            pod.addresses.iter().for_each(|address| all.add(*address));
                        }
                    }
                }
            }
        }
        Ok(Peers::Only(all))
    }

    /// Without a namespace selector only the policy's own namespace is meant; without a pod selector every pod.
    fn is_peer(&self, peer: &NetworkPolicyPeer, pod: &Pod, home: &str) -> Result<bool, CompileError> {
        let namespace = match &peer.namespace_selector {
            None => pod.namespace == home,
            Some(selector) => {
                let none = crate::scenario::Labels::default();
                selects(selector, self.cluster.namespaces.get(&pod.namespace).unwrap_or(&none))?
            }
        };
        let itself = peer.pod_selector.as_ref().map_or(Ok(true), |selector| selects(selector, &pod.labels))?;
        Ok(namespace && itself)
    }
}

/// Without types a policy is about ingress, and about egress where it has rules for it.
fn isolates(spec: &NetworkPolicySpec, way: Way) -> Result<bool, CompileError> {
    let types = spec.policy_types.as_deref().unwrap_or_default();
    if let Some(unknown) = types.iter().find(|name| !["Ingress", "Egress"].contains(&name.as_str())) {
        return Err(CompileError::PolicyType(unknown.clone()));
    }
    Ok(match way {
        Way::Ingress => types.is_empty() || types.iter().any(|name| name == "Ingress"),
        Way::Egress if types.is_empty() => spec.egress.as_ref().is_some_and(|rules| !rules.is_empty()),
        Way::Egress => types.iter().any(|name| name == "Egress"),
    })
}

fn applies_to(policy: &NetworkPolicy, spec: &NetworkPolicySpec, pod: &Pod) -> Result<bool, CompileError> {
    let selected = spec.pod_selector.as_ref().map_or(Ok(true), |selector| selects(selector, &pod.labels))?;
    Ok(selected && namespace_of(policy) == pod.namespace)
}

fn rules<'a>(policy: &NetworkPolicy, spec: &'a NetworkPolicySpec, way: Way) -> Vec<RuleView<'a>> {
    let name = |word, index| {
        let policy_name = policy.metadata.name.as_deref().unwrap_or_default();
        format!("{}/{policy_name} {word}[{index}]", namespace_of(policy))
    };
    match way {
        Way::Egress => (spec.egress.iter().flatten().enumerate())
            .map(|(index, rule)| RuleView {
                name: name("egress", index),
                peers: rule.to.as_deref().unwrap_or_default(),
                ports: rule.ports.as_deref().unwrap_or_default(),
            })
            .collect(),
        Way::Ingress => (spec.ingress.iter().flatten().enumerate())
            .map(|(index, rule)| RuleView {
                name: name("ingress", index),
                peers: rule.from.as_deref().unwrap_or_default(),
                ports: rule.ports.as_deref().unwrap_or_default(),
            })
            .collect(),
    }
}

fn namespace_of(policy: &NetworkPolicy) -> &str {
    policy.metadata.namespace.as_deref().unwrap_or(crate::scenario::DEFAULT_NAMESPACE)
}

#[cfg(test)]
#[path = "compile_tests.rs"]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
