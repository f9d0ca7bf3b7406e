//! The questions that UDP probes ask, and the server that answers them: what [`crate::http`] is for TCP.

mod datagram;
mod server;

pub use datagram::*;
pub use server::*;
