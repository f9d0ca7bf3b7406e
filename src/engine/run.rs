//! A whole run: build the lab, canary, scenarios, tear down.

use tokio_util::sync::CancellationToken;

use super::{Events, RunResult};
use crate::{lab::LabBuilder, scenario::LoadedScenario};

/// How a run is made.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Run the scenarios although the canary found that no policy is enforced.
    pub continue_unenforced: bool,
    /// Whole seconds instead of calibrated windows.
    pub strict_timeouts: bool,
    /// Stop at the first failed scenario.
    pub fail_fast: bool,
    /// Ask the document's questions once more after each step and send the answers as events (`lab`).
    pub show_answers: bool,
}

/// Runs the scenarios in a new lab and tears it down, also when cancelled.
pub async fn run(
    _builder: Box<dyn LabBuilder>,
    _scenarios: &[LoadedScenario],
    _options: &Options,
    _events: &Events,
    _cancel: &CancellationToken,
) -> RunResult {
    todo!()
}
