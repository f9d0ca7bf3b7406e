//! Pure: what a NetworkPolicy means. Selectors, CIDRs, ports, the simulator and its explanations; no I/O.

mod cidr;
mod evaluate;
mod explain;
mod isolation;
mod literal;
mod model;
mod port;
mod selector;

#[cfg(test)]
mod tests;

pub use evaluate::decide;
pub use literal::{NAME_LABEL, literalise};
pub use model::*;
