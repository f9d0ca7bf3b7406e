//! Probing without `curl`: sockets of our own, in the agent and in the embedded lab's inner half.
//!
//! What is asked and what was found is in `wire`, the rules by which it means something in `proof`; `work` makes the
//! requests of one call at once or in turn; `serve` is the agent's side of an open stream. A prober does what `curl` cannot:
//! UDP, and thousands of requests a second. It does not do TLS, nor questions to DNS alone.

mod datagram;
mod dns;
mod http;
mod kept;
mod log;
mod names;
mod ports;
mod proof;
mod serve;
mod sockets;
mod wire;
mod work;

#[cfg(test)]
mod tests;

#[cfg(feature = "harness")]
pub(super) use http::ANSWER_LIMIT;
#[cfg(feature = "harness")]
pub(super) use proof::{Shown, mismatch};
pub use serve::{WATCH_LINGER, serve};
pub use sockets::*;
pub use wire::*;
pub use work::Prober;
