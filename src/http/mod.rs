//! A small HTTP/1.x server whose answers are exact to the byte, and the identity that answers carry.
//!
//! Cloud metadata servers differ in header order, header case and odd details that general HTTP libraries normalise
//! away, so this writes HTTP by hand. It serves everything in a lab: pods, nodes, outside hosts, metadata servers.

mod chunked;
mod connection;
mod control;
mod handler;
mod log;
mod message;
mod parse;
mod relay;
mod server;
mod syn;
mod watch;
mod write;

pub use control::*;
pub use handler::*;
pub(crate) use log::now;
pub use log::{Entry, Event, LOG_CAPACITY, Log};
pub use message::*;
pub(crate) use parse::is_nonce;
pub use relay::*;
pub use server::Server;
pub(crate) use server::plain;
pub use watch::*;
pub(crate) use write::reason;
