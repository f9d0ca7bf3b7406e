//! What a scenario file says, as types. Loading, positions and lint are elsewhere; nothing here does I/O.
//!
//! The JSON Schema is generated from these types, so every field is documented for the person who writes a file.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    control_plane::{ApiserverTarget, DriftSpec, KubeletTarget},
    metadata::{MetadataServerSpec, MetadataTarget, Method},
};
use crate::metadata::Cloud;

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
    /// Words to select by (`policyprobe run TAG`).
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

/// One step: actions, in the order `apply`, `delete`, `label`, `create`, `recreate`, `restart`, and then what must hold.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The step's name in reports.
    pub name: String,
    /// Manifest files to apply, relative to the scenario file; `#NAME` is the object of that name in a document of the
    /// same file.
    #[serde(default)]
    pub apply: Vec<String>,
    /// Manifest files whose objects are deleted.
    #[serde(default)]
    pub delete: Vec<String>,
    /// Labels to set or remove on running pods and on namespaces.
    #[serde(default)]
    pub label: Vec<LabelAction>,
    /// Pods to create.
    #[serde(default)]
    pub create: Vec<PodSpec>,
    /// Pods to delete and create again: same name, new address, and the labels that they have by then. A Deployment's have
    /// those of its template, which are the lab's.
    #[serde(default)]
    pub recreate: Vec<String>,
    /// Pods whose container is restarted in place.
    #[serde(default)]
    pub restart: Vec<String>,
    /// Manifests that the API server must refuse.
    #[serde(default)]
    pub rejected: Vec<RejectedSpec>,
    /// Changes of Nodes that a watch must notice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<DriftSpec>,
    /// Everybody to everybody, once the step has settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matrix: Option<Matrix>,
    /// Who must reach what, once the step has settled.
    #[serde(default)]
    pub expect: Vec<Expect>,
}

/// Everybody to everybody: each pod that has a network of its own asks each other one, at every port that it serves. All
/// of it is allowed, but for what is listed.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Matrix {
    /// Only these pods: `pod`, `namespace/pod`, or `namespace/*` for all of a namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub among: Option<Vec<String>>,
    /// Only what a later step of the scenario asks too: for a baseline that several scenarios share.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub later: bool,
    /// Only these ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<MatrixPort>,
    /// What must not be reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<MatrixRule>,
    /// What must be reached although it is under `deny`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<MatrixRule>,
    /// What is recorded and never failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub record: Vec<MatrixRule>,
}

/// A part of a matrix.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MatrixRule {
    /// The sources; everybody where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Vec<String>>,
    /// The destinations; everybody where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<String>>,
    /// The ports; all where nothing is said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<MatrixPort>,
}

/// A port of a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MatrixPort {
    /// The number.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// The protocol.
    #[serde(default)]
    pub protocol: Protocol,
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

/// Labels to change on one pod or one namespace.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LabelAction {
    /// The pod: `name`, or `namespace/name` where the name alone is ambiguous. Either this or `namespace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The namespace's logical name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Labels to set.
    #[serde(default)]
    pub set: Labels,
    /// Labels to remove, by key.
    #[serde(default)]
    pub remove: Vec<String>,
}

/// A manifest that the API server must refuse.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RejectedSpec {
    /// The manifest file, relative to the scenario file.
    pub file: String,
    /// Words that the refusal must hold.
    pub message: String,
}

/// What must hold for one destination.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// The destination.
    pub to: Destination,
    /// Sources that must reach it: `pod`, `namespace/pod`, `node/master`, `node/worker`, `outside/NAME`.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Sources that must not reach it.
    #[serde(default)]
    pub deny: Vec<String>,
    /// Sources that must reach it and get this HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<StatusExpect>,
    /// Sources whose connection must be made, and get no answer, as with a hop limit: no policy's work.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<String>,
    /// Sources whose connection must be refused, because nothing listens there: no policy's work. It needs no witness,
    /// for a refusal is an answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
    /// Sources whose outcome is recorded and never failed.
    #[serde(default)]
    pub record: Vec<String>,
    /// Whether it is about the first packets of the sources, which are pods that this step creates: before anything else
    /// runs in them they ask over and over. What is denied must never be reached then, not for a moment; what is allowed
    /// must be reached in the end.
    #[serde(default, rename = "firstPackets", skip_serializing_if = "std::ops::Not::not")]
    pub first_packets: bool,
}

/// Sources that must get one HTTP status.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StatusExpect {
    /// The HTTP status code.
    #[schemars(range(min = 100, max = 599))]
    pub code: u16,
    /// The sources.
    pub from: Vec<String>,
}

/// A destination: exactly one of `metadata`, `pod`, `service`, `outside`, `node`, `dns`, `apiserver`, `kubelet`, and how
/// to ask.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Destination {
    /// The cloud's metadata server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<MetadataTarget>,
    /// A pod: `name` or `namespace/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// A Service: `name` or `namespace/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// A host outside the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outside: Option<String>,
    /// A node's own server, at the node's own address: TCP port 9999, in labs that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// A name that the cluster's DNS must resolve (`kubernetes.default`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<String>,
    /// The Kubernetes API server, by its Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apiserver: Option<ApiserverTarget>,
    /// The kubelet of a node, at the node's own address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubelet: Option<KubeletTarget>,
    /// The port; what the target serves on where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// The protocol.
    #[serde(default)]
    pub protocol: Protocol,
    /// The port that the source asks from, which it must not serve on; one of the system's choice where nothing is said.
    #[serde(default, rename = "sourcePort", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub source_port: Option<u16>,
    /// Whether it is asked over one connection, or over UDP from one socket, that stays open over the steps. The first step
    /// that asks so makes it. It is not defined whether a policy that is made later ends it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub established: bool,
    /// The address family.
    #[serde(default)]
    pub family: Family,
    /// The HTTP path, for targets other than `metadata`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The HTTP method.
    #[serde(default, skip_serializing_if = "Method::is_get")]
    pub method: Method,
    /// HTTP headers to send, beside those that the target always gets.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// The namespace of whatever names none.
pub const DEFAULT_NAMESPACE: &str = "default";

fn default_namespace() -> String {
    DEFAULT_NAMESPACE.to_owned()
}

fn default_ports() -> Vec<PortSpec> {
    vec![PortSpec { name: None, port: 80, protocol: Protocol::Tcp }]
}
