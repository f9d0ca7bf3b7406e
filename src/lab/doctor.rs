//! What a backend needs on this machine, one fact each.

/// One thing that a backend needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What is needed.
    pub name: String,
    /// Whether it is there.
    pub ok: bool,
    /// What was found.
    pub detail: String,
    /// How to get it, where it is missing.
    pub hint: Option<String>,
}
