//! What each rule of the API means, as tables: a set of policies, and flows with `+` (allowed), `-` (denied) or `?`
//! (undefined) before them.

#![expect(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "tests hand over literals")]

pub(super) mod fixtures;
mod isolation;
mod open;
mod peers;
mod ports;
mod reasons;
