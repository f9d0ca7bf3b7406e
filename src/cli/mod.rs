//! One file a subcommand.

pub mod inside;
