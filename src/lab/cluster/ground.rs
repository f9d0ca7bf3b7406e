//! What the two Kubernetes backends do differently: how a node is entered, where the metadata server is, what is removed
//! in the end.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use async_trait::async_trait;

use super::shell::Place;
use crate::{
    lab::{LabError, WorldMetadata, WorldOutside},
    scenario::{NodeName, OutsideSpec},
};

/// The ground that a cluster's lab stands on.
#[async_trait]
pub(crate) trait Ground: Send + Sync {
    /// The backend's name, as `--backend` takes it.
    fn backend(&self) -> &'static str;

    /// A node as a place for shells, where it can be entered.
    fn node(&self, node: NodeName) -> Option<Arc<dyn Place>>;

    /// The metadata server, and the URL of its control endpoint as the nodes see it.
    fn metadata(&self) -> Option<(WorldMetadata, String)>;

    /// Hosts outside the cluster, where the ground has a place for some.
    fn hosts(&self) -> Option<&dyn Hosts>;

    /// What could help to understand a failure.
    async fn diagnose(&self) -> String;

    /// Removes what the ground made.
    async fn teardown(&self) -> Vec<LabError>;
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
