//! Faults about rules as wholes, and the one shape that rules of both directions have here.

use k8s_openapi::api::networking::v1::{
    NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
};

use super::{super::Cluster, Mutant};

/// A rule, whichever its direction.
#[derive(Clone)]
pub(super) struct Rule {
    pub(super) peers: Option<Vec<NetworkPolicyPeer>>,
    pub(super) ports: Option<Vec<NetworkPolicyPort>>,
}

/// Whose rules, and in which direction.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) namespace: String,
    pub(super) is_egress: bool,
    /// The labels that select the pods that the rules are for.
    pub(super) targets: k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector,
}

/// Changes each direction's list of rules.
pub(super) fn each_list(cluster: &mut Cluster, change: impl Fn(&Place, Vec<Rule>) -> Vec<Rule>) {
    for policy in &mut cluster.policies {
        let namespace = policy.metadata.namespace.clone().unwrap_or_default();
        let Some(spec) = &mut policy.spec else { continue };
        let targets = spec.pod_selector.clone().unwrap_or_default();
        let place = Place { namespace, is_egress: false, targets };
        if let Some(rules) = spec.ingress.take() {
            let rules = rules.into_iter().map(|rule| Rule { peers: rule.from, ports: rule.ports }).collect();
            let changed = change(&place, rules).into_iter();
            spec.ingress =
                Some(changed.map(|rule| NetworkPolicyIngressRule { from: rule.peers, ports: rule.ports }).collect());
        }
        let place = Place { is_egress: true, ..place };
        if let Some(rules) = spec.egress.take() {
            let rules = rules.into_iter().map(|rule| Rule { peers: rule.to, ports: rule.ports }).collect();
            let changed = change(&place, rules).into_iter();
            spec.egress =
                Some(changed.map(|rule| NetworkPolicyEgressRule { to: rule.peers, ports: rule.ports }).collect());
        }
    }
}

/// Changes or drops each rule.
pub(super) fn each(cluster: &mut Cluster, change: impl Fn(Rule) -> Option<Rule>) {
    each_list(cluster, |_, rules| rules.into_iter().filter_map(&change).collect());
}

pub(super) fn misread(mutant: Mutant, cluster: &mut Cluster) {
    match mutant {
        Mutant::FirstRuleOnly => each_list(cluster, |_, rules| rules.into_iter().take(1).collect()),
        Mutant::LastRuleOnly => each_list(cluster, |_, rules| rules.into_iter().next_back().into_iter().collect()),
        Mutant::CrossMultipliesRules => each_list(cluster, |_, rules| cross_multiplied(&rules)),
        Mutant::AbsentPeersAreNobody => each(cluster, |rule| rule.peers.is_some().then_some(rule)),
        Mutant::EmptyPeersAreNobody => {
            each(cluster, |rule| rule.peers.as_ref().is_none_or(|peers| !peers.is_empty()).then_some(rule));
        }
        Mutant::IgnoresPorts => each(cluster, |rule| Some(Rule { ports: None, ..rule })),
        Mutant::IgnoresPortsOfPeers => {
            each(cluster, |rule| Some(if rule.peers.is_some() { Rule { ports: None, ..rule } } else { rule }));
        }
        Mutant::IgnoresPeersOfPorts => {
            each(cluster, |rule| Some(if rule.ports.is_some() { Rule { peers: None, ..rule } } else { rule }));
        }
        _ => {}
    }
}

/// Each rule's peers with each rule's ports.
fn cross_multiplied(rules: &[Rule]) -> Vec<Rule> {
    let pair = |one: &Rule, other: &Rule| Rule { peers: one.peers.clone(), ports: other.ports.clone() };
    rules.iter().flat_map(|one| rules.iter().map(move |other| pair(one, other))).collect()
}
