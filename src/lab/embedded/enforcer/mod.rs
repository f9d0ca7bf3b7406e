//! The reference enforcer: NetworkPolicy objects compiled to one nftables ruleset a node.
//!
//! It shares no code with the simulator in `crate::policy`: selectors, CIDRs, ports and defaults are all done a second
//! time here, so that a fault in either shows as a difference between the two. [`compile`] is pure; `load` hands its
//! result to the kernel. [`Agent`] is what stands between a stage and the two, and where a [`Mutant`] is planted.

mod addresses;
mod agent;
#[cfg(target_os = "linux")]
mod beside;
mod cluster;
mod compile;
#[cfg(target_os = "linux")]
mod load;
mod mutant;
mod ports;
mod ruleset;
mod selector;

pub use addresses::Addresses;
pub use agent::Agent;
#[cfg(target_os = "linux")]
pub(super) use beside::{impair, redirect};
pub use cluster::{Cluster, Pod};
pub use compile::{CompileError, check, compile};
#[cfg(target_os = "linux")]
pub(super) use load::{Devices, listing, load};
pub use mutant::{Mutant, UnknownMutant};
pub use ruleset::{Accept, Direction, Peers, PodRules, PortRange, Quirk, Ruleset};
