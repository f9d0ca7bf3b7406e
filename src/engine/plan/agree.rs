//! The second oracle: every expectation against the simulator, before any lab is touched.

use std::{collections::HashMap, fmt};

use super::{
    ClusterState, Connection, PlanError, PlannedCell, cells,
    flow::{dns_flow, flow, onward},
};
use crate::{
    engine::Expectation,
    lab::{Source, World},
    policy::{Decision, decide},
    scenario::{Diagnostic, LoadedScenario, Tier},
    text::Text,
};

/// Where it stands that nothing is said of connections that are there when a policy comes.
const ESTABLISHED: &str = "https://kubernetes.io/docs/concepts/services-networking/network-policies/#networkpolicy-s-impact-on-existing-connections";

/// What the simulator says of a step.
#[derive(Clone, Debug)]
pub struct StepOracle {
    /// The step's name.
    pub name: String,
    /// `false` where something is applied that the simulator does not model: the file's expectation stands alone.
    pub two_oracles: bool,
    /// The cells, in their order.
    pub cells: Vec<CellOracle>,
}

impl StepOracle {
    /// The cells by their ids.
    #[must_use]
    pub fn by_id(&self) -> HashMap<&str, &CellOracle> {
        self.cells.iter().map(|oracle| (oracle.cell.id.as_str(), oracle)).collect()
    }
}

/// What the simulator says of a cell.
#[derive(Clone, Debug)]
pub struct CellOracle {
    /// The cell, planned for the world as it must be in that step.
    pub cell: PlannedCell,
    /// The decision; none where the world has no address for the cell.
    pub decision: Option<Decision>,
    /// Why the file's expectation contradicts it, where it does.
    pub disagreement: Option<String>,
}

impl CellOracle {
    /// The rule that decides the cell, in words.
    #[must_use]
    pub fn decided_by(&self) -> Option<Text> {
        self.decision.as_ref().map(|decision| decision.to_string().into())
    }
}

/// A cell whose expectation contradicts the simulator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// The scenario's id.
    pub scenario: String,
    /// The step's name.
    pub step: String,
    /// The number of the step's expectation that the cell is of.
    pub expect: usize,
    /// The cell's id.
    pub cell: String,
    /// What the file expects.
    pub expected: Expectation,
    /// What the simulator says.
    pub decision: Decision,
    /// Where they differ, in a sentence.
    pub reason: String,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, step `{}`: {}: {}", self.scenario, self.step, self.cell, self.reason)
    }
}

/// Why a scenario may not run.
#[derive(Debug, thiserror::Error)]
pub enum AgreeError {
    /// A step cannot be planned.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Expectations contradict the simulator.
    #[error("{}", lines(.0))]
    Disagree(Vec<Disagreement>),
}

impl AgreeError {
    /// The same as faults of the scenario's file.
    #[must_use]
    pub fn diagnostics(&self, loaded: &LoadedScenario) -> Vec<Diagnostic> {
        let fault = |step: &str, expect: Option<usize>, message: String| {
            let index = loaded.scenario.steps.iter().position(|other| other.name == step);
            let place = index.and_then(|index| loaded.places.of(index, expect));
            Diagnostic { place, ..Diagnostic::error(&loaded.path, message) }
        };
        let id = &loaded.scenario.id;
        match self {
            Self::Plan(error) => {
                let fault = fault(&error.step, error.expect, format!("{id}, {error}"));
                vec![Diagnostic { hint: error.hint.clone(), ..fault }]
            }
            Self::Disagree(all) => {
                let hint = format!("`policyprobe explain` of it says which rule decides `{id}`'s cells");
                all.iter().map(|one| fault(&one.step, Some(one.expect), one.to_string()).hint(&hint)).collect()
            }
        }
    }
}

