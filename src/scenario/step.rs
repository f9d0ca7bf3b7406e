//! What a scenario's steps do and expect, as types.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Family, Labels, NodeName, PodSpec, Protocol,
    control_plane::{ApiserverTarget, DriftSpec, KubeletTarget},
    metadata::{MetadataTarget, Method},
};

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
    /// Sources whose connection must be made, and get no answer, as with a hop limit: no policy's work. The request has to
    /// arrive, and a witness to be answered meanwhile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<String>,
    /// Sources whose connection must be refused, because nothing listens there: no policy's work. It needs no witness,
    /// for a refusal is an answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
    /// Sources whose outcome is recorded and never failed.
    #[serde(default)]
    pub record: Vec<String>,
    /// Whether it is about the first packets of pods that this step creates. Where those are the sources, they ask over and
    /// over before anything else runs in them; where that is the destination, the sources ask it over and over from when its
    /// address is known. What is denied must never be reached then, not for a moment; what is allowed must be reached in the
    /// end.
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
