//! What the engine concludes: verdicts, and the records of cells, steps, scenarios and runs that reporters read.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use serde::Serialize;

use super::Latencies;
use crate::{
    probe::{Means, Outcome},
    scenario::{Family, Protocol},
    text::Text,
};

/// A cell's, a step's or a scenario's verdict, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As expected, with a witness.
    Pass,
    /// Not run, with a reason.
    Skipped,
    /// Not judged: undefined or informational.
    Recorded,
    /// Failed, as the CNI's profile says it does.
    Xfail,
    /// Passed, although the CNI's profile says that it fails.
    Xpass,
    /// Nothing can be said.
    Inconclusive,
    /// Not as expected.
    Fail,
    /// The CNI enforces nothing: no verdict on a deny is possible.
    NotEnforcing,
}

/// What a cell expects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Expectation {
    /// The destination answers, with any status.
    Reachable,
    /// Nothing comes back.
    Blocked,
    /// The destination answers with this status.
    Status {
        /// The HTTP status code.
        code: u16,
    },
    /// The connection is made, and nothing is answered.
    Silent,
    /// Nothing listens there, and the host says so.
    Refused,
    /// The API server refuses a manifest.
    Rejected {
        /// Words of the refusal.
        message: String,
    },
    /// A watch of nodes reports a change of these fields, and its taking back, once each.
    Noticed {
        /// The fields with their new values; none for one that goes.
        shows: BTreeMap<String, Option<String>>,
    },
    /// Anything: it is recorded.
    Recorded,
}

impl Expectation {
    /// Whether it is that something does not come. That has to be told from loss, and from a server that is down: by as many
    /// attempts as it takes, in windows of what the path takes otherwise, around which a witness is answered.
    #[must_use]
    pub(super) fn is_absence(&self) -> bool {
        matches!(self, Self::Blocked | Self::Silent)
    }
}

/// Who proved that the server of a cell was up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Witness {
    /// The kind.
    pub kind: WitnessKind,
    /// The source, as scenario files write it.
    pub from: Text,
}

/// The kinds of witness, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WitnessKind {
    /// Another source that should be allowed.
    Source,
    /// The node that the server is on, which is always allowed.
    Node,
    /// The server to itself.
    #[serde(rename = "self")]
    Itself,
}

/// One cell's record: one source, one destination, one step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CellResult {
    /// Stable in the scenario: `app1 -> metadata:80/tcp`, with what else tells it apart.
    pub id: Text,
    /// The source, as scenario files write it.
    pub from: Text,
    /// The destination, in short.
    pub to: Text,
    /// The address that was tried.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: Option<u16>,
    /// The protocol.
    pub protocol: Protocol,
    /// The family.
    pub family: Family,
    /// `allow` or `deny` for reachability, else `status`, `silent`, `refused`, `rejected`, `noticed` or `recorded`.
    pub expected: &'static str,
    /// The expectation in full.
    pub expectation: Expectation,
    /// What was observed last; none where the cell was skipped.
    pub outcome: Option<Outcome>,
    /// How many attempts had which outcome, over the hold.
    pub outcomes: BTreeMap<Outcome, u32>,
    /// The HTTP status.
    pub status: Option<u16>,
    /// The server's identity, as it answered.
    pub server: Option<Text>,
    /// The address that the server last saw the source come from, where it is not the source's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub translated: Option<IpAddr>,
    /// The verdict.
    pub verdict: Verdict,
    /// Why, in a sentence, wherever the verdict is not a pass.
    pub reason: Option<String>,
    /// The witness, where the cell expects a deny or nothing came back.
    pub witness: Option<Witness>,
    /// Attempts that count towards the verdict.
    pub attempts: u32,
    /// The window that an attempt had, in milliseconds.
    pub window_ms: u64,
    /// From the end of the step's last action to the start of the rounds in which the cell was as expected, in milliseconds;
    /// none where it did not hold, or nothing was changed.
    pub settled_ms: Option<u64>,
    /// The slowest connect that was observed, in milliseconds.
    pub connect_ms: Option<f64>,
    /// The rule that decides the cell, by the simulator.
    pub decided_by: Option<Text>,
    /// The literal command. Where `curl` did not make the request, the one by which it can be repeated.
    pub command: Option<Text>,
    /// What made the requests; none where none was made.
    pub probe: Option<Means>,
    /// What came of a new pod's first packets, where the cell is about them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_packets: Option<FirstPackets>,
}

/// What came of a new pod's first packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FirstPackets {
    /// Since when the times are told.
    pub since: FirstSince,
    /// How often the pod asked, or was asked.
    pub attempts: u32,
    /// How often there was an answer.
    pub reached: u32,
    /// When the first attempt was begun that was answered, in milliseconds. Where the pod is asked, it is when the harness knew
    /// of the answer.
    pub first_ms: Option<u64>,
    /// When the last one was.
    pub last_ms: Option<u64>,
}

/// When a new pod's first packets begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FirstSince {
    /// With the first instruction of the pod, which asks.
    Instruction,
    /// When the address of the pod, which is asked, is known.
    Address,
}

