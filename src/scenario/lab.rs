//! What a scenario's lab has, as types: namespaces, pods with their ports, hosts outside, Services, the metadata server.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Labels, metadata::MetadataServerSpec};
use crate::metadata::Cloud;

/// What the lab has while the scenario runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LabSpec {
    /// The cloud whose metadata server is emulated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Cloud>,
    /// How that server is set up, and where it is.
    #[serde(default, rename = "metadataServer", skip_serializing_if = "MetadataServerSpec::is_usual")]
    pub metadata_server: MetadataServerSpec,
    /// Namespaces by logical name. On a cluster that the run did not make they are renamed. `default` is always there.
    #[serde(default)]
    pub namespaces: BTreeMap<String, NamespaceSpec>,
    /// The pods.
    #[serde(default)]
    pub pods: Vec<PodSpec>,
    /// Hosts outside the cluster, by name.
    #[serde(default)]
    pub outside: Vec<OutsideSpec>,
    /// Services in front of the pods.
    #[serde(default)]
    pub services: Vec<ServiceSpec>,
}

/// A namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamespaceSpec {
    /// Labels beside `kubernetes.io/metadata.name`, which is always set.
    #[serde(default)]
    pub labels: Labels,
}

/// A pod: it serves on its ports, and probes start in it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PodSpec {
    /// The pod's name.
    pub name: String,
    /// Its namespace's logical name.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// Its labels.
    #[serde(default)]
    pub labels: Labels,
    /// The node that it runs on.
    #[serde(default)]
    pub node: NodeName,
    /// The ports that it serves on; port 80 over TCP where nothing is said.
    #[serde(default = "default_ports")]
    pub ports: Vec<PortSpec>,
    /// A TCP port of its own at which it passes connections on to the metadata server, as a proxy that others share does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub relay: Option<u16>,
    /// Whether it lives in the node's own network namespace.
    #[serde(default, rename = "hostNetwork")]
    pub host_network: bool,
    /// What makes it, and makes it again when it is gone: a pod of its own where nothing is said. Some CNIs enforce
    /// nothing on pods that nobody owns. A lab without an API server has no owners, and makes the pod itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// The service account that it runs as, which is made where there is none. Its token is mounted; where nothing is
    /// said, no token is.
    #[serde(default, rename = "serviceAccount", skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
}

/// What owns a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// A Deployment of one replica, with the pod's name; the pod's own name is generated. Its labels are changed on the
    /// pod and not in the Deployment's template, which its successors have theirs from.
    Deployment,
}

/// A node's role: the lab has one of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NodeName {
    /// The control plane's node.
    Master,
    /// The other node.
    #[default]
    Worker,
}

impl NodeName {
    /// Both nodes, in the order of reports.
    pub const ALL: [Self; 2] = [Self::Master, Self::Worker];

    /// The name as files write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Worker => "worker",
        }
    }
}

/// A port that a pod serves on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PortSpec {
    /// The container port's name, for policies that name ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The number.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// The protocol.
    #[serde(default)]
    pub protocol: Protocol,
}

/// A transport protocol, spelt as Kubernetes does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// An address family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    #[default]
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// A host outside the cluster: it serves, and probes may start from it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutsideSpec {
    /// The name that steps refer to (`outside/NAME` as a source).
    pub name: String,
    /// Its address; the lab chooses one where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<std::net::IpAddr>,
    /// The ports that it serves on; port 80 over TCP where nothing is said.
    #[serde(default = "default_ports")]
    pub ports: Vec<PortSpec>,
}

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceSpec {
    /// The Service's name.
    pub name: String,
    /// Its namespace's logical name.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// The labels of the pods behind it.
    pub selector: Labels,
    /// The Service's port.
    pub port: u16,
    /// The pods' port, where it differs.
    #[serde(default, rename = "targetPort", skip_serializing_if = "Option::is_none")]
    pub target_port: Option<u16>,
    /// The protocol.
    #[serde(default)]
    pub protocol: Protocol,
}

/// The namespace of whatever names none.
pub const DEFAULT_NAMESPACE: &str = "default";

fn default_namespace() -> String {
    DEFAULT_NAMESPACE.to_owned()
}

fn default_ports() -> Vec<PortSpec> {
    vec![PortSpec { name: None, port: 80, protocol: Protocol::Tcp }]
}
