//! The backend `kind`: what can be chosen, and how a build that fails or is cancelled is taken back.

use std::{path::PathBuf, sync::Arc, time::Instant};

use async_trait::async_trait;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{build::Build, command::run, ground::remove_run};
use crate::{
    engine::Events,
    lab::{Lab, LabBuilder, LabError, agent, state::RunState},
    scenario::LabSpec,
};

/// Who connects pods, and enforces policies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cni {
    /// What the node image brings.
    #[default]
    Default,
    /// None: somebody installs one by hand while the run waits for the nodes.
    None,
    /// These manifests, in place of what the node image brings.
    File(PathBuf),
}

/// A lab on a kind cluster that the run makes, or that an earlier run kept.
#[derive(Clone, Debug, Default)]
pub struct KindBuilder {
    /// The node image; kind's own default where nothing is said.
    pub node_image: Option<String>,
    /// The CNI.
    pub cni: Cni,
    /// The text of the kind configuration; the lab's own where nothing is said.
    pub config: Option<String>,
    /// Whether the cluster stays after the run.
    pub keep: bool,
    /// The kept cluster to use.
    pub cluster: Option<String>,
    /// The image of the pods, which needs `curl` and `sh`.
    pub probe_image: Option<String>,
}

/// Fails, with a hint, where `docker` or `kind` do not work.
async fn check_tools() -> Result<(), LabError> {
    run("kind", &["version"], None).await?;
    let docker = run("docker", &["version", "--format", "{{.Server.Version}}"], None).await;
    docker.map(drop).map_err(|error| match error.hint() {
        Some(_) => error,
        None => LabError::with_hint(
            format!("Docker does not answer: {error}"),
            "start Docker Engine, see that you may use its socket (DOCKER_HOST), or use the embedded backend",
        ),
    })
}

#[async_trait]
impl LabBuilder for KindBuilder {
    fn backend(&self) -> &'static str {
        "kind"
    }

    /// `CoreDNS` is Ready some seconds after the nodes are.
    fn dns_lags(&self) -> bool {
        true
    }

    async fn build(
        self: Box<Self>,
        run: &str,
        first: &[LabSpec],
        events: &Events,
        cancel: &CancellationToken,
    ) -> Result<Arc<dyn Lab>, LabError> {
        cancel.run_until_cancelled(check_tools()).await.ok_or(LabError::Cancelled)??;
        let state = Arc::new(RunState::create(run)?);
        let (agent, begun) = (agent::binary(), Instant::now());
        let (events, emulator, tasks) = (events.clone(), Arc::default(), TaskTracker::new());
        let build = Build { options: *self, agent, state, events, emulator, tasks, begun };
        let error = match cancel.run_until_cancelled(Box::pin(build.make(first))).await {
            Some(Ok(lab)) => return Ok(Arc::new(lab)),
            Some(Err(error)) => error,
            None => LabError::Cancelled,
        };
        build.events.phase("removing what was made");
        build.tasks.close();
        build.tasks.wait().await;
        let left = remove_run(&build.state, build.emulator.get().map(Arc::as_ref)).await;
        for left in &left {
            build.events.note(format!("not removed: {left}; `policyprobe cleanup` tries it again"));
        }
        if left.is_empty() {
            build.state.forget()?;
        }
        Err(error)
    }
}
