//! Baseline, apply, converge, hold, verdict. It knows no backend, and says everything it does as events.

mod event;
mod exit;
pub mod plan;
mod result;
mod run;

pub use event::*;
pub use exit::*;
pub use result::*;
pub use run::*;
