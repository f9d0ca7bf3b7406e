//! How much a changed field matters.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much a change of a field matters, least first.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It changes by itself, or the rules authorise it.
    Info,
    /// It changes when a node is operated: versions, capacity, conditions.
    Notice,
    /// Somebody may steer workloads or tools with it: labels, annotations, addresses.
    Warning,
    /// It says what the node is, or who may run there: taints, role labels, provider ID, pod CIDR, UID.
    Critical,
}

impl Severity {
    /// All, least first.
    pub const ALL: [Self; 4] = [Self::Info, Self::Notice, Self::Warning, Self::Critical];

    /// The word for it, in files and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}
