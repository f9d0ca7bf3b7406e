//! The traits that a backend implements, and what passes through them. The engine knows nothing else of a backend.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::{sync::mpsc::UnboundedSender, time::Instant};
use tokio_util::sync::CancellationToken;

use super::LabError;
use crate::{
    node::diff::Change,
    probe::{Means, Proof, Session},
    scenario::{Cloud, LabSpec, LabelAction, Labels, Manifest, Need, NodeName, PodSpec, Topology},
};

/// A backend that is up. Cases that run side by side share it.
#[async_trait]
pub trait Lab: Send + Sync {
    /// The backend's name, as `--backend` takes it.
    fn backend(&self) -> &'static str;

    /// What it can do.
    fn capabilities(&self) -> &Capabilities;

    /// Makes what a scenario's `lab` section asks for, ready to be probed. Stages of different lanes (0 is the usual one)
    /// may be open at the same time without waiting for one another, whatever their namespaces are called. A stage whose section is equal to that of an
    /// open, unused stage may be given out again, cleaned.
    async fn stage(&self, spec: &LabSpec, lane: u32, cancel: &CancellationToken) -> Result<Arc<dyn Stage>, LabError>;

    /// What could help to understand a failure: states and logs, in the backend's own words. Never fails.
    async fn diagnose(&self) -> String;

    /// Ends everything that the lab made. Every error is collected, none stops it.
    async fn teardown(&self) -> Vec<LabError>;
}

/// The pods and servers of one scenario, live.
#[async_trait]
pub trait Stage: Send + Sync {
    /// How things are now: addresses change when pods are recreated, labels when they are relabelled.
    fn world(&self) -> Arc<World>;

    /// Applies one document, as it stands but for the namespace's literal name.
    async fn apply(&self, manifest: &Manifest) -> Result<(), LabError>;

    /// Deletes the object of one document.
    async fn delete(&self, manifest: &Manifest) -> Result<(), LabError>;

    /// Changes labels of a pod or a namespace.
    async fn label(&self, action: &LabelAction) -> Result<(), LabError>;

    /// Creates a pod and waits until it serves.
    async fn create(&self, pod: &PodSpec) -> Result<(), LabError>;

    /// Creates a pod of which it matters what happens before it serves. It runs the script, if there is one, before anything
    /// else of it, with a shell and `curl`: what that wrote is returned once the pod serves. Its addresses are told when they
    /// are known, where that is before.
    async fn create_told(
        &self,
        pod: &PodSpec,
        script: Option<&str>,
        told: UnboundedSender<Vec<IpAddr>>,
    ) -> Result<Vec<String>, LabError> {
        let _ = (script, told);
        Err(anyhow::anyhow!("the lab cannot say what the pod `{}` does at first", pod.name).into())
    }

    /// Deletes a pod and creates it again.
    async fn recreate(&self, namespace: &str, pod: &str) -> Result<(), LabError>;

    /// Restarts a pod's container in place.
    async fn restart(&self, namespace: &str, pod: &str) -> Result<(), LabError>;

    /// Changes a Node by a merge patch and takes that back; what a watch reports of the node meanwhile, in order.
    async fn drift(
        &self,
        node: NodeName,
        patch: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<Vec<Change>, LabError> {
        let _ = patch;
        Err(anyhow::anyhow!("the lab has no object for the node `{}`", node.as_str()).into())
    }

    /// Opens a session in a source.
    async fn open(&self, source: &Source) -> Result<Box<dyn Session>, LabError>;

    /// Opens a session that makes requests without a process each, where the lab has such; `prefer` says what makes those
    /// that either can. Requests over UDP only such a session can make.
    async fn open_fast(&self, source: &Source, prefer: Means) -> Result<Box<dyn Session>, LabError> {
        let _ = prefer;
        self.open(source).await
    }

    /// Which of these nonces have reached a server, by its own log.
    async fn seen(&self, server: &ServerId, nonces: &BTreeSet<String>) -> Result<BTreeSet<String>, LabError>;

    /// Waits until the cluster's DNS answers; how long that took.
    async fn dns_ready(&self) -> Result<Duration, LabError>;

    /// Removes every policy that was applied, and restores labels and pods to the scenario's start.
    async fn reset(&self) -> Result<(), LabError>;

    /// What its pods are on: where the next stage of the lane is on the same, pods of the same name and address are the very
    /// same pods. None where every stage has its own.
    fn ground(&self) -> Option<u64> {
        None
    }

    /// What has happened since then for which policies may not be as they were applied, and which is not the CNI's fault.
    fn disturbed(&self, _since: Instant) -> Option<String> {
        None
    }
}

/// What a lab can do, and facts about it for the report.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Capabilities {
    /// The needs that it fulfils.
    pub has: BTreeSet<Need>,
    /// Why a need is not fulfilled here, where there is more to say than that it is not.
    pub why_not: BTreeMap<Need, String>,
    /// For the report: CNI, Kubernetes version, kernel, `server: netexec`, and the like.
    pub facts: BTreeMap<String, String>,
    /// How long a policy may take to have its effect before that is a failure.
    #[serde(skip)]
    pub converge_limit: Duration,
}

