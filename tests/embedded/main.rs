//! The embedded lab by itself: what is connected, what policies stop, and that nothing outlives it.
//!
//! Where the system forbids namespaces, each test says so and passes; `POLICYPROBE_REQUIRE=embedded` makes that a failure.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;
mod direct;
mod faults;
mod fuzz;
mod host_network;
mod leftovers;
mod mutants;
mod network;
mod policies;
