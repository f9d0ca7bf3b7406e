//! Requests and what came of them: `curl` command lines, their output, outcomes.

mod curl;
pub(crate) mod netexec;
mod request;
mod session;

pub use curl::*;
pub use request::*;
pub use session::*;
