//! How a run gets the embedded lab.

use std::{num::NonZero, path::PathBuf, sync::Arc, thread};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::{DenyBy, enforcer::Mutant};
use crate::{
    engine::Events,
    lab::{Lab, LabBuilder, LabError, MOST_LANES},
    scenario::LabSpec,
};

/// Lanes that a processor keeps up with: most of a table's time is waiting.
const LANES_A_PROCESSOR: usize = 12;
/// A further lane makes labs of its own, and is worth it for so many scenarios.
const SCENARIOS_A_LANE: usize = 8;

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
    #[cfg(target_os = "linux")]
    async fn made(self, run: &str) -> Result<Arc<dyn Lab>, LabError> {
        Ok(Arc::new(self.start(run).await?))
    }

    #[cfg(not(target_os = "linux"))]
    async fn made(self, _run: &str) -> Result<Arc<dyn Lab>, LabError> {
        Err(LabError::with_hint(
            "the embedded lab is made of Linux network namespaces, which this system does not have",
            "use `--backend kind` or `--backend cluster`, or run in a Linux virtual machine",
        ))
    }

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

    fn lanes(&self, scenarios: usize) -> u32 {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        let lanes = (scenarios / SCENARIOS_A_LANE).clamp(1, processors.saturating_mul(LANES_A_PROCESSOR));
        u32::try_from(lanes).unwrap_or(u32::MAX).min(MOST_LANES)
    }

    async fn build(
        self: Box<Self>,
        run: &str,
        _first: &[LabSpec],
        _: &Events,
        cancel: &CancellationToken,
    ) -> Result<Arc<dyn Lab>, LabError> {
        tokio::select! {
            lab = self.made(run) => lab,
            () = cancel.cancelled() => Err(LabError::Cancelled),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_scenarios_are_played_one_by_one_and_many_side_by_side() {
        let builder = EmbeddedBuilder::default();
        assert_eq!([0, 1, 8, 15].map(|scenarios| builder.lanes(scenarios)), [1; 4]);
        assert_eq!(builder.lanes(16), 2);
        let most = builder.lanes(usize::MAX);
        let is_whole = usize::try_from(most).is_ok_and(|most| most.is_multiple_of(LANES_A_PROCESSOR));
        assert!(is_whole || most == MOST_LANES, "{most}");
    }
}
