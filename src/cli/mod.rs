//! One file a subcommand.

mod args;
pub mod backend;
pub mod completions;
mod conduct;
pub mod doctor;
pub mod lab;
mod output;
pub mod run;
mod signals;

pub use args::*;
pub use output::{Problem, fail, use_colors};
