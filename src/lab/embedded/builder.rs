//! How a run gets the embedded lab.

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::{DenyBy, enforcer::Mutant};
use crate::{
    engine::Events,
    lab::{Lab, LabBuilder, LabError},
    scenario::LabSpec,
};

/// The embedded backend, configured.
#[derive(Clone, Debug, Default)]
pub struct EmbeddedBuilder {
    /// The `policyprobe` program, for the inner half; the running program where nothing is said. A test's program is
    /// another one and has to say it.
    pub binary: Option<PathBuf>,
    /// How the enforcer stops traffic.
    pub deny_by: DenyBy,
    /// A fault of the enforcer, planted on purpose; none for every use but testing scenarios.
    pub mutant: Option<Mutant>,
}

impl EmbeddedBuilder {
    /// Makes the lab, as its own type.
    #[cfg(target_os = "linux")]
    pub async fn start(self, run: &str) -> Result<super::EmbeddedLab, LabError> {
        let binary = match self.binary {
            Some(binary) => binary,
            None => std::env::current_exe().map_err(|error| anyhow::anyhow!("cannot find this program: {error}"))?,
        };
        super::EmbeddedLab::start(&binary, run, self.deny_by, self.mutant).await
    }
}

#[async_trait]
impl LabBuilder for EmbeddedBuilder {
    fn backend(&self) -> &'static str {
        super::BACKEND
    }

    #[cfg(target_os = "linux")]
    async fn build(
        self: Box<Self>,
        run: &str,
        _first: &[LabSpec],
        _: &Events,
        cancel: &CancellationToken,
    ) -> Result<Arc<dyn Lab>, LabError> {
        tokio::select! {
            lab = self.start(run) => Ok(Arc::new(lab?)),
            () = cancel.cancelled() => Err(LabError::Cancelled),
        }
    }

    #[cfg(not(target_os = "linux"))]
    async fn build(self: Box<Self>, _: &str, _: &Events, _: &CancellationToken) -> Result<Arc<dyn Lab>, LabError> {
        Err(LabError::with_hint(
            "the embedded lab is made of Linux network namespaces, which this system does not have",
            "use `--backend kind` or `--backend cluster`, or run in a Linux virtual machine",
        ))
    }
}
