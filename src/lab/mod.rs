//! Where the traffic runs: the traits, and one folder a backend.

pub mod agent;
mod builder;
pub mod cluster;
mod doctor;
pub mod embedded;
mod error;
pub mod kind;
mod model;
mod own;
pub mod state;

pub use builder::*;
pub use doctor::*;
pub use error::*;
pub use model::*;
pub use own::*;
