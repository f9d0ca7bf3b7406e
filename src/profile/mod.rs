//! CNI profiles: what is known of a CNI's deviations, so that a run tells those from news.
//!
//! `model` is the file format, `load` finds and reads profiles, `known` is what a run does with one. Nothing here decides
//! whether a cell is as expected.

mod known;
mod load;
mod model;

pub use known::Known;
pub(crate) use load::read;
pub use load::{by_name, detect, load_file, shipped};
pub use model::{Deviation, Profile};
