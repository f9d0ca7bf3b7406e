//! `explain SCENARIO`: which rule decides each cell, by the simulator. No lab is touched.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use anyhow::{Context as _, bail};

use super::output::conclude;
use crate::{
    engine::{
        Expectation, OK, USAGE,
        plan::{self, CellOracle, StepOracle},
    },
    policy::Decision,
    scenario::{self, LoadedScenario, Step},
};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const ALLOWED: Style = AnsiColor::Green.on_default();
const DENIED: Style = AnsiColor::Red.on_default();
const OPEN: Style = AnsiColor::Yellow.on_default();

/// Says which rule of which policy decides each cell of a scenario.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// A scenario's id or tag, a file or a directory.
    #[arg(required = true, value_name = "SCENARIO")]
    pub scenarios: Vec<String>,
    /// Only this step, counted from 1.
    #[arg(long, value_name = "N")]
    pub step: Option<usize>,
}

/// An explanation, and whether the scenario's expectations agree with the simulator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The text, with colours.
    pub text: String,
    /// Whether every expectation that is shown agrees.
    pub agrees: bool,
}

/// Explains; returns the exit code.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    show(args, &scenario::select(&args.scenarios)?)
}

/// Prints the explanations of the scenarios. The exit code is [`USAGE`] where one contradicts the simulator.
fn show(args: &Args, scenarios: &[LoadedScenario]) -> anyhow::Result<u8> {
    let (mut text, mut agrees) = (String::new(), true);
    for (index, loaded) in scenarios.iter().enumerate() {
        let explanation = explain(loaded, args.step)?;
        agrees &= explanation.agrees;
        let gap = if index == 0 { "" } else { "\n" };
        text += gap;
        text += &explanation.text;
    }
    Ok(conclude(&text, if agrees { OK } else { USAGE }))
}

/// Explains one scenario, or one step of it, counted from 1.
pub fn explain(loaded: &LoadedScenario, only: Option<usize>) -> anyhow::Result<Explanation> {
    let scenario = &loaded.scenario;
    let steps = plan::judge(loaded, &plan::world(&scenario.lab)).map_err(|error| {
        let hint = error.hint.clone().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
        anyhow::anyhow!("{}: {error}{hint}", loaded.path.display())
    })?;
    if only.is_some_and(|number| number == 0 || number > steps.len()) {
        bail!("`--step` is out of range: `{}` has the steps 1 to {}", scenario.id, steps.len());
    }
    let mut text = String::new();
    let mut agrees = true;
    writeln!(text, "{BOLD}{}{BOLD:#}  {}", scenario.id, scenario.title).context("formatting")?;
    for (number, (step, oracle)) in (1..).zip(scenario.steps.iter().zip(&steps)) {
        if only.is_none_or(|only| only == number) {
            agrees &= oracle.cells.iter().all(|cell| cell.disagreement.is_none());
            write_step(&mut text, number, step, oracle).context("formatting")?;
        }
    }
    Ok(Explanation { text, agrees })
}

fn write_step(text: &mut String, number: usize, step: &Step, oracle: &StepOracle) -> std::fmt::Result {
    writeln!(text, "\n{BOLD}{number}. {}{BOLD:#}", step.name)?;
    for action in actions(step) {
        writeln!(text, "   {DIM}{action}{DIM:#}")?;
    }
    if !oracle.two_oracles {
        writeln!(text, "   {OPEN}one oracle: something is applied that the simulator does not model{OPEN:#}")?;
    }
    let width = oracle.cells.iter().map(|cell| cell.cell.id.chars().count()).max().unwrap_or_default();
    oracle.cells.iter().try_for_each(|cell| write_cell(text, width, cell))
}

fn write_cell(text: &mut String, width: usize, oracle: &CellOracle) -> std::fmt::Result {
    let expected = match &oracle.cell.expectation {
        Expectation::Reachable => "allow".to_owned(),
        Expectation::Blocked => "deny".to_owned(),
        Expectation::Status { code } => code.to_string(),
        Expectation::Rejected { .. } => "rejected".to_owned(),
        Expectation::Noticed { .. } => "noticed".to_owned(),
        Expectation::Silent => "silent".to_owned(),
        Expectation::Refused => "refused".to_owned(),
        Expectation::Recorded => "record".to_owned(),
    };
    let (style, decision) = match &oracle.decision {
        Some(decision @ Decision::Allow(_)) => (ALLOWED, decision.to_string()),
        Some(decision @ Decision::Deny(_)) => (DENIED, decision.to_string()),
        Some(decision @ Decision::Undefined { .. }) => (OPEN, decision.to_string()),
        None => (DIM, "not judged: no such address".to_owned()),
    };
    let mark = if oracle.disagreement.is_some() { "!" } else { " " };
    writeln!(text, " {mark} {:width$}  {expected:8}  {style}{decision}{style:#}", oracle.cell.id)?;
    match &oracle.disagreement {
        Some(reason) => writeln!(text, "     {DENIED}disagrees: {reason}{DENIED:#}"),
        None => Ok(()),
    }
}

