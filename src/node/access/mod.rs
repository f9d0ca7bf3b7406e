//! Who can read and who can change node metadata: what is tried, what should happen, and what did.
//!
//! Pure: the questions ([`question`]), the roles behind an answer ([`roles`]), what is tried with a token and with a node's
//! credential ([`attempt`], [`restriction`]), and what follows ([`finding`]). Asking is elsewhere.

pub mod ask;
pub mod attempt;
pub mod certificate;
pub mod credential;
pub mod finding;
pub mod pods;
pub mod question;
mod request;
pub mod restriction;
pub mod roles;