fn lines(disagreements: &[Disagreement]) -> String {
    disagreements.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Plans every step and asks the simulator about each cell.
pub fn judge(loaded: &LoadedScenario, world: &World) -> Result<Vec<StepOracle>, PlanError> {
    let mut state = ClusterState::new(world.clone());
    let mut steps = Vec::new();
    for (index, step) in loaded.scenario.steps.iter().enumerate() {
        state.advance(loaded, step)?;
        let cells = cells(loaded, index, state.world())?;
        let cells = cells.into_iter().map(|cell| judge_cell(loaded.scenario.tier, &state, cell)).collect();
        steps.push(StepOracle { name: step.name.clone(), two_oracles: state.is_modelled(), cells });
    }
    Ok(steps)
}

/// Like [`judge`], and refuses a scenario whose expectations contradict the simulator.
pub fn agree(loaded: &LoadedScenario, world: &World) -> Result<Vec<StepOracle>, AgreeError> {
    let steps = judge(loaded, world)?;
    let disagreements: Vec<_> = steps
        .iter()
        .flat_map(|step| {
            step.cells.iter().filter_map(|oracle| {
                Some(Disagreement {
                    scenario: loaded.scenario.id.clone(),
                    step: step.name.clone(),
                    expect: oracle.cell.expect,
                    cell: oracle.cell.id.clone(),
                    expected: oracle.cell.expectation.clone(),
                    decision: oracle.decision.clone()?,
                    reason: oracle.disagreement.clone()?,
                })
            })
        })
        .collect();
    if disagreements.is_empty() { Ok(steps) } else { Err(AgreeError::Disagree(disagreements)) }
}

fn judge_cell(tier: Tier, state: &ClusterState, cell: PlannedCell) -> CellOracle {
    let cluster = state.cluster();
    let decision = flow(&cluster, state.world(), &cell).map(|flow| decide(&cluster, &flow));
    // Behind a relay it is the relay that asks.
    let decision = match (decision, onward(&cluster, state.world(), &cell)) {
        (Some(Decision::Allow(_)), Some(onward)) => Some(decide(&cluster, &onward)),
        (decision, _) => decision,
    };
    let decision = decision.map(|decision| if cell.connection == Connection::Kept { kept(decision) } else { decision });
    let name = dns_flow(&cluster, state.world(), &cell)
        .filter(|_| cell.by_name && matches!(cell.from, Source::Pod(..)))
        .map(|flow| decide(&cluster, &flow));
    let disagreement = decision
        .as_ref()
        .filter(|_| state.is_modelled())
        .and_then(|decision| contradiction(tier, &cell.expectation, decision, name.as_ref()));
    CellOracle { cell, decision, disagreement }
}

/// What a decision about new connections says of one that was there before.
fn kept(decision: Decision) -> Decision {
    match decision {
        Decision::Deny(_) => Decision::Undefined {
            reason: "the connection was made before the policy that denies it".to_owned(),
            documentation: ESTABLISHED,
        },
        decision => decision,
    }
}

/// Where an expectation and the simulator differ. `name` is the decision about the name that must be resolved first.
fn contradiction(tier: Tier, expected: &Expectation, decision: &Decision, name: Option<&Decision>) -> Option<String> {
    let must_pass = match expected {
        // No policy has a part in it.
        Expectation::Reachable | Expectation::Status { .. } | Expectation::Silent | Expectation::Refused => true,
        Expectation::Blocked => false,
        Expectation::Recorded | Expectation::Rejected { .. } | Expectation::Noticed { .. } => return None,
    };
    match (decision, must_pass) {
        (Decision::Undefined { .. }, _) if tier == Tier::Required => {
            return Some(format!("{decision}; list the source under `record`, or change the scenario's `tier`"));
        }
        (Decision::Allow(_), false) => return Some(format!("expected to be blocked, but it is {decision}")),
        (Decision::Deny(_), true) => return Some(format!("expected to be reachable, but it is {decision}")),
        _ => {}
    }
    // An unresolved name is a verdict on nothing: the request never gets as far as the server.
    match name? {
        Decision::Allow(_) => None,
        Decision::Undefined { .. } if tier != Tier::Required => None,
        name => Some(format!("the name cannot be counted on: the way to DNS is {name}; ask by address")),
    }
}
