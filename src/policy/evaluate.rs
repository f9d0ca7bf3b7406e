//! The simulator: both directions together, the exceptions that the documentation makes, and what it leaves open.
//!
//! Where the documentation leaves a choice, every reading of it is judged. If all agree, that is the answer; only
//! if they differ it is [`Decision::Undefined`].

use super::{
    Cluster, Decision, DirectionReason, End, Flow, Pod, Reason,
    isolation::{Direction, Question},
};

/// The page whose sections the reasons cite.
macro_rules! page {
    ($section:literal) => {
        concat!("https://kubernetes.io/docs/concepts/services-networking/network-policies/#", $section)
    };
}

const HOST_NETWORK: Opening = Opening {
    reason: "NetworkPolicy behaviour for hostNetwork pods is undefined: a network plugin may treat such a pod as a pod, \
             or its traffic as the node's",
    documentation: page!("networkpolicy-and-hostnetwork-pods"),
};
const SERVICE_ADDRESS: Opening = Opening {
    reason: "it is not defined whether an ipBlock is compared with the Service's address or, after its rewriting, with \
             the address of the server behind it",
    documentation: page!("behavior-of-to-and-from-selectors"),
};
const SERVICE_PORT: Opening = Opening {
    reason: "only the Service's own port is allowed, and it is not defined whether ports are compared before they are \
             rewritten to the server's",
    documentation: page!("behavior-of-to-and-from-selectors"),
};
const REWRITTEN_SOURCE: Opening = Opening {
    reason: "it is not defined whether the source address that a policy sees is the client's or, after its rewriting, \
             a node's",
    documentation: page!("behavior-of-to-and-from-selectors"),
};
const HAIRPIN: Opening = Opening {
    reason: "a pod cannot block access to itself, but it is not defined who the source is once the traffic went through \
             a Service",
    documentation: page!("behavior-of-to-and-from-selectors"),
};
const TO_OWN_NODE: Opening = Opening {
    reason: "the documentation calls traffic to the pod's own node always allowed, the API reference says so only of \
             traffic from it, and network plugins differ",
    documentation: page!("what-you-can-t-do-with-network-policies-at-least-not-yet"),
};

/// Something that the API leaves open.
#[derive(Clone, Copy)]
struct Opening {
    reason: &'static str,
    documentation: &'static str,
}

impl From<Opening> for Decision {
    fn from(opening: Opening) -> Self {
        Self::Undefined { reason: opening.reason.to_owned(), documentation: opening.documentation }
    }
}

/// One direction's answer: what decided it, and whether another reading decides otherwise.
struct Side {
    reason: DirectionReason,
    open: Option<Opening>,
}

impl Side {
    fn defined(reason: DirectionReason) -> Self {
        Self { reason, open: None }
    }

    fn open_if(mut self, differs: bool, opening: Opening) -> Self {
        if differs && self.open.is_none() {
            self.open = Some(opening);
        }
        self
    }
}

/// Whether a new connection must pass, must be stopped, or may be either, and why.
///
/// Objects that the API server would refuse never panic: what is bad in them matches nothing.
#[must_use]
pub fn decide(cluster: &Cluster, flow: &Flow<'_>) -> Decision {
    let as_pods = decide_by_kind(cluster, flow);
    if !is_host_network(flow.from) && !is_host_network(flow.to) {
        return as_pods;
    }
    // The documentation names exactly these two possibilities, and calls the second the most common one.
    let as_nodes =
        decide_by_kind(cluster, &Flow { from: on_node(cluster, flow.from), to: on_node(cluster, flow.to), ..*flow });
    match (&as_pods, &as_nodes) {
        (Decision::Allow(_), Decision::Allow(_)) | (Decision::Deny(_), Decision::Deny(_)) => as_nodes,
        _ => HOST_NETWORK.into(),
    }
}

