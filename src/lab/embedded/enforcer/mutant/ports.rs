//! Faults about a rule's ports: ranges, protocols, names.

use k8s_openapi::{api::networking::v1::NetworkPolicyPort, apimachinery::pkg::util::intstr::IntOrString};

use super::{
    super::{Cluster, Pod, selector::selects},
    Mutant,
    rules::{Place, Rule, each, each_list},
};
use crate::scenario::{Labels, Protocol};

const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

pub(super) fn misread(mutant: Mutant, cluster: &mut Cluster) {
    match mutant {
        Mutant::FirstPortOnly => each(cluster, |mut rule| {
            rule.ports.iter_mut().for_each(|ports| ports.truncate(1));
            Some(rule)
        }),
        Mutant::IgnoresEndPort => each_port(cluster, |port| vec![NetworkPolicyPort { end_port: None, ..port }]),
        Mutant::EndPortIsSecondPort => each_port(cluster, |port| {
            let last = port.end_port.map(IntOrString::Int);
            let first = NetworkPolicyPort { end_port: None, ..port };
            let second = last.map(|last| NetworkPolicyPort { port: Some(last), ..first.clone() });
            std::iter::once(first).chain(second).collect()
        }),
        Mutant::EndPortExcluded => each_port(cluster, |port| {
            let is_wider = |last: &i32| !matches!(&port.port, Some(IntOrString::Int(first)) if first >= last);
            let end_port = port.end_port.map(|last| if is_wider(&last) { last - 1 } else { last });
            vec![NetworkPolicyPort { end_port, ..port }]
        }),
        Mutant::EndPortTooFar => each_port(cluster, |port| {
            let end_port = port.end_port.map(|last| (last + 1).min(i32::from(u16::MAX)));
            vec![NetworkPolicyPort { end_port, ..port }]
        }),
        Mutant::IgnoresProtocol => each_port(cluster, |port| of_any_protocol(&port)),
        Mutant::ProtocolDefaultsToAny => {
            each_port(cluster, |port| if port.protocol.is_none() { of_any_protocol(&port) } else { vec![port] });
        }
        Mutant::ProtocolWithoutPortIsNothing => {
            each_port(cluster, |port| if port.port.is_none() { Vec::new() } else { vec![port] });
        }
        Mutant::IgnoresNamedPorts => {
            each_port(cluster, |port| if name(&port).is_some() { Vec::new() } else { vec![port] });
        }
        Mutant::NamedPortOfAnyPod => {
            let pods = cluster.pods.clone();
            each_port(cluster, |port| match name(&port) {
                Some(_) => pods.iter().find_map(|pod| numbers(&port, pod).next()).into_iter().collect(),
                None => vec![port],
            });
        }
        Mutant::NamedPortOfSource => {
            let known = cluster.clone();
            each_list(cluster, |place, rules| {
                let at_source = |rule| with_ports(rule, |port, rule| at_source(&known, place, rule, port));
                rules.into_iter().filter_map(at_source).collect()
            });
        }
        _ => {}
    }
}

/// Changes each port, into several or none. A rule whose ports are all gone allows nothing.
fn each_port(cluster: &mut Cluster, change: impl Fn(NetworkPolicyPort) -> Vec<NetworkPolicyPort>) {
    each(cluster, |rule| with_ports(rule, |port, _| change(port)));
}

fn with_ports(rule: Rule, change: impl Fn(NetworkPolicyPort, &Rule) -> Vec<NetworkPolicyPort>) -> Option<Rule> {
    let before = rule.ports.clone().filter(|ports| !ports.is_empty());
    let Some(before) = before else { return Some(rule) };
    let ports: Vec<_> = before.into_iter().flat_map(|port| change(port, &rule)).collect();
    (!ports.is_empty()).then_some(Rule { ports: Some(ports), peers: rule.peers })
}

/// The port for every protocol, also where the compiler takes no name for another one.
fn of_any_protocol(port: &NetworkPolicyPort) -> Vec<NetworkPolicyPort> {
    PROTOCOLS.map(|name| NetworkPolicyPort { protocol: Some(name.to_owned()), ..port.clone() }).to_vec()
}

fn name(port: &NetworkPolicyPort) -> Option<&str> {
    match &port.port {
        Some(IntOrString::String(name)) => Some(name),
        _ => None,
    }
}

/// A named port as the numbers that it has at a pod.
fn numbers<'a>(port: &'a NetworkPolicyPort, pod: &'a Pod) -> impl Iterator<Item = NetworkPolicyPort> + 'a {
    let protocol = match port.protocol.as_deref() {
        None | Some("TCP") => Some(Protocol::Tcp),
        Some("UDP") => Some(Protocol::Udp),
        Some("SCTP") => Some(Protocol::Sctp),
        Some(_) => None,
    };
    let named = pod.ports.iter().filter(move |it| Some(it.protocol) == protocol && it.name.as_deref() == name(port));
    named.map(|it| NetworkPolicyPort { port: Some(IntOrString::Int(it.port.into())), ..port.clone() })
}

/// A named port as the numbers that it has at the ends that may connect.
fn at_source(known: &Cluster, place: &Place, rule: &Rule, port: NetworkPolicyPort) -> Vec<NetworkPolicyPort> {
    if name(&port).is_none() {
        return vec![port];
    }
    let none = Labels::default();
    let connects = |pod: &&Pod| {
        let holds = |selector, labels| selects(selector, labels).unwrap_or(false);
        if place.is_egress {
            return pod.namespace == place.namespace && holds(&place.targets, &pod.labels);
        }
        let namespace = known.namespaces.get(&pod.namespace).unwrap_or(&none);
        rule.peers.as_ref().is_none_or(|peers| {
            peers.is_empty()
                || peers.iter().any(|peer| {
                    let own = pod.namespace == place.namespace;
                    peer.ip_block.is_none()
                        && peer.namespace_selector.as_ref().map_or(own, |selector| holds(selector, namespace))
                        && peer.pod_selector.as_ref().is_none_or(|selector| holds(selector, &pod.labels))
                })
        })
    };
    known.pods.iter().filter(connects).flat_map(|pod| numbers(&port, pod).collect::<Vec<_>>()).collect()
}
