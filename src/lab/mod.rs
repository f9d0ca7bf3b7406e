//! Where the traffic runs: the traits, and one folder a backend.

mod builder;
mod doctor;
mod error;
mod model;

pub use builder::*;
pub use doctor::*;
pub use error::*;
pub use model::*;
