//! The emulated cloud metadata servers, one file a cloud, and the addresses that real ones have.

mod addresses;
mod advice;
mod alibaba;
mod alone;
mod aws;
mod aws_data;
mod aws_token;
mod azure;
mod azure_data;
mod azure_wireserver;
mod category;
mod clock;
mod cloud;
mod digitalocean;
mod ecs;
mod eks_pod_identity;
mod fake;
mod gcp;
mod gcp_data;
mod gcp_tree;
mod gke;
mod hetzner;
mod openstack;
mod options;
mod oracle;
mod plain;
mod query;
mod several;
#[cfg(test)]
mod tests;
mod text_tree;

pub use addresses::*;
pub use advice::*;
pub use alone::*;
pub use category::*;
pub use cloud::*;
pub use options::*;
pub use several::*;

use cloud::on;
