//! One direction at one pod: which policies isolate it, and whether a rule of theirs allows the traffic. Exceptions and
//! what the API leaves open are `evaluate`'s business.

use std::net::IpAddr;

use k8s_openapi::{
    api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};

use super::{Cluster, DirectionReason, End, Pod, RuleRef, cidr, port, selector::selects};
use crate::scenario::{DEFAULT_NAMESPACE, Labels, Protocol};

/// A direction, as a policy's subject sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Ingress,
    Egress,
}

/// What is asked of the policies of one pod.
pub(super) struct Question<'a> {
    pub(super) direction: Direction,
    /// The pod whose policies count.
    pub(super) subject: &'a Pod,
    /// The other end, for selectors.
    pub(super) peer: End<'a>,
    /// The other end's address, for `ipBlock`.
    pub(super) address: IpAddr,
    /// The pod that is connected to, for port names.
    pub(super) destination: Option<&'a Pod>,
    pub(super) port: u16,
    pub(super) protocol: Protocol,
}

impl Question<'_> {
    /// What the pod's policies answer: the union of what each of them allows. The order of policies has no meaning, so
    /// they are asked by name and the answer names the same rule each time.
    pub(super) fn answer(&self, cluster: &Cluster) -> DirectionReason {
        let mut isolating: Vec<&NetworkPolicy> =
            cluster.policies.iter().map(AsRef::as_ref).filter(|policy| self.is_isolated_by(policy)).collect();
        if isolating.is_empty() {
            return DirectionReason::NotIsolated;
        }
        isolating.sort_by_key(|policy| &policy.metadata.name);
        isolating.iter().find_map(|policy| self.allowing_rule(cluster, policy)).map_or_else(
            || DirectionReason::IsolatedBy(isolating.iter().map(|policy| full_name(policy)).collect()),
            DirectionReason::AllowedBy,
        )
    }

    fn is_isolated_by(&self, policy: &NetworkPolicy) -> bool {
        let everything = LabelSelector::default();
        let spec = policy.spec.as_ref();
        let selector = spec.and_then(|spec| spec.pod_selector.as_ref()).unwrap_or(&everything);
        namespace(policy) == self.subject.namespace
            && is_about(spec, self.direction)
            && selects(selector, &self.subject.labels)
    }

    fn allowing_rule(&self, cluster: &Cluster, policy: &NetworkPolicy) -> Option<RuleRef> {
        let (rules, peers_name) = match self.direction {
            Direction::Ingress => ("ingress", "from"),
            Direction::Egress => ("egress", "to"),
        };
        self.rules(policy.spec.as_ref()?).iter().enumerate().find_map(|(index, rule)| {
            let ports_match = rule.ports.is_empty()
                || rule.ports.iter().any(|entry| port::covers(entry, self.protocol, self.port, self.destination));
            if !ports_match {
                return None;
            }
            let path = if rule.peers.is_empty() {
                format!("{rules}[{index}]")
            } else {
                let peer = rule.peers.iter().position(|peer| self.is_peer(cluster, namespace(policy), peer))?;
                format!("{rules}[{index}].{peers_name}[{peer}]")
            };
            Some(RuleRef { policy: full_name(policy), path })
        })
    }

    fn rules<'p>(&self, spec: &'p NetworkPolicySpec) -> Vec<Rule<'p>> {
        match self.direction {
            Direction::Ingress => spec
                .ingress
                .iter()
                .flatten()
                .map(|rule| Rule {
                    peers: rule.from.as_deref().unwrap_or_default(),
                    ports: rule.ports.as_deref().unwrap_or_default(),
                })
                .collect(),
            Direction::Egress => spec
                .egress
                .iter()
                .flatten()
                .map(|rule| Rule {
                    peers: rule.to.as_deref().unwrap_or_default(),
                    ports: rule.ports.as_deref().unwrap_or_default(),
                })
                .collect(),
        }
    }

    /// Whether the other end is this peer. A peer that the API would refuse (empty, or `ipBlock` beside a selector) is
    /// nobody.
    fn is_peer(&self, cluster: &Cluster, policy_namespace: &str, peer: &NetworkPolicyPeer) -> bool {
        match (&peer.ip_block, &peer.namespace_selector, &peer.pod_selector) {
            (Some(block), None, None) => cidr::holds(block, self.address),
            (Some(_), ..) | (None, None, None) => false,
            (None, namespaces, pods) => {
                let End::Pod(pod) = self.peer else { return false };
                let unlabelled = Labels::new();
                let in_namespace = match namespaces {
                    None => pod.namespace == policy_namespace,
                    Some(selector) => selects(selector, cluster.namespaces.get(&pod.namespace).unwrap_or(&unlabelled)),
                };
                in_namespace && pods.as_ref().is_none_or(|selector| selects(selector, &pod.labels))
            }
        }
    }
}

/// A rule, whatever its direction. No peers means all peers, no ports all ports.
struct Rule<'p> {
    peers: &'p [NetworkPolicyPeer],
    ports: &'p [NetworkPolicyPort],
}

/// Whether a policy is about a direction. Where `policyTypes` is missing or empty, it is about ingress, and about egress
/// too if it has an egress rule (`SetDefaults_NetworkPolicy` of Kubernetes: an empty list of rules is none).
fn is_about(spec: Option<&NetworkPolicySpec>, direction: Direction) -> bool {
    let types = spec.and_then(|spec| spec.policy_types.as_deref()).unwrap_or_default();
    match direction {
        Direction::Ingress => types.is_empty() || types.iter().any(|name| name == "Ingress"),
        Direction::Egress if types.is_empty() => {
            spec.and_then(|spec| spec.egress.as_ref()).is_some_and(|rules| !rules.is_empty())
        }
        Direction::Egress => types.iter().any(|name| name == "Egress"),
    }
}

fn namespace(policy: &NetworkPolicy) -> &str {
    policy.metadata.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE)
}

fn full_name(policy: &NetworkPolicy) -> String {
    format!("{}/{}", namespace(policy), policy.metadata.name.as_deref().unwrap_or_default())
}
