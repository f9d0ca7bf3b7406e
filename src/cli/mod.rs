//! One file a subcommand.

mod args;
pub mod audit;
pub mod backend;
pub mod bench;
pub mod cleanup;
pub mod completions;
mod conduct;
pub mod doctor;
pub mod explain;
pub mod fuzz;
pub mod init;
pub mod inside;
pub mod lab;
pub mod lint;
pub mod list;
pub mod metadata;
pub mod mutants;
pub mod node;
mod output;
pub mod run;
pub mod schema;
mod signals;

pub use args::*;
pub use output::{Problem, fail, use_colors};
