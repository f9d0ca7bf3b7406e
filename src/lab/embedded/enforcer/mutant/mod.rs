//! Deliberately broken enforcers: `policyprobe mutants` proves with them that the suite notices.
//!
//! A mutant is the correct enforcer with one transformation before or after it: of what it believes of the cluster over
//! time (`history`), of the policies that it gets (`policies`, `rules`, `peers`, `ports`, `selectors`), or of the rules
//! that it compiles (`verdicts`). The compiler itself knows nothing of them.

mod catalogue;
mod history;
mod peers;
mod policies;
mod ports;
mod rules;
mod selectors;
mod verdicts;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;

pub use catalogue::{Mutant, UnknownMutant};
pub(super) use history::Memory;
pub(super) use verdicts::misjudge;

use super::Cluster;

/// Misreads the policies of a cluster as a mutant does.
pub(super) fn misread(mutant: Mutant, cluster: &mut Cluster) {
    // With the types written out, no rule that a mutant drops changes what its policy is about.
    policies::misread_types(mutant, cluster);
    ports::misread(mutant, cluster);
    peers::misread(mutant, cluster);
    rules::misread(mutant, cluster);
    selectors::misread(mutant, cluster);
    policies::misread(mutant, cluster);
}
