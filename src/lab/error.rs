//! What can go wrong in a lab, as far as callers treat it differently.

/// A lab's failure. None of these is a verdict.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The lab could not be built, or is broken.
    #[error("{message}")]
    Broken {
        /// What went wrong, with its causes.
        message: String,
        /// What the user can do.
        hint: Option<String>,
    },
    /// The API server refused a manifest.
    #[error("`{manifest}` was refused: {message}")]
    Rejected {
        /// The file and object.
        manifest: String,
        /// The API server's words.
        message: String,
    },
    /// An answer at a metadata address that is not the emulator's: nothing more is sent.
    #[error("a server that is not ours answers at the metadata address {address}")]
    RealMetadata {
        /// The address.
        address: std::net::IpAddr,
    },
    /// The run was cancelled.
    #[error("interrupted")]
    Cancelled,
}

impl LabError {
    /// A broken lab, with a hint.
    pub fn with_hint(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Broken { message: message.into(), hint: Some(hint.into()) }
    }

    /// The hint, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Broken { hint, .. } => hint.as_deref(),
            Self::RealMetadata { .. } => Some(
                "this looks like a cloud VM whose own metadata server is in reach of the lab; nothing was asked of it",
            ),
            _ => None,
        }
    }
}

impl From<anyhow::Error> for LabError {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(lab) => lab,
            Err(other) => Self::Broken { message: format!("{other:#}"), hint: None },
        }
    }
}
