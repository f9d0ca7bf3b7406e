//! Whole runs: what goes wrong in the lab, and the verdict that must come of it.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, sync::atomic::Ordering, time::Duration};

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::lab::{Builder, Faults, Traces};
use crate::{
    engine::{CellResult, Event, Events, Options, Profiles, RunResult, Verdict, WitnessKind, run},
    probe::Outcome,
    profile::Known,
    scenario::{LoadedScenario, Manifest, Tier},
};

const WORKS: [&str; 4] = ["app1", "app2", "node/master", "node/worker"];

fn manifest(name: &str, spec: &Value) -> Vec<Arc<Manifest>> {
    let raw = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": "default"}, "spec": spec,
    });
    vec![Arc::new(Manifest {
        path: PathBuf::from(name),
        policy: Some(Arc::new(serde_json::from_value(raw.clone()).unwrap())),
        raw,
        api_version: "networking.k8s.io/v1".to_owned(),
        kind: "NetworkPolicy".to_owned(),
        name: name.to_owned(),
        namespace: "default".to_owned(),
    })]
}

/// The document's lab, by address or by name.
fn document(by: &str) -> LoadedScenario {
    let to = json!({"metadata": {"by": by}});
    let scenario = serde_json::from_value(json!({
        "id": "lab", "title": "the document's lab",
        "lab": {"metadata": "gcp", "pods": [
            {"name": "app1", "labels": {"app": "app1"}},
            {"name": "app2", "labels": {"app": "app2", "role": "metadata-accessor"}},
        ]},
        "steps": [
            {"name": "no policy", "expect": [
                {"to": to, "allow": WORKS},
                {"to": {"pod": "app2", "port": 80}, "allow": ["app1"]},
            ]},
            {"name": "deny", "apply": ["deny.yaml"], "expect": [
                {"to": to, "allow": ["node/master", "node/worker"], "deny": ["app1", "app2"]},
                {"to": {"pod": "app2", "port": 80}, "allow": ["app1"]},
            ]},
            {"name": "allow", "apply": ["allow.yaml"], "expect": [
                {"to": to, "allow": ["app2", "node/master", "node/worker"], "deny": ["app1"]},
            ]},
        ],
    }))
    .unwrap();
    let deny = json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [
        {"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.169.254/32"]}}]},
    ]});
    let allow = json!({"podSelector": {"matchLabels": {"role": "metadata-accessor"}}, "policyTypes": ["Egress"],
        "egress": [{"to": [{"ipBlock": {"cidr": "169.254.169.254/32"}}]}]});
    let manifests = BTreeMap::from([
        ("deny.yaml".to_owned(), manifest("deny", &deny)),
        ("allow.yaml".to_owned(), manifest("allow", &allow)),
    ]);
    LoadedScenario { path: PathBuf::from("lab.yaml"), shipped: true, scenario, manifests, warnings: Vec::new() }
}

struct Ran {
    result: RunResult,
    events: Vec<Event>,
    traces: Traces,
}

impl Ran {
    fn cells(&self) -> impl Iterator<Item = (&str, &CellResult)> {
        let steps = self.result.scenarios.iter().flat_map(|scenario| &scenario.steps);
        steps.flat_map(|step| step.cells.iter().map(|cell| (step.name.as_str(), cell)))
    }

    fn cell(&self, step: &str, id: &str) -> &CellResult {
        self.cells().find(|(name, cell)| *name == step && cell.id.starts_with(id)).unwrap().1
    }

    fn denies(&self) -> Vec<&CellResult> {
        self.cells().map(|(_, cell)| cell).filter(|cell| cell.expected == "deny").collect()
    }

    /// No deny passed, and every verdict but a pass has its reason.
    fn assert_no_deny_passed(&self) {
        assert!(self.denies().iter().all(|cell| cell.verdict != Verdict::Pass), "{:#?}", self.result);
        assert!(self.cells().all(|(_, cell)| cell.reason.is_none() == (cell.verdict == Verdict::Pass)));
    }
}

async fn go(faults: Faults, options: &Options, scenario: LoadedScenario) -> Ran {
    let cancel = CancellationToken::new();
    go_until(faults, options, scenario, &cancel).await
}

