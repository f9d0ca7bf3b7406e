//! One finding about what works on this machine. What to do with findings is `policyprobe doctor`'s business.

use serde::Serialize;

/// Whether one thing that a backend needs is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// Whether it serves.
    pub ok: bool,
    /// What was found.
    pub detail: String,
    /// What the user can do, where it does not serve.
    pub hint: Option<String>,
}

impl Check {
    /// Something that is there.
    pub fn good(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { name: name.into(), ok: true, detail: detail.into(), hint: None }
    }

    /// Something that is missing.
    pub fn bad(name: impl Into<String>, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { name: name.into(), ok: false, detail: detail.into(), hint: Some(hint.into()) }
    }
}
