//! The suite's own proof: the selected cases against enforcers that are broken on purpose.
//!
//! `forecast` works out which cases should notice a mutant, so that they are tried first; `trial` tries them, in labs
//! whose enforcer has that one fault; `campaign` does so for all mutants, and makes sure that whatever killed one passes
//! with the correct enforcer; `record` is what is found. Verdicts are the lab's: a forecast decides nothing.

mod campaign;
mod forecast;
mod record;
mod trial;

pub use campaign::Campaign;
pub use forecast::{Forecast, known};
pub use record::{Campaigned, Trial};
