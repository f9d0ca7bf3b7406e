//! A lab of network namespaces on this machine: no cluster, no root, no `ip`, no `nft`. Linux only.
//!
//! The outer half ([`EmbeddedBuilder`], [`EmbeddedLab`], [`EmbeddedStage`]) speaks a typed protocol, JSON lines on
//! stdio, with the inner half: a hidden subcommand of the binary that becomes the first process of its own user, PID,
//! mount and network namespaces ([`inside`]). All that the lab consists of hangs on that process, so the kernel takes
//! everything away when it ends, however it ends. Policies are compiled to nftables by [`enforcer`].

mod builder;
mod client;
pub mod enforcer;
pub mod inside;
mod lab;
mod protocol;
mod stage;

pub use builder::EmbeddedBuilder;
pub use lab::EmbeddedLab;
pub use protocol::DenyBy;
pub use stage::{EmbeddedStage, NamespaceCurl};