async fn go_until(faults: Faults, options: &Options, scenario: LoadedScenario, cancel: &CancellationToken) -> Ran {
    go_through(faults, options, &[scenario], cancel).await
}

async fn go_through(faults: Faults, options: &Options, all: &[LoadedScenario], cancel: &CancellationToken) -> Ran {
    let (events, mut reader) = Events::channel();
    let traces = Traces::default();
    let builder = Box::new(Builder { faults, traces: traces.clone() });
    let result = run(builder, all, options, &events, cancel).await;
    let mut seen = Vec::new();
    while let Ok(event) = reader.try_recv() {
        seen.push(event);
    }
    assert_eq!(
        traces.built.load(Ordering::SeqCst),
        traces.torn_down.load(Ordering::SeqCst),
        "what is built is torn down"
    );
    Ran { result, events: seen, traces }
}

async fn lab(faults: Faults) -> Ran {
    go(faults, &Options::default(), document("address")).await
}

#[tokio::test(start_paused = true)]
async fn the_documents_lab_passes_with_witnesses() {
    let ran = lab(Faults::default()).await;
    assert_eq!(ran.result.exit_code, 0, "{:#?}", ran.result);
    assert_eq!(ran.result.canary.verdict, Verdict::Pass);
    assert_eq!(ran.result.summary.pass, 5 + 5 + 4 + 5, "three steps, and the baseline restored");
    let deny = ran.cell("deny", "app1 -> metadata");
    assert_eq!(deny.outcome, Some(Outcome::TimedOut));
    assert!(deny.attempts >= 3);
    assert_eq!(deny.witness.as_ref().unwrap().kind, WitnessKind::Source);
    let steps: Vec<&str> = ran.result.scenarios[0].steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(steps, ["no policy", "deny", "allow", "restored"]);
    assert!(ran.result.scenarios[0].steps.iter().all(|step| step.settled_ms.is_some()));
    assert!(ran.cells().all(|(_, cell)| cell.command.is_some() && cell.decided_by.is_some()));
}

#[tokio::test(start_paused = true)]
async fn the_check_at_the_end_is_the_next_baseline_on_the_same_ground_and_only_there() {
    let second = || {
        let mut second = document("address");
        second.scenario.id = "second".to_owned();
        second
    };
    let two = async |faults, second| {
        let (options, cancel) = (Options::default(), CancellationToken::new());
        go_through(faults, &options, &[document("address"), second], &cancel).await.result
    };
    let shared = Faults { ground: Some(1), ..Faults::default() };
    let ran = two(shared.clone(), second()).await;
    assert_eq!((ran.exit_code, ran.summary.pass), (0, 2 * 19), "{ran:#?}");
    let [first, again] = [0, 1].map(|index| &ran.scenarios[index].steps[0]);
    assert_eq!((first.shares.as_deref(), again.shares.as_deref()), (None, Some("lab")));
    assert_eq!((again.rounds, again.cells.len()), (0, 5), "nothing was asked again");
    assert!(again.cells.iter().all(|cell| cell.verdict == Verdict::Pass && cell.decided_by.is_some()));

    let ran = two(Faults::default(), second()).await;
    assert!(ran.scenarios[1].steps[0].shares.is_none(), "the pods are others");
    let mut informational = second();
    informational.scenario.tier = Tier::Informational;
    let ran = two(shared.clone(), informational).await;
    assert!(ran.scenarios[1].steps[0].cells.iter().all(|cell| cell.verdict == Verdict::Recorded), "{ran:#?}");

    // The server dies in the first one's deny, so its last check finds it gone.
    let dies = Faults { dies_after: Some(Duration::from_millis(150)), ..shared };
    let ran = two(dies, second()).await;
    assert!(ran.scenarios[1].steps[0].rounds > 0, "what was not reached again is asked anew");
}

#[tokio::test(start_paused = true)]
async fn the_whole_lab_takes_little_more_than_its_holds() {
    let ran = lab(Faults::default()).await;
    // The clock only moves while everybody waits, so this is what the engine itself makes a run wait.
    assert!(ran.result.lab.total_ms < 1100, "{} ms", ran.result.lab.total_ms);
}

