//! What makes a step impossible to plan.

/// A step that cannot be planned: the file is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("step `{step}`: {message}")]
pub struct PlanError {
    /// The step's name.
    pub step: String,
    /// The number of the step's expectation, where it is about one.
    pub expect: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What the author can do.
    pub hint: Option<String>,
}

/// The same, before it is known which step it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Fault {
    pub(in crate::engine) message: String,
    pub(in crate::engine) hint: Option<String>,
}

impl Fault {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    pub(super) fn in_step(self, step: &str) -> PlanError {
        PlanError { step: step.to_owned(), expect: None, message: self.message, hint: self.hint }
    }
}
