//! The world that the simulator judges, and its answer.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use k8s_openapi::api::networking::v1::NetworkPolicy;

use crate::scenario::{Labels, NodeName, PortSpec, Protocol};

/// Everything that decides a flow. Namespace names are those in the cluster, that is literal.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// Labels by namespace, `kubernetes.io/metadata.name` among them.
    pub namespaces: BTreeMap<String, Labels>,
    /// The pods.
    pub pods: Vec<Pod>,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// The policies.
    pub policies: Vec<Arc<NetworkPolicy>>,
}

/// A pod, as far as policies can see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its ports, for policies that name them.
    pub ports: Vec<PortSpec>,
    /// The node that it is on.
    pub node: NodeName,
    /// Whether it shares its node's network.
    pub host_network: bool,
}

/// A node, as far as policies can see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its role.
    pub name: NodeName,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// One end of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End<'a> {
    /// A pod.
    Pod(&'a Pod),
    /// A node itself.
    Node(&'a Node),
    /// Anything that is neither.
    Outside,
}

/// Traffic to judge: one new connection.
#[derive(Clone, Copy, Debug)]
pub struct Flow<'a> {
    /// Who starts it.
    pub from: End<'a>,
    /// The source address.
    pub from_address: IpAddr,
    /// Who is meant.
    pub to: End<'a>,
    /// The destination address; behind a Service that of the server, not the Service's.
    pub to_address: IpAddr,
    /// The destination port; behind a Service the server's, not the Service's.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// The Service that is addressed, where there is one between the two.
    pub service: Option<ServiceAddress>,
}

/// What a source sees of a Service: its packets are rewritten on their way to `to_address` and `port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceAddress {
    /// The Service's own address.
    pub address: IpAddr,
    /// The Service's own port.
    pub port: u16,
}

/// The simulator's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The flow must pass.
    Allow(Reason),
    /// The flow must be stopped.
    Deny(Reason),
    /// The API leaves it open.
    Undefined {
        /// Why, in a sentence.
        reason: String,
        /// Where the documentation says so.
        documentation: &'static str,
    },
}

/// Why a flow passes or is stopped: what decided each direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// On the source's side.
    pub egress: DirectionReason,
    /// On the destination's side.
    pub ingress: DirectionReason,
}

/// What decided one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirectionReason {
    /// Policies do not apply to that end: it is no pod.
    NotAPod,
    /// No policy selects the pod in this direction.
    NotIsolated,
    /// A rule allows it.
    AllowedBy(RuleRef),
    /// The pod is isolated by these policies, and no rule of theirs allows it.
    IsolatedBy(Vec<String>),
    /// The pod is isolated, but a pod cannot block access to itself.
    Itself,
    /// The pod is isolated, but traffic from the node that it is on is always allowed.
    OwnNode,
}

/// One rule of one policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleRef {
    /// `namespace/name` of the policy.
    pub policy: String,
    /// Where in its spec: `egress[0].to[1]`, `ingress[2]` for a rule without peers.
    pub path: String,
}
