//! Pure: what a run does with a profile. A failure in a deviation's scope becomes a known failure at once; whether there
//! was none, which is as worth knowing, shows when the scenario is over.

use std::sync::Arc;

use semver::{Version, VersionReq};

use super::{Deviation, Profile};
use crate::engine::{self, CellResult, ScenarioResult, Verdict};

/// A profile in use.
#[derive(Clone, Debug)]
pub struct Known {
    profile: Profile,
    /// How it was chosen.
    how: String,
}

impl Known {
    /// The deviations of this version, where it is known.
    #[must_use]
    pub fn new(mut profile: Profile, version: Option<&Version>, how: String) -> Self {
        let has = |deviation: &Deviation| {
            let range = deviation.versions.as_deref().and_then(|range| VersionReq::parse(range).ok());
            match (range, version) {
                (Some(range), Some(version)) => range.matches(version),
                _ => true,
            }
        };
        profile.deviations.retain(has);
        Self { profile, how }
    }

    /// The profile's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.profile.profile
    }

    /// The profile, how many deviations it knows of this version, and how it was chosen.
    #[must_use]
    pub fn describe(&self) -> String {
        let count = self.profile.deviations.len();
        let known = if count == 1 { "1 known deviation".to_owned() } else { format!("{count} known deviations") };
        format!("{} ({known}; {})", self.name(), self.how)
    }

    /// Whether a cell is known to be otherwise than expected.
    pub(crate) fn covers(&self, scenario: &str, cell: &str) -> bool {
        self.of(scenario, cell).is_some()
    }

    fn of(&self, scenario: &str, cell: &str) -> Option<&Deviation> {
        self.profile.deviations.iter().find(|deviation| deviation.covers(scenario, cell))
    }

    /// Makes failures that are known known failures.
    pub(crate) fn excuse(&self, scenario: &str, cells: &mut [CellResult]) {
        for cell in cells.iter_mut().filter(|cell| cell.verdict == Verdict::Fail) {
            let Some(deviation) = self.of(scenario, &cell.id) else { continue };
            cell.verdict = Verdict::Xfail;
            let seen = cell.reason.take().map(|reason| format!("; here: {reason}")).unwrap_or_default();
            cell.reason = Some(format!(
                "known of {} (`{}`): {} ({}){seen}",
                self.name(),
                deviation.id,
                deviation.reason,
                deviation.link
            ));
        }
    }

    /// Makes the passes of a scope in which nothing failed unexpected ones. A scope of which something could not be
    /// judged is left alone.
    pub(crate) fn surprise(&self, result: &mut ScenarioResult) {
        let scenario = result.id.clone();
        let always = self.profile.deviations.iter().filter(|deviation| !deviation.sometimes);
        for deviation in always.filter(|deviation| deviation.covers_scenario(&scenario)) {
            let cells = engine::cells_mut(&mut result.steps);
            let mut scope: Vec<&mut CellResult> = cells.filter(|cell| deviation.covers(&scenario, &cell.id)).collect();
            if !scope.iter().any(|cell| cell.verdict == Verdict::Pass)
                || !scope
                    .iter()
                    .all(|cell| matches!(cell.verdict, Verdict::Pass | Verdict::Skipped | Verdict::Recorded))
            {
                continue;
            }
            for cell in scope.iter_mut().filter(|cell| cell.verdict == Verdict::Pass) {
                cell.verdict = Verdict::Xpass;
                cell.reason = Some(format!(
                    "{} is known to deviate here (`{}`: {}), and did not",
                    self.name(),
                    deviation.id,
                    deviation.reason
                ));
            }
        }
    }

    /// The deviations that showed nowhere although scenarios of their scope were played.
    #[must_use]
    pub(crate) fn stale(&self, results: &[Arc<ScenarioResult>]) -> Vec<String> {
        let stale = |deviation: &&Deviation| {
            let mut verdicts = results
                .iter()
                .filter(|result| deviation.covers_scenario(&result.id))
                .flat_map(|result| {
                    result.steps.iter().flat_map(move |step| step.cells.iter().map(move |cell| (result, cell)))
                })
                .map(|(result, cell)| (deviation.covers(&result.id, &cell.id), cell.verdict))
                .filter(|(_, verdict)| !matches!(verdict, Verdict::Skipped | Verdict::Recorded | Verdict::NotEnforcing))
                .peekable();
            verdicts.peek().is_some() && verdicts.all(|(covered, verdict)| !covered || verdict != Verdict::Xfail)
        };
        self.profile
            .deviations
            .iter()
            .filter(|deviation| !deviation.sometimes)
            .filter(stale)
            .map(|deviation| deviation.id.clone())
            .collect()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::report::testing;

    fn known(versions: Option<&str>, version: Option<&Version>) -> Known {
        let profile = json!({"profile": "p", "deviations": [
            {"id": "d", "scenarios": ["s*"], "cells": ["a -> *"], "versions": versions, "reason": "r", "link": "https://l"},
            {"id": "e", "scenarios": ["u"], "sometimes": true, "reason": "r", "link": "https://l"},
        ]});
        Known::new(serde_json::from_value(profile).unwrap(), version, "by hand".to_owned())
    }

    fn played(id: &str, verdicts: &[(&str, Verdict)]) -> ScenarioResult {
        let cell = |(id, verdict): &(&str, Verdict)| CellResult {
            id: (*id).into(),
            verdict: *verdict,
            ..testing::cell("a", "b").build()
        };
        let mut result = (*testing::passing().scenarios[0]).clone();
        id.clone_into(&mut result.id);
        result.steps.truncate(1);
        Arc::make_mut(&mut result.steps[0]).cells = verdicts.iter().map(cell).collect();
        result
    }

    fn after(known: &Known, mut result: ScenarioResult) -> (Vec<Verdict>, Vec<String>) {
        let id = result.id.clone();
        result.steps.iter_mut().for_each(|step| known.excuse(&id, &mut Arc::make_mut(step).cells));
        known.surprise(&mut result);
        let verdicts = result.steps[0].cells.iter().map(|cell| cell.verdict).collect();
        (verdicts, known.stale(&[Arc::new(result)]))
    }

    #[test]
    fn failures_in_scope_are_known_and_their_absence_is_a_surprise() {
        use Verdict::{Fail, Inconclusive, Pass, Xfail, Xpass};
        let p = known(None, None);
        let stale = vec!["d".to_owned()];
        assert_eq!(
            after(&p, played("s1", &[("a -> b", Fail), ("a -> c", Pass), ("b -> a", Fail)])),
            (vec![Xfail, Pass, Fail], vec![])
        );
        assert_eq!(after(&p, played("s1", &[("a -> b", Pass), ("b -> a", Pass)])), (vec![Xpass, Pass], stale.clone()));
        assert_eq!(
            after(&p, played("s1", &[("a -> b", Pass), ("a -> c", Inconclusive)])),
            (vec![Pass, Inconclusive], stale.clone())
        );
        assert_eq!(
            after(&p, played("s1", &[("b -> a", Pass)])),
            (vec![Pass], stale),
            "its cells are called otherwise now"
        );
        assert_eq!(
            after(&p, played("t1", &[("a -> b", Fail)])),
            (vec![Fail], vec![]),
            "another scenario's failure is news"
        );
        assert_eq!(after(&p, played("u", &[("a -> b", Fail), ("a -> c", Pass)])), (vec![Xfail, Pass], vec![]),);
        let in_time = after(&p, played("u", &[("a -> b", Pass)]));
        assert_eq!(in_time, (vec![Pass], vec![]), "a matter of time is no surprise where it does not show");
    }

    #[test]
    fn a_deviation_is_of_some_versions() {
        let of = |version: Option<Version>| known(Some("<1.15"), version.as_ref()).describe();
        assert!(of(Some(Version::new(1, 14, 9))).contains("2 known deviations;"));
        assert!(of(Some(Version::new(1, 15, 0))).contains("1 known deviation;"));
        assert!(of(None).contains("2 known deviations;"), "a version that is not known counts as one of them");
    }
}
