//! The backend `kind`: a cluster of our own in containers, with a metadata server and hosts outside the cluster
//! beside it.
//!
//! The pods, policies and probes are those of [`super::cluster`].

mod agents;
mod bridge;
mod build;
mod builder;
mod cluster;
pub(crate) mod command;
mod dns;
mod doctor;
mod emulator;
mod ground;
mod hold;
mod images;
mod kept;
mod node;
mod on_node;
mod outside;
pub(crate) mod remove;
mod renew;
mod routes;
mod servers;
pub(crate) mod settle;

pub use builder::{Cni, KindBuilder};
pub(crate) use cluster::{shipped_configuration, shipped_configurations};
pub use doctor::doctor;