/// Where a probe starts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub enum Source {
    /// A pod, by logical namespace and name.
    Pod(String, String),
    /// A node.
    Node(NodeName),
    /// A host outside the cluster.
    Outside(String),
}

/// Who answers a probe.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub enum ServerId {
    /// A pod, by logical namespace and name.
    Pod(String, String),
    /// A node's own server.
    Node(NodeName),
    /// A host outside the cluster.
    Outside(String),
    /// The metadata server.
    Metadata,
    /// The cluster's DNS.
    Dns,
    /// The API server.
    Apiserver,
    /// A node's kubelet.
    Kubelet(NodeName),
}

/// The names, labels and addresses of a stage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct World {
    /// Namespaces by logical name.
    pub namespaces: BTreeMap<String, WorldNamespace>,
    /// The pods of the scenario, in its order, created ones after them.
    pub pods: Vec<WorldPod>,
    /// The two nodes.
    pub nodes: Vec<WorldNode>,
    /// Hosts outside the cluster.
    pub outside: Vec<WorldOutside>,
    /// The metadata server.
    pub metadata: Option<WorldMetadata>,
    /// The address of the API server's Service, and its port.
    pub apiserver: Option<(IpAddr, u16)>,
    /// Pods that are not the scenario's and that its policies may name, such as the DNS server.
    pub others: Vec<WorldPod>,
}

impl World {
    /// A pod of the scenario, by its logical namespace and its name.
    #[must_use]
    pub fn pod(&self, namespace: &str, name: &str) -> Option<&WorldPod> {
        self.pods.iter().find(|pod| pod.spec.namespace == namespace && pod.spec.name == name)
    }

    /// A node.
    #[must_use]
    pub fn node(&self, name: NodeName) -> Option<&WorldNode> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// A host outside the cluster.
    #[must_use]
    pub fn outside_host(&self, name: &str) -> Option<&WorldOutside> {
        self.outside.iter().find(|host| host.name == name)
    }

    /// Whether what a source sends may come from this address; where its addresses are not known, it may.
    #[must_use]
    pub fn may_come_from(&self, source: &Source, address: IpAddr) -> bool {
        let Source::Pod(namespace, name) = source else { return true };
        self.pod(namespace, name)
            .is_none_or(|pod| pod.spec.host_network || pod.addresses.is_empty() || pod.addresses.contains(&address))
    }
}

/// A namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct WorldNamespace {
    /// Its name in the cluster.
    pub literal: String,
    /// All its labels, `kubernetes.io/metadata.name` (literal) among them.
    pub labels: Labels,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct WorldPod {
    /// As the scenario describes it, with the labels as they are now and the logical namespace.
    pub spec: PodSpec,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The identity that its server answers with.
    pub identity: String,
    /// How its server proves that identity.
    #[serde(default)]
    pub proof: Proof,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct WorldNode {
    /// Its role.
    pub name: NodeName,
    /// Its name in the cluster.
    pub literal: String,
    /// Its addresses, those on bridges and tunnels towards the pods included.
    pub addresses: Vec<IpAddr>,
    /// The identity and port of a server on it, where the lab has one.
    pub server: Option<(String, u16)>,
}

/// A host outside the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct WorldOutside {
    /// The scenario's name for it.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// The identity that its server answers with.
    pub identity: String,
}

impl WorldMetadata {
    /// The identity of the server that a source on this node gets to; a pod with a network of its own or not.
    #[must_use]
    pub fn identity_for(&self, node: NodeName, is_own_network: bool) -> String {
        match self.topology {
            Topology::OnNode => format!("{}/{}", self.identity, node.as_str()),
            // A node's own traffic does not pass the rule.
            Topology::Dnat if is_own_network => format!("{}/{}", self.identity, node.as_str()),
            Topology::Routed | Topology::Dnat => self.identity.clone(),
        }
    }
}

/// The metadata server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct WorldMetadata {
    /// Whose server it is.
    pub cloud: Cloud,
    /// Its addresses, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// The identity that it answers with.
    pub identity: String,
    /// Where it is. On a node, or behind a node's rule, each node has its own, whose identity ends in the node's name.
    #[serde(default)]
    pub topology: Topology,
}
