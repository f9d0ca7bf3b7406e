//! Faults about whole policies: which count, in which direction, for whom.

use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicySpec};

use super::{super::Cluster, Mutant, selectors::is_empty};

/// Writes out what each policy is about, rightly unless that is the fault.
pub(super) fn misread_types(mutant: Mutant, cluster: &mut Cluster) {
    for spec in cluster.policies.iter_mut().filter_map(|policy| policy.spec.as_mut()) {
        let absent = spec.policy_types.as_ref().is_none_or(Vec::is_empty);
        let has_egress = spec.egress.as_ref().is_some_and(|rules| !rules.is_empty());
        let read = match mutant {
            Mutant::AbsentTypesAreIngress if absent => vec!["Ingress"],
            Mutant::AbsentTypesAreBoth if absent => vec!["Ingress", "Egress"],
            _ if !absent && mutant != Mutant::IgnoresTypes => continue,
            _ if has_egress => vec!["Ingress", "Egress"],
            _ => vec!["Ingress"],
        };
        spec.policy_types = Some(read.into_iter().map(str::to_owned).collect());
    }
}

pub(super) fn misread(mutant: Mutant, cluster: &mut Cluster) {
    match mutant {
        Mutant::IgnoresEgress => without_type(cluster, "Egress"),
        Mutant::IgnoresIngress => without_type(cluster, "Ingress"),
        Mutant::EmptyTargetIsNobody => cluster.policies.retain(|policy| {
            policy.spec.as_ref().and_then(|spec| spec.pod_selector.as_ref()).is_some_and(|it| !is_empty(it))
        }),
        Mutant::PolicyInEveryNamespace => in_every_namespace(cluster),
        Mutant::DenyAllWins => deny_all_wins(&mut cluster.policies),
        _ => {}
    }
}

/// A policy about nothing else is no policy any more.
fn without_type(cluster: &mut Cluster, unread: &str) {
    cluster.policies.retain_mut(|policy| {
        let types = policy.spec.as_mut().and_then(|spec| spec.policy_types.as_mut());
        types.is_some_and(|types| {
            types.retain(|name| name != unread);
            !types.is_empty()
        })
    });
}

fn in_every_namespace(cluster: &mut Cluster) {
    let everywhere = |policy: &NetworkPolicy| {
        let mut policy = policy.clone();
        cluster
            .namespaces
            .keys()
            .map(|namespace| {
                policy.metadata.namespace = Some(namespace.clone());
                policy.clone()
            })
            .collect::<Vec<_>>()
    };
    cluster.policies = cluster.policies.iter().flat_map(everywhere).collect();
}

fn deny_all_wins(policies: &mut [NetworkPolicy]) {
    let denies = |spec: &NetworkPolicySpec, way: &str, rules: usize| {
        let about = spec.policy_types.iter().flatten().any(|name| name == way);
        about && rules == 0 && spec.pod_selector.as_ref().is_none_or(is_empty)
    };
    let namespaces = |way: &str, rules: fn(&NetworkPolicySpec) -> usize| -> Vec<Option<String>> {
        let all =
            policies.iter().filter(|policy| policy.spec.as_ref().is_some_and(|spec| denies(spec, way, rules(spec))));
        all.map(|policy| policy.metadata.namespace.clone()).collect()
    };
    let ingress = namespaces("Ingress", |spec| spec.ingress.as_ref().map_or(0, Vec::len));
    let egress = namespaces("Egress", |spec| spec.egress.as_ref().map_or(0, Vec::len));
    for policy in policies {
        let Some(spec) = &mut policy.spec else { continue };
        if ingress.contains(&policy.metadata.namespace) {
            spec.ingress = None;
        }
        if egress.contains(&policy.metadata.namespace) {
            spec.egress = None;
        }
    }
}
