//! One file a subcommand.

pub mod metadata;

pub mod cleanup;
