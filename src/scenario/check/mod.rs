//! What the types of a scenario cannot say: names that must exist, values that must fit together, and a contrast.

mod contrast;
mod destination;
mod lab;
pub(crate) mod names;
pub(crate) mod network_policy;
mod steps;

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Diagnostic, Manifest, ReferenceError, Scenario,
    document::{Document, Segment},
};

/// A scenario and where it was read.
pub(crate) struct Context<'a> {
    pub(crate) document: &'a Document<'a>,
    pub(crate) scenario: &'a Scenario,
    pub(crate) manifests: &'a BTreeMap<String, Vec<Arc<Manifest>>>,
    pub(crate) shipped: bool,
}

/// Adds all faults of a scenario.
pub(crate) fn check(context: &Context<'_>, faults: &mut Vec<Diagnostic>) {
    let before = faults.len();
    lab::check(context, faults);
    steps::check(context, faults);
    // Cells are compared by what their names mean, which must be clear for that.
    if !faults[before..].iter().any(|fault| fault.severity == super::Severity::Error) {
        contrast::check(context, faults);
    }
}

impl Context<'_> {
    fn error(&self, at: &[Segment], message: impl Into<String>) -> Diagnostic {
        self.document.error(at, message)
    }

    fn warning(&self, at: &[Segment], message: impl Into<String>) -> Diagnostic {
        self.document.warning(at, message)
    }

    /// A name that does not resolve.
    fn reference(&self, at: &[Segment], error: ReferenceError) -> Diagnostic {
        let fault = self.document.error(at, error.message);
        match error.hint {
            Some(hint) => fault.hint(hint),
            None => fault,
        }
    }
}
