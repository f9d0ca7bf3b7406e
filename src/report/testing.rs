//! Records and events as a run would make them, built by hand, for the tests of reporters.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use super::Told;
use crate::{
    engine::{
        self, Canary, CellResult, Event, Expectation, LabTimes, Latencies, RunResult, ScenarioResult, StepResult,
        Summary, Verdict, Witness, WitnessKind,
    },
    probe::{Means, Outcome},
    scenario::{
        Cloud, Destination, Expect, Family, LabSpec, MetadataTarget, NodeName, PodSpec, PortSpec, Protocol, Scenario,
        Step,
    },
};

const METADATA: &str = "metadata:80/tcp";
const LITERAL: &str = "curl -q --noproxy '*' --connect-timeout 5 -H 'Metadata-Flavor: Google' \
    'http://metadata.google.internal/computeMetadata/v1/instance/image'";

/// A cell in the making.
pub(crate) struct CellBuilder(CellResult);

/// A cell that was not judged yet.
pub(crate) fn cell(from: &str, to: &str) -> CellBuilder {
    let address = if to == METADATA { [169, 254, 169, 254] } else { [10, 244, 1, 3] };
    CellBuilder(CellResult {
        id: format!("{from} -> {to}").into(),
        from: from.into(),
        to: to.into(),
        address: Some(IpAddr::from(address)),
        port: Some(80),
        protocol: Protocol::Tcp,
        family: Family::Ipv4,
        expected: "allow",
        expectation: Expectation::Reachable,
        outcome: None,
        outcomes: BTreeMap::new(),
        status: None,
        server: None,
        translated: None,
        verdict: Verdict::Skipped,
        reason: None,
        witness: None,
        attempts: 0,
        window_ms: 100,
        settled_ms: None,
        connect_ms: None,
        decided_by: None,
        command: Some(format!("kubectl exec {from} -- {LITERAL}").into()),
        probe: Some(Means::Curl),
        first_packets: None,
    })
}

impl CellBuilder {
    fn saw(mut self, outcome: Outcome, verdict: Verdict) -> Self {
        let attempts = if outcome == Outcome::Reached { 3 } else { 12 };
        (self.0.outcome, self.0.verdict, self.0.attempts) = (Some(outcome), verdict, attempts);
        self.0.outcomes = BTreeMap::from([(outcome, attempts)]);
        if outcome == Outcome::Reached {
            (self.0.status, self.0.connect_ms) = (Some(200), Some(0.4));
            self.0.server =
                Some(if self.0.to == METADATA { "metadata/gcp".into() } else { format!("pod/{}", self.0.to).into() });
        }
        self
    }

    fn denial(mut self) -> Self {
        (self.0.expected, self.0.expectation) = ("deny", Expectation::Blocked);
        self.0.decided_by = Some("default/cloud-metadata-deny isolates app1 for egress, and no rule allows it".into());
        self
    }

    fn because(mut self, reason: &str) -> Self {
        self.0.reason = Some(reason.to_owned());
        self
    }

    fn witnessed(mut self, kind: WitnessKind, from: &str) -> Self {
        self.0.witness = Some(Witness { kind, from: from.into() });
        self
    }

    /// Allowed, and reached.
    pub(crate) fn allowed(self) -> Self {
        self.saw(Outcome::Reached, Verdict::Pass)
    }

    /// Denied, and timed out while a node was answered.
    pub(crate) fn denied(self) -> Self {
        self.denial().saw(Outcome::TimedOut, Verdict::Pass).witnessed(WitnessKind::Source, "node/worker")
    }

    /// Denied, and reached.
    fn leaks(self) -> Self {
        self.denial()
            .saw(Outcome::Reached, Verdict::Fail)
            .because("the server answered although the traffic must be denied")
    }

    /// Allowed, and stopped.
    fn cut(self) -> Self {
        let cell = self.saw(Outcome::Refused, Verdict::Fail).witnessed(WitnessKind::Node, "node/worker");
        cell.because("the traffic was stopped although it must be allowed")
    }

    /// Denied, and silent with nobody to prove it.
    fn unproved(self) -> Self {
        let cell = self.denial().saw(Outcome::TimedOut, Verdict::Inconclusive);
        cell.because("no witness: the server answered nobody in this step")
    }

    /// Denied in a lab that enforces nothing.
    fn unenforced(self) -> Self {
        self.denial()
            .saw(Outcome::Reached, Verdict::NotEnforcing)
            .because("the canary showed that no policy is enforced")
    }

    pub(crate) fn build(self) -> CellResult {
        self.0
    }
}

fn worst(verdicts: impl Iterator<Item = Verdict>) -> Verdict {
    verdicts.max().unwrap_or(Verdict::Pass)
}

fn step(name: &str, actions: &[&str], settled_ms: Option<u64>, cells: Vec<CellBuilder>) -> StepResult {
    let built = cells.into_iter().map(|cell| CellResult { settled_ms, ..cell.build() });
    let cells: Vec<_> = built.collect();
    StepResult {
        name: name.to_owned(),
        actions: actions.iter().map(|&action| action.to_owned()).collect(),
        settled_ms,
        rounds: 3,
        shares: None,
        verdict: worst(cells.iter().map(|cell| cell.verdict)),
        cells,
    }
}

