//! Which cases should notice a mutant: its rules, worked out on paper for each step of each case. Pure.

use std::net::IpAddr;

use k8s_openapi::api::networking::v1::NetworkPolicy;

use crate::{
    engine::{
        Expectation,
        plan::{self, ClusterState, Connection, NewPod, PlannedCell},
    },
    lab::{
        Source, World,
        embedded::enforcer::{self, Agent, Direction, Mutant, PodRules, PortRange, Quirk, Ruleset},
    },
    policy,
    scenario::{LoadedScenario, NodeName, Protocol, Tier},
};

/// The port that a connection starts from, for whoever judges replies.
const EPHEMERAL: u16 = 40_000;
/// The port of DNS.
const DNS: u16 = 53;

/// A case, reduced to what the enforcer gets to know and to the connections that are tried.
pub struct Forecast {
    steps: Vec<(enforcer::Cluster, Vec<Question>)>,
}

/// Whether a case should notice a mutant; what is noticed for certain, and soon, comes first in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hope {
    /// Nothing is noticed.
    hopeless: bool,
    /// Only allowed traffic is stopped, which is nobody's verdict where no witness is left.
    only_stopped: bool,
    /// How many cells there are until all is said.
    cells: usize,
}

impl Hope {
    /// Whether anything should be noticed.
    pub(super) fn any(self) -> bool {
        !self.hopeless
    }
}

/// A connection and whether it must pass.
struct Question {
    from: IpAddr,
    from_node: Option<NodeName>,
    to: IpAddr,
    to_node: Option<NodeName>,
    protocol: Protocol,
    port: u16,
    from_port: u16,
    /// Whether it is asked over a connection that was there before.
    kept: bool,
    /// Whether it is tried before the enforcer has heard more of the source than that it is there.
    first: bool,
    must_pass: bool,
}

impl Forecast {
    /// Plans a case in a made-up world. A case that cannot be planned has no steps; the run itself will say why.
    #[must_use]
    pub fn new(loaded: &LoadedScenario) -> Self {
        let mut state = ClusterState::new(plan::world(&loaded.scenario.lab));
        let mut steps = Vec::new();
        for (index, step) in loaded.scenario.steps.iter().enumerate() {
            if state.advance(loaded, step).is_err() {
                break;
            }
            let cells = plan::cells(loaded, index, state.world()).unwrap_or_default();
            let judged = cells.iter().filter(|_| loaded.scenario.tier == Tier::Required);
            let questions = judged.filter_map(|cell| question(cell, state.world())).collect();
            steps.push((known(&state.cluster()), questions));
        }
        Self { steps }
    }

    /// Whether this case should notice a mutant.
    #[must_use]
    pub fn notices(&self, mutant: Mutant) -> bool {
        self.hope(Some(mutant)).any()
    }

    /// Whether it would accuse the correct enforcer.
    #[must_use]
    pub fn is_unsound(&self) -> bool {
        self.hope(None).any()
    }

    pub(super) fn hope(&self, mutant: Option<Mutant>) -> Hope {
        let mut agent = Agent::new(mutant);
        let mut hope = Hope { hopeless: true, only_stopped: true, cells: 0 };
        for (cluster, questions) in &self.steps {
            hope.cells += questions.len();
            // The agents of a stage look once when a pod is made, and once more when it serves.
            let minds = mutant == Some(Mutant::LaterPodsLag) || questions.iter().any(|question| question.first);
            for first in if minds { &[true, false][..] } else { &[false] } {
                let Ok(rulesets) = agent.rulesets(cluster) else { continue };
                let asked = questions.iter().filter(|question| question.first == *first);
                for question in asked.filter(|question| passes(&rulesets, question) != question.must_pass) {
                    hope.hopeless = false;
                    hope.only_stopped &= question.must_pass;
                }
            }
        }
        hope
    }
}

/// A cluster as the enforcer knows it.
#[must_use]
pub fn known(cluster: &policy::Cluster) -> enforcer::Cluster {
    // A pod in its node's network is no pod to the embedded enforcer.
    let pods = cluster.pods.iter().filter(|pod| !pod.host_network).map(|pod| enforcer::Pod {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        labels: pod.labels.clone(),
        addresses: pod.addresses.clone(),
        ports: pod.ports.clone(),
        node: pod.node,
    });
    let policies = cluster.policies.iter().map(|policy| NetworkPolicy::clone(policy)).collect();
    enforcer::Cluster { namespaces: cluster.namespaces.clone(), pods: pods.collect(), policies }
}

