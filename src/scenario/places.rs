//! Where in its file the parts of a scenario stand. What is wrong with a part may only show once it is planned, when the
//! document is gone.

use super::{
    Diagnostic, Place, Scenario,
    document::{Document, at_path},
};

/// The places of a scenario's steps. Empty for shipped scenarios, in which tests find every fault.
#[derive(Clone, Debug, Default)]
pub struct Places {
    steps: Vec<StepPlaces>,
}

#[derive(Clone, Debug, Default)]
struct StepPlaces {
    name: Option<Box<Place>>,
    expect: Vec<Option<Box<Place>>>,
    /// Its expectations come behind those of the list, or in their stead.
    matrix: Option<Box<Place>>,
}

impl Places {
    /// Of a scenario whose matrices are not expanded yet.
    pub(super) fn new(document: &Document<'_>, scenario: &Scenario) -> Self {
        let at = |fault: Diagnostic| fault.place;
        let steps = scenario.steps.iter().enumerate().map(|(index, step)| {
            let path = at_path![[]; "steps", index];
            let expect =
                (0..step.expect.len()).map(|number| at(document.error(&at_path![path; "expect", number, "to"], "")));
            let matrix = step.matrix.as_ref().and_then(|_| at(document.error_at_key(&at_path![path; "matrix"], "")));
            StepPlaces { name: at(document.error(&at_path![path; "name"], "")), expect: expect.collect(), matrix }
        });
        Self { steps: steps.collect() }
    }

    /// The place of an expectation of a step, or of the step.
    #[must_use]
    pub fn of(&self, step: usize, expect: Option<usize>) -> Option<Box<Place>> {
        let step = self.steps.get(step)?;
        let listed = expect.map(|number| step.expect.get(number).and_then(Option::as_ref).or(step.matrix.as_ref()));
        listed.flatten().or(step.name.as_ref()).cloned()
    }
}
