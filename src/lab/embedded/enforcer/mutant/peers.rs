//! Faults about a rule's peers: selectors of pods and namespaces, and address blocks.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::networking::v1::{IPBlock, NetworkPolicyPeer},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};

use super::{
    super::Cluster,
    Mutant,
    rules::{Rule, each, each_list},
    selectors::{self, is_empty},
};

const NAME_LABEL: &str = "kubernetes.io/metadata.name";

pub(super) fn misread(mutant: Mutant, cluster: &mut Cluster) {
    match mutant {
        Mutant::FirstPeerOnly => each(cluster, |mut rule| {
            rule.peers.iter_mut().for_each(|peers| peers.truncate(1));
            Some(rule)
        }),
        Mutant::AndsPeers => each(cluster, |rule| Some(Rule { peers: rule.peers.map(anded), ..rule })),
        Mutant::OrsSelectors => each_peer(cluster, |peer| match (&peer.namespace_selector, &peer.pod_selector) {
            (Some(_), Some(_)) => vec![
                NetworkPolicyPeer { pod_selector: None, ..peer.clone() },
                NetworkPolicyPeer { namespace_selector: None, ..peer },
            ],
            _ => vec![peer],
        }),
        Mutant::EmptyPeerIsNobody => each_peer(cluster, |peer| {
            let nobody = peer.namespace_selector.is_none() && peer.pod_selector.as_ref().is_some_and(is_empty);
            if nobody { Vec::new() } else { vec![peer] }
        }),
        Mutant::EmptyNamespaceSelectorIsOwn => each_peer(cluster, |peer| {
            let own = peer.namespace_selector.as_ref().is_some_and(is_empty);
            vec![if own { in_own_namespace(peer) } else { peer }]
        }),
        Mutant::IgnoresNamespaceSelector => each_peer(cluster, |peer| {
            vec![if peer.namespace_selector.is_some() { in_own_namespace(peer) } else { peer }]
        }),
        Mutant::IgnoresPodSelectorInNamespace => each_peer(cluster, |peer| {
            vec![if peer.namespace_selector.is_some() {
                NetworkPolicyPeer { pod_selector: None, ..peer }
            } else {
                peer
            }]
        }),
        Mutant::PodSelectorInEveryNamespace => each_peer(cluster, |mut peer| {
            if peer.ip_block.is_none() && peer.namespace_selector.is_none() {
                peer.namespace_selector = Some(LabelSelector::default());
            }
            vec![peer]
        }),
        Mutant::NamespaceByName => named_by_every_label(cluster),
        Mutant::NamespaceLabelsUnknown => {
            cluster.namespaces.values_mut().for_each(|labels| labels.retain(|key, _| key == NAME_LABEL));
        }
        _ => blocks(mutant, cluster),
    }
}

fn blocks(mutant: Mutant, cluster: &mut Cluster) {
    match mutant {
        Mutant::DropsRulesWithExcept => each(cluster, |rule| {
            let blocks = rule.peers.iter().flatten().filter_map(|peer| peer.ip_block.as_ref());
            let excepts = blocks.into_iter().any(|block| block.except.as_ref().is_some_and(|it| !it.is_empty()));
            (!excepts).then_some(rule)
        }),
        Mutant::IgnoresExcept => each_block(cluster, |_, block| block.except = None),
        Mutant::FirstExceptOnly => {
            each_block(cluster, |_, block| block.except.iter_mut().for_each(|except| except.truncate(1)));
        }
        Mutant::ExceptDenies => except_denies(cluster),
        Mutant::IpBlockWithoutPods => each_block(cluster, |pods, block| {
            block.except.get_or_insert_default().extend(pods.iter().cloned());
        }),
        Mutant::IpBlockIsOneAddress => each_block(cluster, |_, block| {
            if let Some((address, _)) = block.cidr.split_once('/') {
                let length = if address.contains(':') { 128 } else { 32 };
                block.cidr = format!("{address}/{length}");
            }
        }),
        _ => {}
    }
}

