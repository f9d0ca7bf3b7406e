//! The backend `cluster`: a cluster that exists already, in scratch namespaces.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::{
    Access, Age, ClusterLab, Facts, Ground, Hosts, Naming, PROBE_IMAGE, Parts, Place, node_pods, remove_namespace,
};
use crate::{
    engine::Events,
    lab::{Capabilities, Lab, LabBuilder, LabError, state::RunState},
    scenario::{LabSpec, Need, NodeName},
};

/// A lab in scratch namespaces of an existing cluster.
#[derive(Clone, Debug, Default)]
pub struct ClusterBuilder {
    /// The context; the kubeconfig's current one where nothing is said.
    pub context: Option<String>,
    /// The kubeconfig; `KUBECONFIG` or the default file where nothing is said.
    pub kubeconfig: Option<PathBuf>,
    /// The image of the pods, which needs `curl` and `sh`.
    pub probe_image: Option<String>,
}

/// Nodes that are entered by pods, where at all.
struct Borrowed {
    nodes: BTreeMap<NodeName, Arc<dyn Place>>,
}

#[async_trait]
impl Ground for Borrowed {
    fn backend(&self) -> &'static str {
        "cluster"
    }

    fn node(&self, node: NodeName) -> Option<Arc<dyn Place>> {
        self.nodes.get(&node).cloned()
    }

    fn hosts(&self) -> Option<&dyn Hosts> {
        None
    }

    async fn diagnose(&self) -> String {
        String::new()
    }

    async fn teardown(&self) -> Vec<LabError> {
        Vec::new()
    }
}

impl ClusterBuilder {
    async fn make(&self, access: Access, state: Arc<RunState>, events: &Events) -> Result<ClusterLab, LabError> {
        let facts = Facts::read(&access, Age::Grown).await?;
        let naming = Naming::prefixed(state.run());
        let image = self.probe_image.clone().unwrap_or_else(|| PROBE_IMAGE.to_owned());
        let mut capabilities = Capabilities::default();
        capabilities.why_not.insert(
            Need::Outside,
            "an existing cluster's nodes cannot be routed to hosts of the run's own; use `--backend kind`".to_owned(),
        );
        capabilities.why_not.insert(
            Need::Metadata,
            "an existing cluster's nodes cannot be routed to an emulator; use `--backend kind`".to_owned(),
        );
        let nodes = match node_pods::make(&access, &state, &naming, &facts.hostnames, &image).await {
            Ok(nodes) => {
                capabilities.has.extend([Need::NodeSource, Need::HostNetwork]);
                nodes
            }
            Err(error) => {
                for need in [Need::NodeSource, Need::HostNetwork] {
                    capabilities.why_not.insert(need, error.to_string());
                }
                BTreeMap::new()
            }
        };
        let (ground, events) = (Box::new(Borrowed { nodes }), events.clone());
        Ok(ClusterLab::new(Parts { access, naming, ground, facts, image, state, events, capabilities }))
    }
}

#[async_trait]
impl LabBuilder for ClusterBuilder {
    fn backend(&self) -> &'static str {
        "cluster"
    }

    async fn build(
        self: Box<Self>,
        run: &str,
        _first: &[LabSpec],
        events: &Events,
        cancel: &CancellationToken,
    ) -> Result<Arc<dyn Lab>, LabError> {
        let access = Access::lab(self.context.as_deref(), self.kubeconfig.as_deref());
        let access = cancel.run_until_cancelled(access).await.ok_or(LabError::Cancelled)??;
        let state = Arc::new(RunState::create(run)?);
        let making = Box::pin(self.make(access.clone(), Arc::clone(&state), events));
        let error = match cancel.run_until_cancelled(making).await {
            Some(Ok(lab)) => return Ok(Arc::new(lab)),
            Some(Err(error)) => error,
            None => LabError::Cancelled,
        };
        let mut left = false;
        for record in state.record().namespaces {
            if let Err(error) = remove_namespace(&access, &record.name).await {
                events.note(error.to_string());
                left = true;
            }
        }
        if !left {
            state.forget()?;
        }
        Err(error)
    }
}
