//! What a scenario file says, as types: the scenario as a whole. Its lab is in `lab`, its steps are in `step`. Loading,
//! positions and lint are elsewhere; nothing here does I/O.
//!
//! The JSON Schema is generated from these types, so every field is documented for the person who writes a file.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LabSpec, NodeName, Step};

/// Labels of a pod or a namespace.
pub type Labels = BTreeMap<String, String>;

/// One scenario: a lab, and steps that change it and say who must reach what.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Stable name: reports, profiles and test names refer to it. Lower-case letters, digits and dashes.
    #[schemars(regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub id: String,
    /// One sentence: what is proved.
    pub title: String,
    /// Whether a deviation is a failure.
    #[serde(default)]
    pub tier: Tier,
    /// Words to select by: `policyprobe run TAG`, for shipped scenarios.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The sentence of the documentation that is tested, word for word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub says: Option<String>,
    /// Where the rule under test is written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cites: Option<String>,
    /// What the lab must be able to do beyond what the steps already say. Missing: the scenario is skipped.
    #[serde(default)]
    pub needs: Vec<Need>,
    /// The pods, namespaces and servers.
    #[serde(default)]
    pub lab: LabSpec,
    /// Addresses in `ipBlock`s that stand for those of pods, nodes and outside hosts, which only the run knows. Take them
    /// from the ranges for documentation (192.0.2.0/24, 198.51.100.0/24, `2001:db8::/32`); the length of the block stays.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub addresses: BTreeMap<std::net::IpAddr, AddressOf>,
    /// What happens, in order. The first step without an action is the baseline.
    #[schemars(length(min = 1))]
    pub steps: Vec<Step>,
}

/// How binding the rule under test is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// The API demands it: a deviation is a failure.
    #[default]
    Required,
    /// The API leaves it open: recorded, never failed.
    Undefined,
    /// Of interest, outside the API: recorded, never failed.
    Informational,
}

/// Something that a lab may or may not be able to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// An emulated cloud metadata server at its well-known address.
    Metadata,
    /// A cluster DNS that pods ask over the network.
    Dns,
    /// A Kubernetes API server.
    Apiserver,
    /// Pods and nodes with IPv6 addresses.
    Ipv6,
    /// UDP probes.
    Udp,
    /// SCTP probes.
    Sctp,
    /// Services with a cluster IP.
    Services,
    /// Hosts outside the cluster.
    Outside,
    /// A metadata server on the nodes themselves, or one that the nodes' rules lead to.
    NodeMetadata,
    /// A metadata server that is set up as the scenario says, and not only in the usual way.
    MetadataSettings,
    /// Pods that pass connections on.
    Relays,
    /// Pods in the node's network namespace.
    HostNetwork,
    /// A server on the nodes themselves.
    NodeServer,
    /// Probes from inside the nodes.
    NodeSource,
    /// Restarting pods in place, or parts of the CNI.
    Restart,
    /// Disturbing the whole cluster.
    Disruptive,
    /// Kubelets, at their nodes' addresses.
    Kubelet,
    /// The credentials by which the nodes' kubelets ask the API server.
    NodeCredential,
    /// Pods whose first process is one of the harness'.
    FirstPackets,
    /// Connections that stay open over the steps.
    Established,
}

/// Whose address is meant: exactly one of these.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AddressOf {
    /// A pod: `name` or `namespace/name`.
    Pod(String),
    /// A node.
    Node(NodeName),
    /// A host outside the cluster.
    Outside(String),
}
