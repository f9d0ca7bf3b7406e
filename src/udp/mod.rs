//! The questions that UDP probes ask, and the server that answers them: what [`crate::http`] is for TCP.

mod datagram;
mod receive;
mod server;

pub use datagram::*;
pub(crate) use receive::*;
pub use server::*;
