//! Proves what a Kubernetes network really lets through.
//!
//! Data goes one way: a scenario file becomes a [`scenario::Scenario`], the engine plans its cells (source,
//! destination, expectation), a [`lab::Lab`] makes pods and applies manifests, sessions yield observations, and the
//! engine turns them into verdicts and events that every reporter reads.
//!
//! - [`scenario`]: the file format.
//! - [`policy`]: pure; what a NetworkPolicy means.
//! - [`metadata`] and [`http`]: the emulated cloud metadata servers. [`udp`]: what answers UDP probes.
//! - [`probe`]: requests, `curl`, the agent, observations.
//! - [`lab`]: where the traffic runs, one folder a backend.
//! - [`engine`]: baseline, apply, converge, hold, verdict.
//! - [`mutants`]: the suite against enforcers that are broken on purpose. [`fuzz`]: random policies on a lab.
//! - [`node`]: node metadata: inventory, baselines, changes.
//! - `input`: files that somebody names, read whole. `parallel`: work for all processors.
//! - [`pattern`]: names by patterns. [`profile`]: what is known of CNIs.
//! - [`report`]: one file a reporter. [`text`]: what records have in common.
//!
//! Without the default feature `harness` only what the static agent needs is built.

pub mod http;
pub mod metadata;
pub mod probe;
pub mod udp;

#[cfg(feature = "harness")]
pub mod cli;
#[cfg(feature = "harness")]
pub mod engine;
#[cfg(feature = "harness")]
pub mod fuzz;
#[cfg(feature = "harness")]
mod input;
#[cfg(feature = "harness")]
pub mod lab;
#[cfg(feature = "harness")]
pub mod mutants;
#[cfg(feature = "harness")]
pub mod node;
#[cfg(feature = "harness")]
mod parallel;
#[cfg(feature = "harness")]
pub mod pattern;
#[cfg(feature = "harness")]
pub mod policy;
#[cfg(feature = "harness")]
mod pool;
#[cfg(feature = "harness")]
pub mod profile;
#[cfg(feature = "harness")]
pub mod report;
#[cfg(feature = "harness")]
pub mod scenario;
#[cfg(feature = "harness")]
pub mod text;
