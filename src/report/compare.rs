//! Two runs side by side, from their JSON reports: how soon policies took effect, how long everything took, and which
//! scenarios ended otherwise.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Deserialize;

use super::{
    theme::{FAINT, HEAD, Theme, pad, paint, width},
    words,
};
use crate::engine::{Latencies, Latency};

/// What is compared of a JSON report. Everything but the scenarios may be missing: reports of earlier versions have less.
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    backend: String,
    #[serde(default)]
    facts: BTreeMap<String, String>,
    canary: Timed,
    #[serde(default)]
    latency: Latencies,
    scenarios: Vec<Scenario>,
    lab: Times,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Timed {
    took_ms: u64,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Times {
    ready_ms: u64,
    total_ms: u64,
}

#[derive(Clone, Debug, Deserialize)]
struct Scenario {
    id: String,
    verdict: String,
    took_ms: u64,
    steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Step {
    settled_ms: Option<u64>,
}

impl Report {
    /// The times of a run, by what they are of; `both` says which scenarios both runs have.
    fn times(&self, both: &dyn Fn(&str) -> bool) -> Vec<(&'static str, Option<u64>)> {
        let common: Vec<&Scenario> = self.scenarios.iter().filter(|scenario| both(&scenario.id)).collect();
        let mut settled: Vec<u64> =
            common.iter().flat_map(|scenario| &scenario.steps).filter_map(|step| step.settled_ms).collect();
        settled.sort_unstable();
        let of = |latency: Option<Latency>, time: fn(Latency) -> u64| latency.map(time);
        vec![
            ("denied after, median", of(self.latency.enforced, |it| it.p50_ms)),
            ("denied after, 95 %", of(self.latency.enforced, |it| it.p95_ms)),
            ("denied after, most", of(self.latency.enforced, |it| it.max_ms)),
            ("opened after, median", of(self.latency.opened, |it| it.p50_ms)),
            ("opened after, 95 %", of(self.latency.opened, |it| it.p95_ms)),
            ("opened after, most", of(self.latency.opened, |it| it.max_ms)),
            ("leaked until, most", self.latency.leaked.and_then(|it| it.until).map(|it| it.max_ms)),
            ("a step settled after, median", settled.get(settled.len() / 2).copied()),
            ("scenarios of both, in all", Some(common.iter().map(|scenario| scenario.took_ms).sum())),
            ("canary", Some(self.canary.took_ms)),
            ("lab ready after", Some(self.lab.ready_ms)),
            ("everything", Some(self.lab.total_ms)),
        ]
    }

    fn title(&self) -> String {
        let cni = self.facts.get("cni").map(|cni| cni.split([',', ' ']).next().unwrap_or(cni));
        cni.map_or_else(|| self.backend.clone(), |cni| format!("{}, {cni}", self.backend))
    }
}

/// The comparison of two named runs. The ratio is the second's time by the first's.
#[must_use]
pub fn compare((one_name, one): (&str, &Report), (other_name, other): (&str, &Report), theme: Theme) -> String {
    let verdicts = |report: &Report| -> BTreeMap<String, String> {
        report.scenarios.iter().map(|scenario| (scenario.id.clone(), scenario.verdict.clone())).collect()
    };
    let (ones, others) = (verdicts(one), verdicts(other));
    let both = |id: &str| ones.contains_key(id) && others.contains_key(id);
    let heads = [format!("{one_name} ({})", one.title()), format!("{other_name} ({})", other.title())];
    let columns = heads.each_ref().map(|head| width(head).max(10));
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{}{}  {}  ratio", pad(0, NAMES), paint(HEAD, &heads[0]), paint(HEAD, &heads[1]));
    for ((name, first), (_, second)) in one.times(&both).into_iter().zip(other.times(&both)) {
        let shown = |time: Option<u64>| time.map_or_else(|| "-".to_owned(), words::duration);
        let (first_shown, second_shown) = (shown(first), shown(second));
        let _ = writeln!(
            text,
            "{name}{}{}{first_shown}  {}{second_shown}  {}",
            pad(width(name), NAMES),
            pad(width(&first_shown), columns[0]),
            pad(width(&second_shown), columns[1]),
            ratio(first, second),
        );
    }
    let differ: Vec<_> = ones.iter().filter_map(|(id, verdict)| Some((id, verdict, others.get(id)?))).collect();
    let common = differ.len();
    let differ: Vec<_> = differ.into_iter().filter(|(_, first, second)| first != second).collect();
    let _ =
        writeln!(text, "\n{} in both, {} of them with another verdict", words::count(common, "scenario"), differ.len());
    for (id, first, second) in differ {
        let _ = writeln!(text, "  {id}  {}", paint(FAINT, &format!("{first} {} {second}", theme.either("→", "->"))));
    }
    text
}

const NAMES: usize = 31;

fn ratio(first: Option<u64>, second: Option<u64>) -> String {
    match (first, second) {
        (Some(first), Some(second)) if first > 0 => {
            // Tenths are all that times of a few milliseconds allow.
            let tenths = (second * 10 + first / 2) / first;
            format!("{}.{}", tenths / 10, tenths % 10)
        }
        _ => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing;

    #[test]
    fn two_runs_beside_each_other() {
        let parsed = |result| {
            let mut text = Vec::new();
            super::super::json(&result, &mut text).expect("memory can be written to");
            serde_json::from_slice::<Report>(&text).expect("a report")
        };
        let mut slower = testing::failing();
        slower.lab.total_ms *= 3;
        let (one, other) = (parsed(testing::passing()), parsed(slower));
        insta::assert_snapshot!(compare(("a.json", &one), ("b.json", &other), Theme { unicode: true, width: 100 }));
    }

    #[test]
    fn ratios_are_rounded_and_never_by_nothing() {
        assert_eq!(ratio(Some(200), Some(510)), "2.6");
        assert_eq!(ratio(Some(0), Some(5)), "-");
        assert_eq!(ratio(None, Some(5)), "-");
    }
}
