//! What the enforcer knows of the cluster: what a CNI's agent would learn from the API server.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::api::networking::v1::NetworkPolicy;

use crate::scenario::{Labels, NodeName, PortSpec};

/// Namespaces, pods and policies.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// Labels by namespace.
    pub namespaces: BTreeMap<String, Labels>,
    /// The pods, those of the system among them.
    pub pods: Vec<Pod>,
    /// The policies.
    pub policies: Vec<NetworkPolicy>,
}

/// A pod.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its ports, which policies may name.
    pub ports: Vec<PortSpec>,
    /// The node that it is on, where its traffic is judged.
    pub node: NodeName,
}
