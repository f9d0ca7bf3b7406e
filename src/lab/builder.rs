//! How a run gets its lab.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::{Lab, LabError};
use crate::{engine::Events, scenario::LabSpec};

/// No lab plays more scenarios side by side.
pub const MOST_LANES: u32 = 64;

/// A backend that is configured and not yet up.
#[async_trait]
pub trait LabBuilder: Send {
    /// The backend's name, as `--backend` takes it.
    fn backend(&self) -> &'static str;

    /// Whether the cluster's DNS may come up well after the lab does. What needs no DNS is then shown first.
    fn dns_lags(&self) -> bool {
        false
    }

    /// How many scenarios of so many it plays side by side where nobody says it.
    fn lanes(&self, scenarios: usize) -> u32 {
        let _ = scenarios;
        1
    }

    /// Makes the lab. `first` is what its first stages will ask for: a backend whose cluster takes long to come up may
    /// prepare them meanwhile. Whatever a failure or a cancellation leaves half-made is removed before it returns.
    async fn build(
        self: Box<Self>,
        run: &str,
        first: &[LabSpec],
        events: &Events,
        cancel: &CancellationToken,
    ) -> Result<Arc<dyn Lab>, LabError>;
}
