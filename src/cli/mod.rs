//! One file a subcommand.

pub mod inside;
pub mod metadata;
