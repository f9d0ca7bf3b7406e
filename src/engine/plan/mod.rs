//! Pure: from a scenario to the cells of its steps, what they need, and what the simulator says of them.
//!
//! The world that cells are planned for is either a stage's, with real addresses, or the made-up one of [`world()`], for
//! the check that comes before any lab is touched.

mod address;
mod agree;
mod cells;
mod control_plane;
mod destination;
mod error;
mod flow;
mod needs;
mod reference;
mod state;
mod world;

#[cfg(test)]
mod tests;

pub(super) use address::addressed;
pub use agree::{AgreeError, CellOracle, Disagreement, StepOracle, agree, judge};
pub use cells::{Connection, NewPod, PlannedCell, cells};
pub use error::PlanError;
pub use flow::cluster;
pub(super) use needs::missing;
pub use needs::scenario_needs;
pub use state::ClusterState;
pub use world::world;
