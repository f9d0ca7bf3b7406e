//! One file a subcommand.

pub mod metadata;