fn scenario(id: &str, title: &str, steps: Vec<StepResult>) -> ScenarioResult {
    ScenarioResult {
        id: id.to_owned(),
        title: title.to_owned(),
        path: format!("scenarios/cloud-metadata/{id}.yaml"),
        verdict: worst(steps.iter().map(|step| step.verdict)),
        reason: None,
        two_oracles: true,
        namespaces: BTreeMap::new(),
        took_ms: 641,
        ready_ms: 48,
        dns_wait_ms: None,
        steps: steps.into_iter().map(Arc::new).collect(),
    }
}

/// The run of these scenarios, with its counts.
fn run(canary: Canary, exit_code: u8, scenarios: Vec<ScenarioResult>) -> RunResult {
    let scenarios: Vec<Arc<ScenarioResult>> = scenarios.into_iter().map(Arc::new).collect();
    RunResult {
        schema_version: 1,
        policyprobe: "0.1.0".to_owned(),
        run: "k3x9".to_owned(),
        backend: "embedded".to_owned(),
        started: "2026-11-23T06:30:00Z".to_owned(),
        facts: facts(),
        canary,
        summary: Summary::of(&scenarios),
        latency: Latencies::of(&scenarios),
        selected: scenarios.len(),
        scenarios,
        lab: LabTimes { ready_ms: 92, total_ms: 871 },
        error: None,
        exit_code,
    }
}

fn facts() -> BTreeMap<String, String> {
    [("cni", "reference (drops)"), ("kernel", "6.8.0")].map(|(k, v)| (k.into(), v.into())).into()
}

fn enforced() -> Canary {
    let detail = "ingress and egress, on both nodes".to_owned();
    Canary { verdict: Verdict::Pass, detail, took_ms: 31 }
}

const TITLE: &str = "Pods lose the metadata server, the nodes keep it, a label gives it back";

/// The document's scenario as it should be.
fn metadata_lab() -> ScenarioResult {
    let all = || ["app1", "app2", "node/master", "node/worker"].map(|from| cell(from, METADATA));
    let beside = || [cell("app1", "app2:80/tcp").allowed(), cell("app1", "dns:kubernetes.default").allowed()];
    let judged = |denied: &[&str]| {
        let cells =
            all().map(|cell| if denied.contains(&cell.0.from.as_str()) { cell.denied() } else { cell.allowed() });
        cells.into_iter().chain(beside()).collect()
    };
    scenario(
        "metadata-lab",
        TITLE,
        vec![
            step("no policy", &[], Some(4), judged(&[])),
            step("deny for every pod", &["apply cloud-metadata-deny.yaml"], Some(11), judged(&["app1", "app2"])),
            step("allow for a label", &["apply cloud-metadata-allow.yaml"], Some(9), judged(&["app1"])),
            step("restored", &["remove every policy"], Some(6), judged(&[])),
        ],
    )
}

/// A run in which everything is as expected.
pub(crate) fn passing() -> RunResult {
    run(enforced(), engine::OK, vec![metadata_lab()])
}

/// A run with a leak, a cut, a denial that nobody proves, a skipped cell and a skipped scenario.
pub(crate) fn failing() -> RunResult {
    let cells = vec![
        cell("app1", METADATA).leaks(),
        cell("app2", METADATA).unproved(),
        cell("node/master", METADATA).allowed(),
        cell("app1", "app2:80/tcp").cut(),
        cell("app2", "app1:5000/sctp").because("needs sctp: this lab has no probe for it"),
    ];
    let first = vec![cell("app1", METADATA).allowed(), cell("app2", METADATA).allowed()];
    let steps = vec![
        step("no policy", &[], Some(4), first),
        step("deny for every pod", &["apply cloud-metadata-deny.yaml"], None, cells),
    ];
    let mut skipped = scenario("metadata-ipv6", "The metadata server over IPv6", Vec::new());
    skipped.verdict = Verdict::Skipped;
    skipped.reason = Some("needs ipv6, which this lab does not have".to_owned());
    run(enforced(), engine::FAILED, vec![scenario("metadata-lab", TITLE, steps), skipped])
}

/// A run on a CNI that enforces nothing.
pub(crate) fn not_enforcing() -> RunResult {
    let detail = "the canary's deny had no effect on master and worker, for ingress and egress".to_owned();
    let canary = Canary { verdict: Verdict::NotEnforcing, detail, took_ms: 4_210 };
    let cells = vec![cell("app1", METADATA).unenforced(), cell("node/master", METADATA).allowed()];
    let steps = vec![step("deny for every pod", &["apply cloud-metadata-deny.yaml"], None, cells)];
    run(canary, engine::NOT_ENFORCING, vec![scenario("metadata-lab", TITLE, steps)])
}