#[tokio::test(start_paused = true)]
async fn events_come_in_order_and_only_after_the_canary() {
    let options = Options { show_answers: true, ..Options::default() };
    let ran = go(Faults::default(), &options, document("address")).await;
    let position = |wanted: fn(&Event) -> bool| ran.events.iter().position(wanted).unwrap();
    let canary = position(|event| matches!(event, Event::CanaryFinished(_)));
    let scenario = position(|event| matches!(event, Event::ScenarioStarted { .. }));
    let step = position(|event| matches!(event, Event::StepFinished { .. }));
    let finished = position(|event| matches!(event, Event::ScenarioFinished(_)));
    assert!(canary < scenario && scenario < step && step < finished);
    assert!(matches!(ran.events.last(), Some(Event::RunFinished(_))));
    let answers: Vec<(&str, &str)> = ran
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Answer { from, text, .. } => Some((from.as_str(), text.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(answers.len(), 12, "four sources in each of three steps");
    assert!(answers[..4].iter().all(|(_, text)| *text == "the body"));
    assert!(answers[4..8].contains(&("app1", "the connection timed out")));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_dies_during_a_deny_is_never_a_pass() {
    for after in [0, 50, 150, 250] {
        let ran = lab(Faults { dies_after: Some(Duration::from_millis(after)), ..Faults::default() }).await;
        ran.assert_no_deny_passed();
        assert_eq!(ran.cell("deny", "app1 -> metadata").verdict, Verdict::Inconclusive);
        assert_eq!(ran.result.exit_code, 4);
        let took = ran.result.scenarios[0].took_ms;
        assert!(took < 25_000, "each of three steps may take 30 s, and nothing comes of waiting: {took} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_started_again_is_waited_for() {
    let (now, then) = (Some(Duration::ZERO), Some(Duration::from_secs(8)));
    let ran = lab(Faults { dies_after: now, returns_after: then, ..Faults::default() }).await;
    assert_eq!(ran.result.exit_code, 0, "{:#?}", ran.result);
    let settled = ran.result.scenarios[0].steps.iter().find(|step| step.name == "deny").unwrap().settled_ms;
    assert!(settled.is_some_and(|settled| settled > 7_500), "{settled:?} ms");
}

#[tokio::test(start_paused = true)]
async fn another_server_at_the_address_is_found_out() {
    let ran = lab(Faults { impostor: true, ..Faults::default() }).await;
    ran.assert_no_deny_passed();
    let node = ran.cell("deny", "node/worker -> metadata");
    assert_eq!((node.verdict, node.outcome), (Verdict::Fail, Some(Outcome::WrongServer)));
    assert_eq!(node.server.as_deref(), Some("impostor"));
    assert_eq!(ran.result.exit_code, 1);
}

#[tokio::test(start_paused = true)]
async fn a_lab_that_enforces_nothing_ends_with_3() {
    let ran = lab(Faults { unenforced: true, ..Faults::default() }).await;
    assert_eq!(ran.result.exit_code, 3);
    assert_eq!(ran.result.canary.verdict, Verdict::NotEnforcing);
    assert!(ran.cells().all(|(_, cell)| cell.verdict == Verdict::NotEnforcing));
    assert!(ran.result.summary.not_enforcing > 0 && ran.result.summary.pass == 0);
    assert!(ran.result.lab.total_ms < 20_000);
}

#[tokio::test(start_paused = true)]
async fn without_enforcement_a_run_that_goes_on_passes_no_deny() {
    let options = Options { continue_unenforced: true, ..Options::default() };
    let ran = go(Faults { unenforced: true, ..Faults::default() }, &options, document("address")).await;
    assert_eq!(ran.result.exit_code, 3);
    assert!(ran.denies().iter().all(|cell| cell.verdict == Verdict::NotEnforcing));
    assert_eq!(ran.cell("deny", "node/master -> metadata").verdict, Verdict::Pass);
}

#[tokio::test(start_paused = true)]
async fn a_flapping_engine_does_not_pass() {
    // A hold looks at three moments. An engine that is closed half of the time is closed at all of them once in eight
    // times, so some periods are missed, and most are not.
    let mut missed = Vec::new();
    for period in [7, 17, 29, 43, 60, 75, 110, 150, 190] {
        let ran = lab(Faults { flapping: Some(Duration::from_millis(period)), ..Faults::default() }).await;
        if ran.cell("deny", "app1 -> metadata").verdict == Verdict::Pass {
            missed.push(period);
        } else {
            assert_ne!(ran.result.exit_code, 0, "{period} ms");
        }
    }
    assert!(missed.len() <= 3, "missed at {missed:?} ms");
}

#[tokio::test(start_paused = true)]
async fn a_lost_probe_is_inconclusive() {
    let ran = lab(Faults { mute: Some("app1"), ..Faults::default() }).await;
    let cell = ran.cell("deny", "app1 -> metadata");
    assert_eq!((cell.verdict, cell.outcome), (Verdict::Inconclusive, Some(Outcome::ProbeLost)));
    assert_eq!(ran.cell("deny", "app2 -> metadata").verdict, Verdict::Pass, "others are not affected");
    assert_eq!(ran.result.exit_code, 4);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_not_resolved_is_no_deny() {
    let ran = go(Faults { no_dns: true, ..Faults::default() }, &Options::default(), document("name")).await;
    ran.assert_no_deny_passed();
    let cell = ran.cell("deny", "app1 -> metadata");
    assert_eq!((cell.verdict, cell.outcome), (Verdict::Inconclusive, Some(Outcome::NameNotResolved)));
}

#[tokio::test(start_paused = true)]
async fn name_servers_that_are_not_all_up_yet_are_waited_for() {
    let ran = go(Faults { young_dns: 40, ..Faults::default() }, &Options::default(), document("name")).await;
    assert_eq!(ran.result.exit_code, 0, "{:#?}", ran.result);
    // Nothing that is denied waits for a name as long as it took then.
    let slowest = ran.result.scenarios[0].steps.iter().skip(1).filter_map(|step| step.settled_ms).max();
    assert!(slowest < Some(1_000), "{:#?}", ran.result);
}

#[tokio::test(start_paused = true)]
async fn the_lab_by_name_passes() {
    let ran = go(Faults::default(), &Options::default(), document("name")).await;
    assert_eq!(ran.result.exit_code, 0, "{:#?}", ran.result);
}

#[tokio::test(start_paused = true)]
async fn delay_and_loss_slow_a_run_down_and_change_no_verdict() {
    for seed in 1..5 {
        let slow = Faults { delay: Some(("app1", Duration::from_millis(150))), seed, ..Faults::default() };
        let lossy = Faults { loss: Some(("app1", 10)), seed, ..Faults::default() };
        for faults in [slow, lossy] {
            let ran = lab(faults.clone()).await;
            assert_eq!(ran.result.exit_code, 0, "{faults:?}: {:#?}", ran.result);
        }
        let open = Faults {
            loss: Some(("app1", 10)),
            delay: Some(("app1", Duration::from_millis(150))),
            unenforced: true,
            seed,
            ..Faults::default()
        };
        assert_eq!(lab(open).await.result.exit_code, 3);
    }
}

#[tokio::test(start_paused = true)]
async fn lookups_that_are_lost_change_no_verdict() {
    for seed in 1..9 {
        let lossy = Faults { lost_lookups: Some(("app1", 50)), loss: Some(("app1", 10)), seed, ..Faults::default() };
        let ran = go(lossy.clone(), &Options::default(), document("name")).await;
        assert_eq!(ran.result.exit_code, 0, "{seed}: {:#?}", ran.result);
        let open = Faults { unenforced: true, ..lossy };
        assert_eq!(go(open, &Options::default(), document("name")).await.result.exit_code, 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_lookup_beside_a_deny_does_not_outlast_its_witness() {
    let slow = Faults { slow_lookups: Some(("app2", Duration::from_secs(5))), ..Faults::default() };
    let ran = go(slow, &Options::default(), document("name")).await;
    assert_eq!(ran.cell("allow", "app1 -> metadata").verdict, Verdict::Pass, "{:#?}", ran.result);
}

#[tokio::test(start_paused = true)]
async fn what_takes_effect_late_passes_and_says_how_late() {
    let ran = lab(Faults { lag: Duration::from_millis(700), ..Faults::default() }).await;
    assert_eq!(ran.result.exit_code, 0, "{:#?}", ran.result);
    for step in &ran.result.scenarios[0].steps[1..3] {
        let settled = step.settled_ms.unwrap();
        assert!((600..1500).contains(&settled), "{}: {settled} ms", step.name);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_stopped_is_no_deny() {
    let ran = lab(Faults { one_way: true, ..Faults::default() }).await;
    ran.assert_no_deny_passed();
    assert_eq!(
        ran.cell("deny", "app1 -> metadata").reason.as_deref(),
        Some("the request arrived, the answer was stopped")
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_came_too_late_is_found_out_and_asked_for_again() {
    let ran = lab(Faults { one_way_at_first: Duration::from_millis(40), ..Faults::default() }).await;
    assert_eq!(ran.result.exit_code, 0, "{:#?}", ran.result);
    let settled = ran.result.scenarios[0].steps[1].settled_ms.unwrap();
    assert!(settled > 300, "the first hold counted, after {settled} ms");
}

#[tokio::test(start_paused = true)]
async fn a_baseline_that_does_not_come_back_takes_the_denies_with_it() {
    let ran = lab(Faults { keeps_policies: true, ..Faults::default() }).await;
    let deny = ran.cell("deny", "app1 -> metadata");
    assert_eq!(deny.verdict, Verdict::Inconclusive);
    assert!(deny.reason.as_deref().unwrap().contains("taken back"));
    assert_ne!(ran.cell("restored", "app1 -> metadata").verdict, Verdict::Pass);
    assert_ne!(ran.result.exit_code, 0);
}

#[tokio::test(start_paused = true)]
async fn a_refused_manifest_is_no_deny() {
    let ran = lab(Faults { refuses: true, ..Faults::default() }).await;
    assert_eq!(ran.result.exit_code, 4);
    ran.assert_no_deny_passed();
    assert!(ran.cell("deny", "app1 -> metadata").reason.as_deref().unwrap().contains("quota exceeded"));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_tears_down_and_ends_with_130() {
    for after in [1, 5, 100, 400] {
        let cancel = CancellationToken::new();
        let trigger = cancel.clone();
        let options = Options::default();
        let (ran, ()) = tokio::join!(go_until(Faults::default(), &options, document("address"), &cancel), async move {
            tokio::time::sleep(Duration::from_millis(after)).await;
            trigger.cancel();
        });
        assert_eq!(ran.result.exit_code, 130);
        assert!(ran.traces.torn_down.load(Ordering::SeqCst));
        assert!(ran.result.lab.total_ms < after + 100);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_done_before_a_run_was_cancelled_is_in_its_result() {
    let (events, mut reader) = Events::channel();
    let (cancel, mut second) = (CancellationToken::new(), document("address"));
    second.scenario.id = "second".to_owned();
    let builder = Box::new(Builder { faults: Faults::default(), traces: Traces::default() });
    let scenarios = [document("address"), second];
    let cancelling = async {
        while let Some(event) = reader.recv().await {
            if matches!(event, Event::ScenarioFinished(_)) {
                cancel.cancel();
                return;
            }
        }
    };
    let options = Options::default();
    let (result, ()) = tokio::join!(run(builder, &scenarios, &options, &events, &cancel), cancelling);
    assert_eq!((result.exit_code, result.canary.verdict), (130, Verdict::Pass));
    let done: Vec<_> = result.scenarios.iter().map(|scenario| (scenario.id.as_str(), scenario.verdict)).collect();
    assert_eq!(done, [("lab", Verdict::Pass)]);
    assert!(result.summary.pass > 0);
}

#[tokio::test(start_paused = true)]
async fn a_panic_tears_down_and_is_reported() {
    let ran = lab(Faults { panics: true, ..Faults::default() }).await;
    assert_eq!(ran.result.exit_code, 5);
    assert!(ran.result.error.as_ref().unwrap().message.contains("a session panicked"));
    assert!(ran.traces.torn_down.load(Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn a_scenario_that_contradicts_the_simulator_never_sees_a_lab() {
    let mut scenario = document("address");
    scenario.scenario.steps[1].expect[0].allow.push("app1".to_owned());
    scenario.scenario.steps[1].expect[0].deny.retain(|source| source != "app1");
    let ran = go(Faults::default(), &Options::default(), scenario).await;
    assert_eq!(ran.result.exit_code, 2);
    assert!(!ran.traces.built.load(Ordering::SeqCst));
    assert!(ran.result.error.as_ref().unwrap().message.contains("app1"));
}

#[tokio::test(start_paused = true)]
async fn what_a_lab_lacks_is_skipped_with_the_reason() {
    let mut scenario = document("address");
    scenario.scenario.needs.push(crate::scenario::Need::Sctp);
    let ran = go(Faults::default(), &Options::default(), scenario).await;
    assert_eq!(ran.result.exit_code, 4);
    assert!(
        ran.cells().all(|(_, cell)| cell.verdict == Verdict::Skipped && cell.reason.as_deref() == Some("needs sctp"))
    );
}

#[tokio::test(start_paused = true)]
async fn strict_time_outs_are_whole_seconds() {
    let options = Options { strict_timeouts: true, ..Options::default() };
    let ran = go(Faults::default(), &options, document("address")).await;
    assert_eq!(ran.result.exit_code, 0, "{:#?}", ran.result);
    assert!(ran.denies().iter().all(|cell| cell.window_ms == 4000));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_pods_see_come_from_elsewhere_is_told_of() {
    let elsewhere = "172.18.0.9".parse().unwrap();
    let ran = lab(Faults { translated: Some(("app1", elsewhere)), ..Faults::default() }).await;
    let refused = ran.cell("deny", "app1 -> app2:80");
    assert_eq!((refused.verdict, refused.translated), (Verdict::Fail, Some(elsewhere)));
    assert!(refused.reason.as_ref().unwrap().contains("the source come from 172.18.0.9, which is not its address"));
    let others = ran.cells().filter(|(_, cell)| !cell.id.starts_with("app1 -> app2:80"));
    assert_eq!(others.filter_map(|(_, cell)| cell.translated).count(), 0, "what leaves the cluster may be translated");
}

#[tokio::test(start_paused = true)]
async fn what_no_step_can_prove_any_more_is_not_waited_for() {
    let ran = lab(Faults { dead: true, ..Faults::default() }).await;
    ran.assert_no_deny_passed();
    let steps = &ran.result.scenarios[0].steps;
    assert!(steps.iter().all(|step| step.settled_ms.is_none()));
    let took = ran.result.scenarios[0].took_ms;
    assert!(took < 60_000, "the baseline's limit is 30 s, and this took {took} ms over {} steps", steps.len());
}

#[tokio::test(start_paused = true)]
async fn what_is_known_to_deviate_is_not_waited_for() {
    let faults = || Faults { translated: Some(("app1", "172.18.0.9".parse().unwrap())), ..Faults::default() };
    let profile = json!({"profile": "p", "deviations": [
        {"id": "d", "scenarios": ["lab"], "cells": ["app1 -> app2:80*"], "reason": "r", "link": "https://l"},
    ]});
    let known = Known::new(serde_json::from_value(profile).unwrap(), None, "by hand".to_owned());
    let ran =
        go(faults(), &Options { profiles: Profiles::Use(known), ..Options::default() }, document("address")).await;
    assert_eq!(ran.cell("deny", "app1 -> app2:80").verdict, Verdict::Xfail);
    let others = ran.cells().filter(|(_, cell)| !cell.id.starts_with("app1 -> app2:80"));
    assert!(others.into_iter().all(|(_, cell)| cell.verdict == Verdict::Pass), "{:#?}", ran.result);
    let unknown = lab(faults()).await;
    let took = |ran: &Ran| ran.result.scenarios[0].took_ms;
    assert!(took(&ran) + 20_000 < took(&unknown), "{} ms, and {} ms where it is not known", took(&ran), took(&unknown));
}
