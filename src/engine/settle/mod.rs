//! The converge loop of one step.

mod ask;
mod gone;
mod patience;
mod rounds;
mod scout;
mod table;

pub(super) use rounds::{anticipate, settle};
pub(super) use table::{Occasion, Setting, Settled, Table};