/// Judges a flow whose ends are taken for what they are said to be.
fn decide_by_kind(cluster: &Cluster, flow: &Flow<'_>) -> Decision {
    let mut egress = egress(cluster, flow);
    let mut ingress = ingress(cluster, flow);
    if is_to_itself(flow) {
        for side in [&mut egress, &mut ingress] {
            if flow.service.is_some() {
                side.open = side.open.or_else(|| is_denied(&side.reason).then_some(HAIRPIN));
            } else if is_denied(&side.reason) {
                side.reason = DirectionReason::Itself;
            }
        }
    }
    let sides = [&egress, &ingress];
    // A side that surely stops the flow decides it, whatever is open about the other one.
    let denied = sides.iter().any(|side| side.open.is_none() && is_denied(&side.reason));
    if let Some(opening) = sides.iter().find_map(|side| side.open).filter(|_| !denied) {
        return opening.into();
    }
    let reason = Reason { egress: egress.reason, ingress: ingress.reason };
    if denied { Decision::Deny(reason) } else { Decision::Allow(reason) }
}

fn egress(cluster: &Cluster, flow: &Flow<'_>) -> Side {
    let End::Pod(subject) = flow.from else { return Side::defined(DirectionReason::NotAPod) };
    let ask = |address, port| {
        Question {
            direction: Direction::Egress,
            subject,
            peer: flow.to,
            address,
            destination: pod_of(flow.to),
            port,
            protocol: flow.protocol,
        }
        .answer(cluster)
    };
    let reason = ask(flow.to_address, flow.port);
    let denied = is_denied(&reason);
    let mut side = Side::defined(reason);
    if let Some(service) = flow.service {
        let before = ask(service.address, flow.port);
        let by_port = [flow.to_address, service.address].map(|address| ask(address, service.port));
        side = side
            .open_if(is_denied(&before) != denied, SERVICE_ADDRESS)
            .open_if(denied && by_port.iter().any(|reason| !is_denied(reason)), SERVICE_PORT);
    }
    let own_node = matches!(flow.to, End::Node(node) if node.name == subject.node);
    side.open_if(denied && own_node, TO_OWN_NODE)
}

fn ingress(cluster: &Cluster, flow: &Flow<'_>) -> Side {
    let End::Pod(subject) = flow.to else { return Side::defined(DirectionReason::NotAPod) };
    let ask = |peer, address| {
        let reason = Question {
            direction: Direction::Ingress,
            subject,
            peer,
            address,
            destination: Some(subject),
            port: flow.port,
            protocol: flow.protocol,
        }
        .answer(cluster);
        let own_node = matches!(peer, End::Node(node) if node.name == subject.node);
        if own_node && is_denied(&reason) { DirectionReason::OwnNode } else { reason }
    };
    let reason = ask(flow.from, flow.from_address);
    let denied = is_denied(&reason);
    let side = Side::defined(reason);
    if flow.service.is_none() || flow.from != End::Outside {
        return side;
    }
    let seen_otherwise = cluster
        .nodes
        .iter()
        .flat_map(|node| node.addresses.iter().map(move |address| (node, *address)))
        .filter(|(_, address)| address.is_ipv4() == flow.from_address.is_ipv4())
        .any(|(node, address)| is_denied(&ask(End::Node(node), address)) != denied);
    side.open_if(seen_otherwise, REWRITTEN_SOURCE)
}

fn is_denied(reason: &DirectionReason) -> bool {
    matches!(reason, DirectionReason::IsolatedBy(_))
}

fn pod_of(end: End<'_>) -> Option<&Pod> {
    match end {
        End::Pod(pod) => Some(pod),
        End::Node(_) | End::Outside => None,
    }
}

fn is_to_itself(flow: &Flow<'_>) -> bool {
    matches!((flow.from, flow.to), (End::Pod(from), End::Pod(to)) if from.namespace == to.namespace && from.name == to.name)
}

fn is_host_network(end: End<'_>) -> bool {
    pod_of(end).is_some_and(|pod| pod.host_network)
}

/// A hostNetwork pod as its node; any other end as it is.
fn on_node<'a>(cluster: &'a Cluster, end: End<'a>) -> End<'a> {
    match end {
        End::Pod(pod) if pod.host_network => {
            cluster.nodes.iter().find(|node| node.name == pod.node).map_or(End::Outside, End::Node)
        }
        other => other,
    }
}
