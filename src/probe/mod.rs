//! Requests and what came of them: `curl` command lines and their output, the agent and what it says, outcomes.

pub mod direct;
mod outcome;

pub use outcome::*;

#[cfg(feature = "harness")]
mod agent;
#[cfg(feature = "harness")]
mod alone;
#[cfg(feature = "harness")]
mod curl;
#[cfg(feature = "harness")]
mod first;
#[cfg(feature = "harness")]
mod link;
#[cfg(feature = "harness")]
mod mixed;
#[cfg(feature = "harness")]
pub(crate) mod netexec;
#[cfg(feature = "harness")]
mod output;
#[cfg(feature = "harness")]
mod request;
#[cfg(feature = "harness")]
mod session;
#[cfg(all(test, feature = "harness"))]
mod tests;

#[cfg(feature = "harness")]
pub use {agent::*, alone::*, curl::*, first::*, link::*, mixed::*, output::*, request::*, session::*};
