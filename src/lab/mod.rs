//! Where the traffic runs: the traits, and one folder a backend.

pub mod agent;
mod builder;
mod doctor;
pub mod embedded;
mod error;
mod model;

pub use builder::*;
pub use doctor::*;
pub use error::*;
pub use model::*;
