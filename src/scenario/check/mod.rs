//! What the types of a scenario cannot say: names that must exist, values that must fit together, and a contrast.

mod contrast;
mod control_plane;
mod destination;
mod established;
mod first_packets;
mod lab;
pub(crate) mod names;
pub(crate) mod network_policy;
mod source_port;
mod steps;

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Diagnostic, Expect, Manifest, ReferenceError, Scenario, Step,
    document::{Document, Segment},
};

/// A scenario and where it was read.
pub(crate) struct Context<'a> {
    pub(crate) document: &'a Document<'a>,
    pub(crate) scenario: &'a Scenario,
    pub(crate) manifests: &'a BTreeMap<String, Vec<Arc<Manifest>>>,
    pub(crate) shipped: bool,
}

/// How many pods, steps and other things of a kind a scenario may have: names are looked up among all of them.
const MOST: usize = 500;

/// How many cells and other things that name something a scenario may have.
pub(crate) const MOST_NAMED: usize = 5_000;

/// The fault of a scenario that is larger than anybody writes by hand.
pub(crate) fn too_large(document: &Document<'_>, scenario: &Scenario) -> Option<Diagnostic> {
    let Scenario { lab, steps, .. } = scenario;
    let expected = |expect: &Expect| {
        // An expectation without a source is a fault that counts too.
        expect.lists().iter().map(|(_, sources)| sources.len()).sum::<usize>().max(1)
    };
    let acts = |step: &Step| step.label.len() + step.recreate.len() + step.restart.len() + step.rejected.len();
    let sizes = [
        (scenario.all_pods().count(), "pods", "lab", MOST),
        (lab.namespaces.len(), "namespaces", "lab", MOST),
        (lab.outside.len(), "outside hosts", "lab", MOST),
        (lab.services.len(), "Services", "lab", MOST),
        (steps.len(), "steps", "steps", MOST),
        (steps.iter().map(acts).sum(), "actions", "steps", MOST_NAMED),
        (steps.iter().flat_map(|step| &step.expect).map(expected).sum(), "cells", "steps", MOST_NAMED),
    ];
    let (number, what, key, most) = sizes.into_iter().find(|(number, .., most)| number > most)?;
    let message = format!("a scenario with {number} {what} is too large: at most {most}");
    Some(document.error_at_key(&[key.into()], message).hint("split it into several scenarios"))
}

/// Adds all faults of a scenario.
pub(crate) fn check(context: &Context<'_>, faults: &mut Vec<Diagnostic>) {
    let before = faults.len();
    if let Some(fault) = too_large(context.document, context.scenario) {
        return faults.push(fault);
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
        Self::reference_in(self.document, at, error)
    }

    /// A name that does not resolve, in a document.
    pub(crate) fn reference_in(document: &Document<'_>, at: &[Segment], error: ReferenceError) -> Diagnostic {
        let fault = document.error(at, error.message);
        match error.hint {
            Some(hint) => fault.hint(hint),
            None => fault,
        }
    }
}

/// Where a list of sources stands in its expectation.
fn place(expect: &[Segment], list: &'static str) -> Vec<Segment> {
    let inner = if list == "status" { Some("from") } else { None };
    expect.iter().cloned().chain([list.into()]).chain(inner.map(Segment::from)).collect()
}
