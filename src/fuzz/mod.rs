//! Random policies, labels and changes: the simulator and a lab must agree on all of them. What they do not agree on is
//! shrunk to a scenario that shows it, ready to be a regression test.

mod campaign;
mod case;
mod draw;
mod shrink;

pub use campaign::{Campaign, Disagreement, Outcome};
pub use case::{Case, Change, files, write};
