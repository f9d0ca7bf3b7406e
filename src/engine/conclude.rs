//! Pure: from cells' verdicts to those of steps, scenarios and the run, and to its exit code.

use std::sync::Arc;

use super::{
    Canary, FAILED, INCONCLUSIVE, INTERRUPTED, NO_LAB, NOT_ENFORCING, OK, RunFailure, ScenarioResult, USAGE, Verdict,
};

/// The worst of these verdicts. What was skipped or only recorded says nothing beside what was judged, so it counts
/// only where nothing was.
#[must_use]
pub(super) fn worst(verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
    let rank = |verdict: &Verdict| (!matches!(verdict, Verdict::Skipped | Verdict::Recorded), *verdict);
    verdicts.into_iter().max_by_key(rank).unwrap_or(Verdict::Pass)
}

/// How a run ended, beside its verdicts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It came to its end.
    Complete,
    /// A signal ended it.
    Interrupted,
    /// A scenario cannot be run as it stands: its two oracles disagree.
    BadScenario(RunFailure),
    /// The lab could not be built, or broke for good.
    NoLab(RunFailure),
}

/// The exit code: an interrupt first, then 5, 2, 3, 1, 4, 0.
#[must_use]
pub(super) fn exit_code(ending: &Ending, canary: &Canary, scenarios: &[Arc<ScenarioResult>]) -> u8 {
    match ending {
        Ending::Interrupted => return INTERRUPTED,
        Ending::NoLab(_) => return NO_LAB,
        Ending::BadScenario(_) => return USAGE,
        Ending::Complete => {}
    }
    let any = |verdict| canary.verdict == verdict || scenarios.iter().any(|scenario| scenario.verdict == verdict);
    if any(Verdict::NotEnforcing) {
        NOT_ENFORCING
    } else if any(Verdict::Fail) || any(Verdict::Xpass) {
        FAILED
    } else if any(Verdict::Inconclusive) || scenarios.iter().all(|scenario| scenario.verdict == Verdict::Skipped) {
        INCONCLUSIVE
    } else {
        OK
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn scenario(verdict: Verdict) -> ScenarioResult {
        ScenarioResult {
            id: "x".to_owned(),
            title: String::new(),
            path: String::new(),
            verdict,
            reason: None,
            two_oracles: true,
            namespaces: BTreeMap::new(),
            took_ms: 0,
            ready_ms: 0,
            dns_wait_ms: None,
            steps: Vec::new(),
        }
    }

    fn code(ending: &Ending, canary: Verdict, verdicts: &[Verdict]) -> u8 {
        let canary = Canary { verdict: canary, detail: String::new(), took_ms: 0 };
        exit_code(ending, &canary, &verdicts.iter().map(|verdict| Arc::new(scenario(*verdict))).collect::<Vec<_>>())
    }

    #[test]
    fn the_worst_verdict_counts_and_what_was_not_judged_does_not() {
        use Verdict::{Fail, Inconclusive, Pass, Recorded, Skipped};
        assert_eq!(worst([Pass, Inconclusive, Fail, Pass]), Fail);
        assert_eq!(worst([Pass, Skipped]), Pass);
        assert_eq!(worst([Pass, Recorded]), Pass);
        assert_eq!(worst([Skipped, Skipped]), Skipped);
        assert_eq!(worst([]), Pass);
    }

    #[test]
    fn precedence_of_exit_codes() {
        use Verdict::{Fail, Inconclusive, NotEnforcing, Pass, Recorded, Skipped, Xfail, Xpass};
        let failure = RunFailure { message: String::new(), hint: None };
        let everything = [Pass, Fail, Inconclusive, NotEnforcing, Skipped];
        assert_eq!(code(&Ending::Interrupted, Pass, &everything), 130);
        assert_eq!(code(&Ending::NoLab(failure.clone()), NotEnforcing, &everything), 5);
        assert_eq!(code(&Ending::BadScenario(failure), Skipped, &[]), 2);
        assert_eq!(code(&Ending::Complete, Pass, &everything), 3);
        assert_eq!(code(&Ending::Complete, NotEnforcing, &[Pass]), 3);
        assert_eq!(code(&Ending::Complete, Pass, &[Pass, Fail, Inconclusive]), 1);
        assert_eq!(code(&Ending::Complete, Pass, &[Pass, Inconclusive]), 4);
        assert_eq!(code(&Ending::Complete, Inconclusive, &[Pass]), 4);
        assert_eq!(code(&Ending::Complete, Pass, &[Skipped, Skipped]), 4);
        assert_eq!(code(&Ending::Complete, Pass, &[Pass, Skipped, Recorded, Xfail]), 0);
        assert_eq!(code(&Ending::Complete, Pass, &[Pass, Xpass]), 1, "the profile does not hold any more");
    }
}
