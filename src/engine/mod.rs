//! Baseline, apply, converge, hold, verdict. It knows no backend, and says everything it does as events.
//!
//! Pure: `plan` (cells and the second oracle), `plans`, `calibrate` (windows and attempts), `witness`, `track` (a cell over the
//! rounds), `history`, `lately`, `judge`, `record`, `conclude`, `latency`. With I/O, each on top of the one before: `sessions`,
//! `round`, `watch`, `settle`, `first`, `step`, `scenario`, `lanes`, `canary`, `run`.

mod action;
mod ahead;
mod answers;
mod baseline;
mod calibrate;
mod canary;
mod conclude;
mod event;
mod exit;
mod first;
mod heritage;
mod history;
mod judge;
mod lanes;
mod lately;
mod latency;
mod pauses;
pub mod plan;
mod plans;
mod play;
mod quiet;
mod record;
mod result;
mod round;
mod run;
mod scenario;
mod sessions;
mod settle;
mod step;
mod track;
mod turns;
mod watch;
mod witness;

#[cfg(test)]
mod tests;

pub use event::*;
pub use exit::*;
pub use latency::*;
pub use result::*;
pub use run::*;
pub use sessions::ProbeWith;
