//! A lab of network namespaces on this machine: no cluster, no root, no `ip`, no `nft`. Linux only.
//!
//! The outer half ([`EmbeddedBuilder`] and what it builds) speaks a typed protocol, JSON lines on stdio, with the inner
//! half ([`inside`]): a hidden subcommand of the binary that becomes the first process of its own user, PID, mount and
//! network namespaces. All that the lab consists of hangs on that process, so the kernel takes everything away when it
//! ends, however it ends. Policies are compiled to nftables by [`enforcer`].

mod builder;
#[cfg(target_os = "linux")]
mod client;
mod deny;
pub mod enforcer;
#[cfg(target_os = "linux")]
mod families;
pub mod inside;
#[cfg(target_os = "linux")]
mod lab;
#[cfg(target_os = "linux")]
mod protocol;
#[cfg(target_os = "linux")]
mod stage;

pub use builder::EmbeddedBuilder;
pub use deny::DenyBy;
#[cfg(target_os = "linux")]
use families::has_ipv6;
#[cfg(target_os = "linux")]
pub use lab::EmbeddedLab;
#[cfg(target_os = "linux")]
pub(crate) use lab::curl_says;
#[cfg(target_os = "linux")]
pub use stage::{EmbeddedStage, NamespaceCurl};

/// The backend's name, as `--backend` takes it.
pub const BACKEND: &str = "embedded";
