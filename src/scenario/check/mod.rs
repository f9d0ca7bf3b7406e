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

/// How many pods and how many steps a scenario may have: names are looked up among all of them.
const MOST: usize = 500;

/// Adds all faults of a scenario.
pub(crate) fn check(context: &Context<'_>, faults: &mut Vec<Diagnostic>) {
    let before = faults.len();
    let pods = context.scenario.all_pods().count();
    for (number, what, key) in [(pods, "pods", "lab"), (context.scenario.steps.len(), "steps", "steps")] {
        if number > MOST {
            let message = format!("a scenario with {number} {what} is too large: at most {MOST}");
            let fault = context.document.error_at_key(&[key.into()], message);
            return faults.push(fault.hint("split it into several scenarios"));
        }
    }
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