/// A run of many scenarios, one of which fails.
pub(crate) fn many() -> RunResult {
    let failing = failing();
    let names = ["deny-ingress", "allow-ingress-from-namespace", "ports-by-name", "except"];
    let cells = || vec![cell("app1", "web:80/tcp").denied(), cell("app2", "web:80/tcp").allowed()];
    let mut scenarios: Vec<_> = names
        .iter()
        .map(|id| {
            scenario(id, "A pod in another namespace and on another node", vec![step("deny", &[], Some(7), cells())])
        })
        .collect();
    scenarios.splice(2..2, failing.scenarios.into_iter().map(Arc::unwrap_or_clone));
    run(enforced(), engine::FAILED, scenarios)
}

/// The events that lead to a result, in order.
pub(crate) fn events(result: &RunResult) -> Vec<Event> {
    let mut events = vec![
        Event::RunStarted { run: result.run.clone(), backend: "embedded", scenarios: result.scenarios.len() },
        Event::LabReady { facts: result.facts.clone(), ready_ms: result.lab.ready_ms },
        Event::CanaryFinished(result.canary.clone()),
    ];
    for scenario in &result.scenarios {
        events.push(Event::ScenarioStarted {
            id: scenario.id.clone(),
            title: scenario.title.clone(),
            steps: scenario.steps.len(),
            namespaces: scenario.namespaces.clone(),
        });
        for step in &scenario.steps {
            let (scenario, name, actions) = (scenario.id.clone(), step.name.clone(), step.actions.clone());
            events.push(Event::StepStarted { scenario: scenario.clone(), name, actions });
            if step.name != "restored" {
                events.extend(step.cells.iter().filter(|cell| cell.to == METADATA).map(|cell| answer(&scenario, cell)));
            }
            events.push(Event::StepFinished { scenario, result: step.clone() });
        }
        events.push(Event::ScenarioFinished(scenario.clone()));
    }
    events.push(Event::RunFinished(Box::new(result.clone())));
    events
}

fn answer(scenario: &str, cell: &CellResult) -> Event {
    let text = match cell.outcome {
        Some(Outcome::Reached) => "projects/ubuntu-os-cloud/global/images/ubuntu-2004-focal-v20240808",
        _ => "timed out after 100 ms (12 attempts; node/worker was answered meanwhile)",
    };
    Event::Answer {
        scenario: scenario.to_owned(),
        from: cell.from.to_string(),
        command: LITERAL.to_owned(),
        address: cell.address,
        text: text.to_owned(),
    }
}

/// The lab of the document's scenario.
pub(crate) fn lab() -> LabSpec {
    let pod = |name: &str, labels: &[(&str, &str)]| PodSpec {
        name: name.to_owned(),
        namespace: "default".to_owned(),
        labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        node: NodeName::Worker,
        ports: vec![PortSpec { name: None, port: 80, protocol: Protocol::Tcp }],
        host_network: false,
        relay: None,
        owner: None,
        service_account: None,
    };
    LabSpec {
        metadata: Some(Cloud::Gcp),
        pods: vec![pod("app1", &[("app", "app1")]), pod("app2", &[("app", "app2"), ("role", "metadata-accessor")])],
        ..LabSpec::default()
    }
}

/// The document's scenario as a story: what is told, the events, the result.
pub(crate) fn story() -> (Told, Vec<Event>, RunResult) {
    let step = |name: &str, apply: Option<&str>, allow: &[&str], deny: &[&str]| {
        let strings = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let to = Destination { metadata: Some(MetadataTarget::default()), ..Destination::default() };
        let expect = vec![Expect { to, allow: strings(allow), deny: strings(deny), ..Expect::default() }];
        Step { name: name.to_owned(), apply: apply.map(str::to_owned).into_iter().collect(), expect, ..Step::default() }
    };
    let scenario = Scenario {
        id: "metadata-lab".to_owned(),
        title: TITLE.to_owned(),
        tier: crate::scenario::Tier::Required,
        tags: Vec::new(),
        says: None,
        cites: None,
        addresses: std::collections::BTreeMap::new(),
        needs: Vec::new(),
        lab: lab(),
        steps: vec![
            step("no policy", None, &["app1", "app2", "node/master", "node/worker"], &[]),
            step("deny for every pod", Some(DENY), &["node/master", "node/worker"], &["app1", "app2"]),
            step("allow for a label", Some(ALLOW), &["app2", "node/master", "node/worker"], &["app1"]),
        ],
    };
    let manifest = |name: &str, selector: &str, block: &str| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: {name}\n  namespace: default\nspec:\n  \
             podSelector:{selector}\n  policyTypes:\n  - Egress\n  egress:\n  - to:\n    - ipBlock:\n        cidr: {block}\n"
        )
    };
    let deny = manifest("cloud-metadata-deny", " {}", "0.0.0.0/0\n        except:\n        - 169.254.169.254/32");
    let allow = manifest(
        "cloud-metadata-allow",
        "\n    matchLabels:\n      role: metadata-accessor",
        "169.254.169.254/32 # We are allowing this IP",
    );
    let manifests = BTreeMap::from([(DENY.to_owned(), deny), (ALLOW.to_owned(), allow)]);
    let result = passing();
    (Told { scenario: scenario.into(), manifests }, events(&result), result)
}

const DENY: &str = "cloud-metadata-deny.yaml";
const ALLOW: &str = "cloud-metadata-allow.yaml";
