//! The emulated cloud metadata servers, one file a cloud, and the addresses that real ones have.

mod addresses;
mod cloud;
mod gcp;
mod gcp_data;
mod gcp_tree;

pub use addresses::*;
pub use cloud::*;
