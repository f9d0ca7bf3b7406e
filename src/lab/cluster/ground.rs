//! What the two Kubernetes backends do differently: how a node is entered, where the metadata server is, what is removed
//! in the end.

use std::sync::Arc;

use async_trait::async_trait;

use super::shell::Place;
use crate::{
    lab::{LabError, WorldMetadata},
    scenario::NodeName,
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

    /// Told each time that the pods of a stage run.
    async fn pods_run(&self) -> Result<(), LabError> {
        Ok(())
    }

    /// What could help to understand a failure.
    async fn diagnose(&self) -> String;

    /// Removes what the ground made.
    async fn teardown(&self) -> Vec<LabError>;
}