/// Takes the exceptions of a namespace's rules for denials in all of them.
fn except_denies(cluster: &mut Cluster) {
    let mut denied: BTreeMap<(String, bool), Vec<String>> = BTreeMap::new();
    for policy in &cluster.policies {
        let namespace = policy.metadata.namespace.clone().unwrap_or_default();
        let Some(spec) = &policy.spec else { continue };
        let ingress = spec.ingress.iter().flatten().flat_map(|rule| rule.from.iter().flatten());
        let egress = spec.egress.iter().flatten().flat_map(|rule| rule.to.iter().flatten());
        let peers = ingress.map(|peer| (false, peer)).chain(egress.map(|peer| (true, peer)));
        for (is_egress, peer) in peers {
            let excepts = peer.ip_block.iter().flat_map(|block| block.except.iter().flatten());
            denied.entry((namespace.clone(), is_egress)).or_default().extend(excepts.cloned());
        }
    }
    each_list(cluster, |place, mut rules| {
        let excepts = denied.get(&(place.namespace.clone(), place.is_egress)).cloned().unwrap_or_default();
        let peers = rules.iter_mut().flat_map(|rule| rule.peers.iter_mut().flatten());
        for block in peers.filter_map(|peer| peer.ip_block.as_mut()) {
            block.except.get_or_insert_default().extend(excepts.iter().cloned());
        }
        rules
    });
}

/// Changes each peer, into several or none. A rule whose peers are all gone allows nobody.
fn each_peer(cluster: &mut Cluster, change: impl Fn(NetworkPolicyPeer) -> Vec<NetworkPolicyPeer>) {
    each(cluster, |rule| {
        let Some(peers) = rule.peers.filter(|peers| !peers.is_empty()) else {
            return Some(Rule { peers: None, ..rule });
        };
        let peers: Vec<_> = peers.into_iter().flat_map(&change).collect();
        (!peers.is_empty()).then_some(Rule { peers: Some(peers), ports: rule.ports })
    });
}

/// Changes each block, knowing the blocks of the pods.
fn each_block(cluster: &mut Cluster, change: impl Fn(&[String], &mut IPBlock)) {
    let addresses = cluster.pods.iter().flat_map(|pod| &pod.addresses);
    let pods: Vec<String> =
        addresses.map(|address| format!("{address}/{}", if address.is_ipv6() { 128 } else { 32 })).collect();
    each_peer(cluster, |mut peer| {
        peer.ip_block.iter_mut().for_each(|block| change(&pods, block));
        vec![peer]
    });
}

fn in_own_namespace(peer: NetworkPolicyPeer) -> NetworkPolicyPeer {
    let pod_selector = Some(peer.pod_selector.unwrap_or_default());
    NetworkPolicyPeer { pod_selector, namespace_selector: None, ip_block: None }
}

/// One peer with the requirements of all; blocks stay as they are.
fn anded(peers: Vec<NetworkPolicyPeer>) -> Vec<NetworkPolicyPeer> {
    let (blocks, selectors): (Vec<_>, Vec<_>) = peers.into_iter().partition(|peer| peer.ip_block.is_some());
    let all = |of: fn(&NetworkPolicyPeer) -> Option<&LabelSelector>| {
        selectors.iter().filter_map(of).cloned().reduce(|one, other| selectors::both(&one, other))
    };
    let (pods, namespaces) = (all(|peer| peer.pod_selector.as_ref()), all(|peer| peer.namespace_selector.as_ref()));
    let anded = NetworkPolicyPeer { pod_selector: pods, namespace_selector: namespaces, ip_block: None };
    blocks.into_iter().chain((!selectors.is_empty()).then_some(anded)).collect()
}

/// Gives each namespace its name as the value of every label that a selector asks for.
fn named_by_every_label(cluster: &mut Cluster) {
    let mut keys = Vec::new();
    for spec in cluster.policies.iter().filter_map(|policy| policy.spec.as_ref()) {
        let ingress = spec.ingress.iter().flatten().flat_map(|rule| rule.from.iter().flatten());
        let egress = spec.egress.iter().flatten().flat_map(|rule| rule.to.iter().flatten());
        for selector in ingress.chain(egress).filter_map(|peer| peer.namespace_selector.as_ref()) {
            keys.extend(selector.match_labels.iter().flatten().map(|(key, _)| key.clone()));
            keys.extend(selector.match_expressions.iter().flatten().map(|it| it.key.clone()));
        }
    }
    for (name, labels) in &mut cluster.namespaces {
        labels.extend(keys.iter().map(|key| (key.clone(), name.clone())));
    }
}
