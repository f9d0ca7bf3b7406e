//! One file a subcommand.

mod args;
mod conduct;
mod output;
mod signals;
pub mod backend;
pub mod completions;
pub mod doctor;
pub mod init;
pub mod lab;
pub mod lint;
pub mod list;
pub mod metadata;
pub mod run;
pub mod schema;
pub use args::*;
pub use output::{Problem, fail, use_colors};
