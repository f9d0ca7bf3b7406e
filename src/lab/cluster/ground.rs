//! What the two Kubernetes backends do differently: how a node is entered, where the metadata server is, what is removed
//! in the end.

use std::{
    any::Any,
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use async_trait::async_trait;

use super::shell::Place;
use crate::{
    lab::{LabError, World, WorldMetadata, WorldOutside},
    scenario::{Cloud, MetadataServerSpec, NodeName, OutsideSpec},
};

/// The ground that a cluster's lab stands on.
#[async_trait]
pub(crate) trait Ground: Send + Sync {
    /// The backend's name, as `--backend` takes it.
    fn backend(&self) -> &'static str;

    /// A node as a place for shells, where it can be entered.
    fn node(&self, node: NodeName) -> Option<Arc<dyn Place>>;

    /// The metadata server that a stage asks for, where the ground has a place for one.
    async fn metadata(&self, cloud: Cloud, spec: &MetadataServerSpec) -> Result<Option<MetadataLease>, LabError> {
        let _ = (cloud, spec);
        Ok(None)
    }

    /// Told each time that the pods of a stage run.
    async fn pods_run(&self) -> Result<(), LabError> {
        Ok(())
    }

    /// Hosts outside the cluster, where the ground has a place for some.
    fn hosts(&self) -> Option<&dyn Hosts>;

    /// What could help to understand a failure.
    async fn diagnose(&self) -> String;

    /// Removes what the ground made.
    async fn teardown(&self) -> Vec<LabError>;
}

/// A metadata server that a stage has until this is dropped. Its addresses are there once for all lanes: stages that ask
/// for another server wait as long.
pub(crate) struct MetadataLease {
    /// The server, as the stage sees it.
    pub(crate) world: WorldMetadata,
    /// Where each server that it consists of says which nonces it has seen: the URL, and a node that gets there.
    pub(crate) controls: Vec<(NodeName, String)>,
    /// What others wait for.
    pub(crate) _turn: Box<dyn Any + Send + Sync>,
}

/// The agent's file in the image that is made of nothing else.
pub(crate) const IMAGE_AGENT: &str = "/agent";

/// Hosts outside the cluster. They are there until the ground is removed.
#[async_trait]
pub(crate) trait Hosts: Send + Sync {
    /// Sees to it that these hosts serve, and that the nodes have a way to each of them.
    async fn make(&self, wanted: &[OutsideSpec]) -> Result<Vec<WorldOutside>, LabError>;

    /// Gives the hosts a way to each of these pods by an address of its node.
    async fn lead(&self, pods: &BTreeMap<IpAddr, IpAddr>) -> Result<(), LabError>;

    /// Where all of them are. The agent is at [`IMAGE_AGENT`]; there is nothing else.
    fn place(&self) -> Arc<dyn Place>;

    /// How a person gets a command into that place.
    fn by_hand(&self) -> String;

    /// Where the servers of a host say which nonces they have seen, as an agent in that place finds them.
    async fn controls(&self, address: IpAddr) -> Vec<SocketAddr>;
}

/// The way to each pod with a network of its own: by the address of its node, which comes first of its family.
pub(super) fn ways(world: &World) -> BTreeMap<IpAddr, IpAddr> {
    let mut ways = BTreeMap::new();
    for pod in world.pods.iter().filter(|pod| !pod.spec.host_network) {
        let node = world.nodes.iter().find(|node| node.name == pod.spec.node);
        let by = |pod: &IpAddr| node?.addresses.iter().find(|by| by.is_ipv4() == pod.is_ipv4()).copied();
        ways.extend(pod.addresses.iter().filter_map(|pod| Some((*pod, by(pod)?))));
    }
    ways
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::engine::plan;

    #[test]
    fn a_pod_is_reached_by_its_own_node_over_each_family_and_one_in_its_nodes_network_by_no_route() {
        let lab = json!({"pods": [{"name": "a", "node": "master"}, {"name": "b"}, {"name": "c", "hostNetwork": true}]});
        let world = serde_json::from_value(lab).map(|lab| plan::world(&lab)).unwrap_or_default();
        let expected = [(&world.pods[0], &world.nodes[0]), (&world.pods[1], &world.nodes[1])]
            .into_iter()
            .flat_map(|(pod, node)| pod.addresses.iter().copied().zip(node.addresses.iter().copied()));
        assert_eq!(ways(&world), expected.collect());
    }
}
