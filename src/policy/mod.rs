//! Pure: what a NetworkPolicy means. Selectors, CIDRs, ports, the simulator and its explanations; no I/O.

mod model;

pub use model::*;
