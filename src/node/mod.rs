//! Node metadata: what it shows, who set it, and what changes.
//!
//! The core is pure: a node becomes fields ([`flat`]), which are compared ([`diff`]), weighed ([`catalogue`]) and
//! traced to who claims to have set them ([`owner`]). Only [`source`] and [`connect`] talk to an API server.
//! [`access`]: who can read and who can change it.

pub mod access;
pub mod age;
pub mod audit_log;
pub mod baseline;
pub mod bench;
pub mod catalogue;
pub mod connect;
pub mod diff;
mod file;
pub mod flat;
pub mod follow;
pub mod inventory;
pub mod manifest;
pub mod metrics;
pub mod owner;
pub mod report;
pub mod resume;
pub mod roots;
pub mod rules;
mod severity;
pub mod sheet;
pub mod source;
mod state;
pub mod table;
pub mod track;

pub use severity::Severity;
pub use state::{NodeState, Selection};
