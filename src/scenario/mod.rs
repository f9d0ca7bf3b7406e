//! The scenario file format: model, loading with positions, lint, JSON Schema.

mod loaded;
mod model;

pub use loaded::*;
pub use model::*;
