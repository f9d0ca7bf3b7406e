//! Cases on a lab, all of them in one run, and the shrinking of those that fail: each generation of smaller cases is one
//! more run.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{case::Case, draw, shrink::smaller};
use crate::{
    engine::{self, CellResult, Events, Options, ProbeWith, RunFailure, RunResult, ScenarioResult, Verdict},
    lab::{LabBuilder, embedded},
    scenario::LoadedScenario,
};

/// Generations of smaller cases; each leaves out one thing.
const GENERATIONS: usize = 24;
/// How many smaller cases are tried in one generation, until one of them still fails.
const BROOD: usize = 64;
/// Cases that are shrunk; what is wrong once is mostly wrong everywhere.
const SHRUNK: usize = 3;

/// How long a policy may take while a case is shrunk: the embedded lab's enforcer has done its work when it is applied.
const SOON: Duration = Duration::from_secs(2);

/// What to try.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// What the cases are drawn with.
    pub seed: u64,
    /// How many cases there are.
    pub cases: usize,
    /// How many are played side by side.
    pub jobs: u32,
}

/// A case that the lab and the simulator do not agree on.
#[derive(Clone, Debug)]
pub struct Disagreement {
    /// The case as it was drawn.
    pub drawn: String,
    /// The smallest scenario found that shows it.
    pub scenario: LoadedScenario,
    /// A cell that shows it.
    pub cell: CellResult,
    /// The step of that cell.
    pub step: String,
}

/// What came of a campaign.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Cells that were as the simulator says.
    pub agreed: usize,
    /// Cells of which nothing could be proved.
    pub inconclusive: usize,
    /// Cases that were played.
    pub played: usize,
    /// How many cases do not agree, shrunk or not.
    pub different: usize,
    /// What does not agree, shrunk.
    pub disagreements: Vec<Disagreement>,
    /// The exit code of the run of all cases.
    pub exit_code: u8,
    /// Why not all cases were played.
    pub error: Option<RunFailure>,
}

impl Campaign {
    /// Plays all cases in a lab, and shrinks those that fail in further labs. An error is a fault of the fuzzer's own.
    pub async fn run(
        &self,
        builder: impl Fn() -> anyhow::Result<Box<dyn LabBuilder>>,
        events: &Events,
        cancel: &CancellationToken,
    ) -> anyhow::Result<Outcome> {
        let cases: Vec<Case> = (0..self.cases).map(|number| draw::case(self.seed, number)).collect();
        let play = async |cases: &[Case], shrinking: bool| -> anyhow::Result<RunResult> {
            let scenarios = cases.iter().map(Case::scenario).collect::<anyhow::Result<Vec<_>>>()?;
            let builder = builder()?;
            let options = Options {
                jobs: self.jobs,
                probe: ProbeWith::Agent,
                fail_fast: shrinking,
                converge_limit: (shrinking && builder.backend() == embedded::BACKEND).then_some(SOON),
                ..Options::default()
            };
            Ok(engine::run(builder, &scenarios, &options, events, cancel).await)
        };
        let result = play(&cases, false).await?;
        let mut outcome = Outcome { exit_code: result.exit_code, error: result.error.clone(), ..Outcome::default() };
        for scenario in &result.scenarios {
            let cells = scenario.steps.iter().flat_map(|step| &step.cells);
            for cell in cells {
                outcome.agreed += usize::from(cell.verdict == Verdict::Pass);
                outcome.inconclusive += usize::from(cell.verdict == Verdict::Inconclusive);
            }
            outcome.played += usize::from(scenario.verdict != Verdict::Skipped);
        }
        let failed = cases.iter().zip(&result.scenarios).filter(|(_, played)| failure(played).is_some());
        let failed: Vec<(Case, Arc<ScenarioResult>)> =
            failed.map(|(case, played)| (case.clone(), played.clone())).collect();
        outcome.different = failed.len();
        for (case, played) in failed.into_iter().take(SHRUNK) {
            let drawn = case.id.clone();
            let (mut smallest, mut shown) = (case, failure(&played));
            let mut next = 0;
            for generation in 0..GENERATIONS {
                let mut brood = smaller(&smallest);
                // What could not be left out before can seldom be left out now.
                let begin = if next < brood.len() { next } else { 0 };
                brood.rotate_left(begin);
                brood.truncate(BROOD);
                for (number, less) in brood.iter_mut().enumerate() {
                    less.id = format!("{drawn}-{generation}-{number}");
                }
                if brood.is_empty() || cancel.is_cancelled() {
                    break;
                }
                let tried = play(&brood, true).await?;
                let mut failures = brood.into_iter().zip(&tried.scenarios).zip(begin..);
                let still = failures.find_map(|((less, played), at)| Some((less, failure(played)?, at)));
                let Some((less, cell, at)) = still else { break };
                (smallest, shown, next) = (less, Some(cell), at);
            }
            smallest.id.clone_from(&drawn);
            if let Some((step, cell)) = shown {
                outcome.disagreements.push(Disagreement { drawn, scenario: smallest.scenario()?, cell, step });
            }
        }
        Ok(outcome)
    }
}

/// A cell that failed, and its step.
fn failure(played: &ScenarioResult) -> Option<(String, CellResult)> {
    let mut cells = played.steps.iter().flat_map(|step| step.cells.iter().map(move |cell| (step, cell)));
    let (step, cell) = cells.find(|(_, cell)| cell.verdict == Verdict::Fail)?;
    Some((step.name.clone(), cell.clone()))
}
