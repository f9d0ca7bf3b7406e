//! How Kubernetes itself is asked: the API server and the kubelets, with whose credential and about which node.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::NodeName;

/// The Kubernetes API server: asked by nobody in particular, and for its version, where nothing else is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiserverTarget {
    /// Whose credential the request has; none where nothing is said.
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub credential: Option<Credential>,
    /// A Node object, whatever the node is called in the cluster. `path` is then below it, as `/proxy/healthz`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// A change of that Node, as a merge patch. It is sent as a dry run: authorisation and admission decide, and nothing
    /// changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<Map<String, Value>>,
}

/// The kubelet of a node: its authenticated port 10250 over TLS, or its read-only port 10255.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KubeletTarget {
    /// The node.
    pub node: NodeName,
    /// Whose credential the request has; none where nothing is said.
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub credential: Option<Credential>,
    /// Whether the read-only port is meant, which wants no credential and has no TLS.
    #[serde(default, rename = "readOnly", skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
}

/// A change of a Node that a watch of nodes must report: once, and once more when it is taken back, which happens at once.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DriftSpec {
    /// The node.
    pub node: NodeName,
    /// The change, as a merge patch.
    pub patch: Map<String, Value>,
    /// What it must be reported as: fields as in a baseline (`metadata.labels[region]`), with their new values; `null` for
    /// one that goes.
    pub shows: BTreeMap<String, Option<String>>,
}

/// Whose credential a request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Credential {
    /// The token of the pod's service account, as it is mounted in the pod.
    Token,
    /// The certificate of the node's own kubelet.
    Node,
}

impl Credential {
    /// In reports.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Token => "with its token",
            Self::Node => "as the kubelet",
        }
    }
}
