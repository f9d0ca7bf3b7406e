//! Faults about where and how packets are judged: changes of compiled rules.

use std::net::IpAddr;

use super::{
    super::{Accept, Addresses, Cluster, Direction, Peers, PodRules, PortRange, Quirk, Ruleset},
    Memory, Mutant,
};
use crate::scenario::{NodeName, Protocol};

const DNS: u16 = 53;
const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

/// Spoils the rules of a node as a mutant does.
pub(in super::super) fn misjudge(
    mutant: Mutant,
    ruleset: &mut Ruleset,
    node: NodeName,
    real: &Cluster,
    memory: &Memory,
) {
    let here = |is_here: bool| {
        let pods = real.pods.iter().filter(|pod| (pod.node == node) == is_here);
        Peers::Only(addresses(pods.flat_map(|pod| pod.addresses.clone())))
    };
    match mutant {
        Mutant::JudgesReplies => ruleset.quirk = Some(Quirk::JudgesReplies),
        Mutant::JudgesOwnNode => ruleset.quirk = Some(Quirk::JudgesOwnNode),
        Mutant::SourcePortCounts => ruleset.quirk = Some(Quirk::ReadsBothPorts),
        Mutant::FromPort53Open => ruleset.quirk = Some(Quirk::TrustsDnsPort),
        Mutant::EndsConnections => ruleset.quirk = Some(Quirk::OnlyConnectionsSince(memory.looks())),
        Mutant::SameNodeOpen => open_both(ruleset, &here(true), None),
        Mutant::OtherNodeOpen => {
            let (others, ingress) = (here(false), ruleset.pods.iter_mut().map(|pod| &mut pod.ingress));
            ingress.for_each(|direction| open(direction, others.clone(), None));
        }
        Mutant::OutsideOpen => open_both(ruleset, &outside(real), None),
        Mutant::DnsOpen => {
            let port = |protocol| PortRange { protocol, first: DNS, last: DNS };
            open_both(ruleset, &Peers::Any, Some(&[port(Protocol::Tcp), port(Protocol::Udp)]));
        }
        Mutant::UdpOpen => {
            let every = PortRange { protocol: Protocol::Udp, first: 0, last: u16::MAX };
            open_both(ruleset, &Peers::Any, Some(&[every]));
        }
        Mutant::DnsBlocked => {
            for pod in &mut ruleset.pods {
                let Direction::Isolated(accepts) = &mut pod.egress else { continue };
                for accept in accepts {
                    accept.ports = Some(without_dns(accept.ports.take()));
                }
            }
        }
        Mutant::FirstPodOnly => {
            let isolated = ruleset.pods.iter_mut().filter(|pod| is_isolated(pod));
            isolated.skip(1).for_each(release);
        }
        Mutant::LaterPodsOpen | Mutant::LaterPodsLag => {
            let is_meant = |namespace: &str, name: &str| match mutant {
                Mutant::LaterPodsLag => memory.is_new(namespace, name),
                _ => memory.is_later(namespace, name),
            };
            let is_open =
                |pod: &PodRules| pod.pod.split_once('/').is_some_and(|(namespace, name)| is_meant(namespace, name));
            ruleset.pods.iter_mut().filter(|pod| is_open(pod)).for_each(release);
        }
        _ => {}
    }
}

fn is_isolated(pod: &PodRules) -> bool {
    pod.egress != Direction::Open || pod.ingress != Direction::Open
}

fn release(pod: &mut PodRules) {
    pod.egress = Direction::Open;
    pod.ingress = Direction::Open;
}

fn open_both(ruleset: &mut Ruleset, peers: &Peers, ports: Option<&[PortRange]>) {
    for pod in &mut ruleset.pods {
        open(&mut pod.egress, peers.clone(), ports.map(<[PortRange]>::to_vec));
        open(&mut pod.ingress, peers.clone(), ports.map(<[PortRange]>::to_vec));
    }
}

fn open(direction: &mut Direction, peers: Peers, ports: Option<Vec<PortRange>>) {
    if let Direction::Isolated(accepts) = direction {
        accepts.push(Accept { rule: "the mutant's".to_owned(), peers, ports });
    }
}

fn addresses(all: impl Iterator<Item = IpAddr>) -> Addresses {
    let mut set = Addresses::default();
    all.for_each(|address| set.add(address));
    set
}

/// Every address that no pod has.
fn outside(real: &Cluster) -> Peers {
    let pods = real.pods.iter().flat_map(|pod| &pod.addresses);
    let blocks: Vec<String> =
        pods.map(|address| format!("{address}/{}", if address.is_ipv6() { 128 } else { 32 })).collect();
    let mut set = Addresses::default();
    for all in ["0.0.0.0/0", "::/0"] {
        set.add_block(all, &blocks).expect("blocks made of addresses are well-formed");
    }
    Peers::Only(set)
}

/// These ports but the one of DNS; none means all.
fn without_dns(ports: Option<Vec<PortRange>>) -> Vec<PortRange> {
    let every = PROTOCOLS.map(|protocol| PortRange { protocol, first: 0, last: u16::MAX });
    let ports = ports.unwrap_or(every.to_vec()).into_iter();
    ports
        .flat_map(|range| {
            let below = PortRange { last: range.last.min(DNS - 1), ..range };
            let above = PortRange { first: range.first.max(DNS + 1), ..range };
            [below, above]
        })
        .filter(|range| range.first <= range.last)
        .collect()
}