impl FirstPackets {
    /// How often and from when to when it was answered; none where it never was.
    #[must_use]
    pub fn words(&self) -> Option<String> {
        let Self { since, attempts, reached, first_ms, last_ms } = self;
        let (first, last) = (first_ms.as_ref()?, last_ms.as_ref()?);
        let since = match since {
            FirstSince::Instruction => "the pod's first instruction",
            FirstSince::Address => "the pod's address was known",
        };
        Some(format!("in {reached} of {attempts} attempts, from {first} ms to {last} ms after {since}"))
    }
}

/// One step's record.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepResult {
    /// The step's name.
    pub name: String,
    /// What the step did, a line an action (`apply cloud-metadata-deny.yaml`).
    pub actions: Vec<String>,
    /// From the end of the last action to the start of the hold, in milliseconds; none where it never settled.
    pub settled_ms: Option<u64>,
    /// How many rounds were needed, void ones included.
    pub rounds: u32,
    /// Of a baseline, the scenario whose last check it shares: what that found is not asked again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shares: Option<String>,
    /// The worst of the cells' verdicts.
    pub verdict: Verdict,
    /// The cells.
    pub cells: Vec<CellResult>,
}

/// One scenario's record.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScenarioResult {
    /// The scenario's id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Its file.
    pub path: String,
    /// The worst of the steps' verdicts.
    pub verdict: Verdict,
    /// Why the whole scenario has this verdict, where its cells do not say it.
    pub reason: Option<String>,
    /// `false` where something was applied that the simulator does not model: the report says `one oracle`.
    pub two_oracles: bool,
    /// Literal names of the logical namespaces, where they differ.
    pub namespaces: BTreeMap<String, String>,
    /// From the start of its stage to the last verdict, in milliseconds.
    pub took_ms: u64,
    /// How long its stage took to be ready, in milliseconds.
    pub ready_ms: u64,
    /// How long the wait for the cluster's DNS was, where the scenario needs it, in milliseconds.
    pub dns_wait_ms: Option<u64>,
    /// The steps, the closing check of the baseline (`restored`) among them.
    pub steps: Vec<Arc<StepResult>>,
}

/// The cells of these steps, to be changed. Steps that others share, who were told of them, are copied.
pub(crate) fn cells_mut(steps: &mut [Arc<StepResult>]) -> impl Iterator<Item = &mut CellResult> {
    steps.iter_mut().flat_map(|step| &mut Arc::make_mut(step).cells)
}

/// Counts of cells by verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// As expected.
    pub pass: u32,
    /// Not as expected.
    pub fail: u32,
    /// Nothing can be said.
    pub inconclusive: u32,
    /// No policy is enforced.
    pub not_enforcing: u32,
    /// Not run.
    pub skipped: u32,
    /// Known failures.
    pub xfail: u32,
    /// Unexpected passes.
    pub xpass: u32,
    /// Not judged.
    pub recorded: u32,
}

impl Summary {
    /// Counts the cells of these scenarios.
    #[must_use]
    pub fn of(scenarios: &[Arc<ScenarioResult>]) -> Self {
        let mut summary = Self::default();
        for cell in scenarios.iter().flat_map(|scenario| &scenario.steps).flat_map(|step| &step.cells) {
            let count = match cell.verdict {
                Verdict::Pass => &mut summary.pass,
                Verdict::Skipped => &mut summary.skipped,
                Verdict::Recorded => &mut summary.recorded,
                Verdict::Xfail => &mut summary.xfail,
                Verdict::Xpass => &mut summary.xpass,
                Verdict::Inconclusive => &mut summary.inconclusive,
                Verdict::Fail => &mut summary.fail,
                Verdict::NotEnforcing => &mut summary.not_enforcing,
            };
            *count += 1;
        }
        summary
    }
}

/// A whole run's record: the JSON report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunResult {
    /// Of this format; a change that breaks readers raises it.
    pub schema_version: u32,
    /// The program's version.
    pub policyprobe: String,
    /// The run's id.
    pub run: String,
    /// The backend.
    pub backend: String,
    /// When the run began, RFC 3339.
    pub started: String,
    /// Facts about the lab.
    pub facts: BTreeMap<String, String>,
    /// The canary.
    pub canary: Canary,
    /// Counts of cells.
    pub summary: Summary,
    /// How long policies took to have their effect.
    pub latency: Latencies,
    /// How many scenarios were to be played.
    pub selected: usize,
    /// Those that were, in the order of the selection.
    pub scenarios: Vec<Arc<ScenarioResult>>,
    /// Times of the lab.
    pub lab: LabTimes,
    /// Why the run as a whole could not be made, or not to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<RunFailure>,
    /// The exit code that this run has.
    pub exit_code: u8,
}

/// Why a run as a whole could not be made, or not to its end. No verdict rests on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunFailure {
    /// What went wrong, with its causes.
    pub message: String,
    /// What the user can do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Whether the lab enforces policy at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Canary {
    /// The conclusion: pass, not enforcing, inconclusive; skipped where no canary could run.
    pub verdict: Verdict,
    /// In words: which directions on which nodes.
    pub detail: String,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// Times of the lab.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LabTimes {
    /// From the start of the run to a lab that takes stages, in milliseconds.
    pub ready_ms: u64,
    /// From the start of the run to the end of the tear-down, in milliseconds.
    pub total_ms: u64,
}
