//! One file a subcommand.

pub mod explain;
pub mod init;
pub mod lint;
pub mod list;
pub mod schema;
