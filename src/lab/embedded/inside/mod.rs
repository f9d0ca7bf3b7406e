//! The inner half: a hidden subcommand that becomes the first process of namespaces of its own, and builds there.

#[cfg(target_os = "linux")]
mod curl;
#[cfg(target_os = "linux")]
mod dns;
#[cfg(target_os = "linux")]
mod documents;
#[cfg(target_os = "linux")]
mod findings;
#[cfg(target_os = "linux")]
mod first;
#[cfg(target_os = "linux")]
mod metadata;
#[cfg(target_os = "linux")]
mod names;
#[cfg(target_os = "linux")]
mod namespace;
#[cfg(target_os = "linux")]
mod net;
#[cfg(target_os = "linux")]
mod plumbing;
#[cfg(target_os = "linux")]
mod pods;
#[cfg(target_os = "linux")]
mod relay;
#[cfg(target_os = "linux")]
mod safe;
#[cfg(target_os = "linux")]
mod sandbox;
#[cfg(target_os = "linux")]
mod serve;
#[cfg(target_os = "linux")]
mod server;
#[cfg(target_os = "linux")]
mod stage;
#[cfg(target_os = "linux")]
mod state;
#[cfg(target_os = "linux")]
mod topo;

#[cfg(target_os = "linux")]
pub use sandbox::main;

/// The hidden subcommand's main function, where there are no namespaces.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(crate::engine::NO_LAB)
}
