//! The scenario file format: model, loading with positions, lint, JSON Schema.

mod check;
mod control_plane;
pub(crate) mod decode;
mod diagnostic;
pub(crate) mod document;
mod family;
pub(crate) mod files;
mod lab;
mod load;
mod loaded;
mod manifest;
mod matrix;
mod metadata;
mod model;
mod places;
mod reference;
mod schema;
mod select;
mod shape;
mod step;
mod yaml11;

pub use crate::metadata::Cloud;
pub(crate) use check::names::{dns_label, label_key, label_value};
pub use control_plane::{ApiserverTarget, Credential, DriftSpec, KubeletTarget};
pub(crate) use diagnostic::nearest;
pub use diagnostic::{Diagnostic, Diagnostics, Place, Severity};
pub use files::{LARGEST_FILE, SHIPPED};
pub use lab::*;
pub use load::{load_path, load_policies, shipped};
pub use loaded::*;
pub use metadata::*;
pub use model::*;
pub use places::Places;
pub use reference::ReferenceError;
pub use schema::json_schema;
pub use select::{packs, select};
pub use step::*;

#[cfg(test)]
mod tests;
