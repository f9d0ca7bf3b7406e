//! One file a subcommand.

pub mod explain;