/// The step's actions, a line each, in their order.
fn actions(step: &Step) -> Vec<String> {
    let files = |word: &'static str, files: &[String]| -> Vec<String> {
        files.iter().map(|file| format!("{word} {file}")).collect()
    };
    let labels = step.label.iter().map(|action| {
        let pod = action.pod.clone().map(|pod| format!("pod {pod}"));
        let namespace = action.namespace.clone().map(|name| format!("namespace {name}"));
        let set = action.set.iter().map(|(key, value)| format!("{key}={value}"));
        let removed = action.remove.iter().map(|key| format!("{key}-"));
        let changes: Vec<_> = set.chain(removed).collect();
        format!("label {} {}", pod.or(namespace).unwrap_or_default(), changes.join(" "))
    });
    [
        files("apply", &step.apply),
        files("delete", &step.delete),
        labels.collect(),
        step.create.iter().map(|pod| format!("create {}/{}", pod.namespace, pod.name)).collect(),
        files("recreate", &step.recreate),
        files("restart", &step.restart),
        step.rejected.iter().map(|rejected| format!("rejected {}", rejected.file)).collect(),
    ]
    .concat()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

    use serde_json::json;

    use super::*;
    use crate::scenario::Manifest;

    fn lab() -> LoadedScenario {
        let policy = |name: &str, spec: serde_json::Value| {
            Manifest::network_policy(format!("{name}.yaml"), ("default", name), &spec).unwrap()
        };
        let deny = json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [
            {"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.169.254/32"]}}]}]});
        let allow = json!({"podSelector": {"matchLabels": {"role": "accessor"}}, "policyTypes": ["Egress"], "egress": [
            {"to": [{"ipBlock": {"cidr": "169.254.169.254/32"}}]}]});
        let manifests = [("deny.yaml", policy("deny", deny)), ("allow.yaml", policy("allow", allow))];
        let manifests: BTreeMap<_, _> =
            manifests.map(|(file, manifest)| (file.to_owned(), vec![Arc::new(manifest)])).into();
        let scenario = json!({
            "id": "metadata-lab",
            "title": "Pods lose the metadata server",
            "lab": {"metadata": "gcp", "pods": [{"name": "app1"}, {"name": "app2", "labels": {"role": "accessor"}}]},
            "steps": [
                {"name": "no policy", "expect": [{"to": {"metadata": {}}, "allow": ["app1", "app2", "node/worker"]}]},
                {"name": "deny", "apply": ["deny.yaml"], "expect": [
                    {"to": {"metadata": {}}, "deny": ["app1"], "allow": ["app2", "node/worker"]}]},
                {"name": "allow", "apply": ["allow.yaml"], "label": [{"pod": "app1", "set": {"a": "b"}, "remove": ["c"]}],
                 "expect": [
                    {"to": {"metadata": {}}, "deny": ["app1"], "status": {"code": 200, "from": ["app2"]}},
                    {"to": {"node": "worker"}, "record": ["app1"]}]},
            ],
        });
        let scenario = serde_json::from_value(scenario).unwrap();
        LoadedScenario {
            path: PathBuf::from("lab.yaml"),
            shipped: false,
            scenario,
            manifests,
            warnings: Vec::new(),
            places: scenario::Places::default(),
        }
    }

    fn plain(only: Option<usize>) -> (String, bool) {
        let explanation = explain(&lab(), only).unwrap();
        (anstream::adapter::strip_str(&explanation.text).to_string(), explanation.agrees)
    }

    #[test]
    fn a_whole_scenario() {
        let (text, agrees) = plain(None);
        assert!(!agrees);
        insta::assert_snapshot!(text, @r"
        metadata-lab  Pods lose the metadata server

        1. no policy
           app1 -> metadata:80/tcp         allow     allowed as no policy isolates it
           app2 -> metadata:80/tcp         allow     allowed as no policy isolates it
           node/worker -> metadata:80/tcp  allow     allowed as no pod is involved

        2. deny
           apply deny.yaml
         ! app2 -> metadata:80/tcp         allow     isolated for egress by default/deny, no rule allows it
             disagrees: expected to be reachable, but it is isolated for egress by default/deny, no rule allows it
           node/worker -> metadata:80/tcp  allow     allowed as no pod is involved
           app1 -> metadata:80/tcp         deny      isolated for egress by default/deny, no rule allows it

        3. allow
           apply allow.yaml
           label pod app1 a=b c-
           app1 -> metadata:80/tcp       deny      isolated for egress by default/deny, no rule allows it
           app2 -> metadata:80/tcp       200       allowed by default/allow egress[0].to[0]
           app1 -> node/worker:9999/tcp  record    allowed by default/deny egress[0].to[0]
        ");
    }

    #[test]
    fn one_step() {
        let (text, agrees) = plain(Some(1));
        assert!(agrees && text.contains("1. no policy") && !text.contains("2. deny"), "{text}");
        assert!(plain(Some(3)).1);
    }

    #[test]
    fn a_step_that_is_not_there() {
        for step in [0, 4] {
            let error = explain(&lab(), Some(step)).unwrap_err().to_string();
            assert_eq!(error, "`--step` is out of range: `metadata-lab` has the steps 1 to 3");
        }
    }
}