fn question(cell: &PlannedCell, world: &World) -> Option<Question> {
    // What another pod passes on is two connections, of which this would be the first.
    if cell.via.is_some() {
        return None;
    }
    let must_pass = match cell.expectation {
        Expectation::Reachable | Expectation::Status { .. } | Expectation::Silent | Expectation::Refused => true,
        Expectation::Blocked => false,
        Expectation::Rejected { .. } | Expectation::Noticed { .. } | Expectation::Recorded => return None,
    };
    let pods = || world.pods.iter().chain(&world.others);
    // Names are asked of the cluster's DNS.
    let to = match cell.address {
        Some(address) => address,
        None if cell.by_name => return None,
        None => *world.others.first()?.addresses.first()?,
    };
    let addresses = match &cell.from {
        Source::Pod(namespace, name) => {
            &pods().find(|pod| pod.spec.namespace == *namespace && pod.spec.name == *name)?.addresses
        }
        Source::Node(name) => &world.node(*name)?.addresses,
        Source::Outside(name) => &vec![world.outside_host(name)?.address],
    };
    let from = *addresses.iter().find(|address| address.is_ipv4() == to.is_ipv4())?;
    let node_at =
        |address: IpAddr| world.nodes.iter().find(|node| node.addresses.contains(&address)).map(|node| node.name);
    Some(Question {
        from,
        from_node: node_at(from),
        to,
        to_node: node_at(to),
        protocol: cell.protocol,
        port: cell.server_port,
        from_port: cell.source_port.unwrap_or(EPHEMERAL),
        kept: cell.connection == Connection::Kept,
        // Who is asked serves by then, and is known.
        first: cell.first == Some(NewPod::Asks),
        must_pass,
    })
}

/// What a kernel makes of the rules of both nodes.
fn passes(rulesets: &[Ruleset; 2], question: &Question) -> bool {
    let Question { from, to, protocol, port, from_port, .. } = *question;
    if from == to {
        return true;
    }
    if question.kept && !has(rulesets, |quirk| quirk == Quirk::JudgesReplies) {
        return !has(rulesets, |quirk| matches!(quirk, Quirk::OnlyConnectionsSince(_)));
    }
    let there = judged(rulesets, (from, question.from_node), (to, question.to_node), protocol, (from_port, port));
    // Only the packets of the connection's start are judged, unless that is the fault.
    let back = || judged(rulesets, (to, question.to_node), (from, question.from_node), protocol, (port, from_port));
    there && (!has(rulesets, |quirk| quirk == Quirk::JudgesReplies) || back())
}

/// Whether a packet passes the egress rules of its source and the ingress rules of its destination.
fn judged(
    rulesets: &[Ruleset; 2],
    (from, from_node): (IpAddr, Option<NodeName>),
    (to, to_node): (IpAddr, Option<NodeName>),
    protocol: Protocol,
    (from_port, port): (u16, u16),
) -> bool {
    if protocol == Protocol::Udp && from_port == DNS && has(rulesets, |quirk| quirk == Quirk::TrustsDnsPort) {
        return true;
    }
    let both_ports = has(rulesets, |quirk| quirk == Quirk::ReadsBothPorts);
    let (source, destination) = (place(rulesets, from), place(rulesets, to));
    let open = |direction: &Direction, peer| match direction {
        Direction::Open => true,
        Direction::Isolated(accepts) => accepts.iter().any(|accept| {
            let is_meant = |range: &PortRange| {
                range.contains(protocol, port) || (both_ports && range.contains(protocol, from_port))
            };
            let on_port = accept.ports.as_ref().is_none_or(|all| all.iter().any(is_meant));
            accept.peers.contains(peer) && on_port
        }),
    };
    let egress = source.is_none_or(|(node, _, rules)| to_node == Some(node) || open(&rules.egress, to));
    let ingress = destination.is_none_or(|(node, ruleset, rules)| {
        (from_node == Some(node) && ruleset.quirk != Some(Quirk::JudgesOwnNode)) || open(&rules.ingress, from)
    });
    egress && ingress
}

fn has(rulesets: &[Ruleset; 2], is_meant: impl Fn(Quirk) -> bool) -> bool {
    rulesets.iter().filter_map(|rules| rules.quirk).any(is_meant)
}

/// The pod that an address belongs to.
fn place(rulesets: &[Ruleset; 2], address: IpAddr) -> Option<(NodeName, &Ruleset, &PodRules)> {
    NodeName::ALL.into_iter().zip(rulesets).find_map(|(node, ruleset)| {
        let rules = ruleset.pods.iter().find(|pod| pod.addresses.contains(&address))?;
        Some((node, ruleset, rules))
    })
}
