//! One file a subcommand.

pub mod init;
pub mod lint;
pub mod list;
pub mod schema;
