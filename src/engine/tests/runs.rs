//! Whole runs: what they cost, in which order things come, and how they end.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    lab::{Builder, Traces},
    planted::Faults,
    play::{Ran, document, go, go_through, go_until, lab},
};
use crate::{
    engine::{Event, Events, Options, Profiles, Verdict, WitnessKind, run},
    probe::Outcome,
    profile::Known,
    scenario::Tier,
};

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
        Arc::make_mut(&mut second.scenario).id = "second".to_owned();
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
    Arc::make_mut(&mut informational.scenario).tier = Tier::Informational;
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
async fn the_lab_by_name_passes() {
    let ran = go(Faults::default(), &Options::default(), document("name")).await;
    assert_eq!(ran.result.exit_code, 0, "{:#?}", ran.result);
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
    Arc::make_mut(&mut second.scenario).id = "second".to_owned();
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
async fn a_scenario_that_contradicts_the_simulator_never_sees_a_lab() {
    let mut scenario = document("address");
    let expect = &mut Arc::make_mut(&mut scenario.scenario).steps[1].expect[0];
    expect.allow.push("app1".to_owned());
    expect.deny.retain(|source| source != "app1");
    let ran = go(Faults::default(), &Options::default(), scenario).await;
    assert_eq!(ran.result.exit_code, 2);
    assert!(!ran.traces.built.load(Ordering::SeqCst));
    assert!(ran.result.error.as_ref().unwrap().message.contains("app1"));
}

#[tokio::test(start_paused = true)]
async fn what_a_lab_lacks_is_skipped_with_the_reason() {
    let mut scenario = document("address");
    Arc::make_mut(&mut scenario.scenario).needs.push(crate::scenario::Need::Sctp);
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

/// Options with a profile that knows of these cells.
fn knowing(cells: &str) -> Options {
    let profile = json!({"profile": "p", "deviations": [
        {"id": "d", "scenarios": ["lab"], "cells": [cells], "reason": "r", "link": "https://l"},
    ]});
    let known = Known::new(serde_json::from_value(profile).unwrap(), None, "by hand".to_owned());
    Options { profiles: Profiles::Use(known), ..Options::default() }
}

#[tokio::test(start_paused = true)]
async fn what_is_as_it_should_be_although_known_otherwise_holds_over_a_pause() {
    let translated = Some(("app1", "172.18.0.9".parse().unwrap()));
    for began in (600..1300).step_by(50).map(Duration::from_millis) {
        let pause = Some((began, began + Duration::from_millis(250)));
        let ran = go(Faults { pause, translated, ..Faults::default() }, &knowing("*"), document("address")).await;
        assert!(ran.denies().iter().all(|cell| cell.verdict == Verdict::Pass), "{began:?}: {:#?}", ran.denies());
        assert_eq!(ran.cell("deny", "app1 -> app2:80").verdict, Verdict::Xfail);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_known_to_deviate_is_not_waited_for() {
    let faults = || Faults { translated: Some(("app1", "172.18.0.9".parse().unwrap())), ..Faults::default() };
    let ran = go(faults(), &knowing("app1 -> app2:80*"), document("address")).await;
    assert_eq!(ran.cell("deny", "app1 -> app2:80").verdict, Verdict::Xfail);
    let others = ran.cells().filter(|(_, cell)| !cell.id.starts_with("app1 -> app2:80"));
    assert!(others.into_iter().all(|(_, cell)| cell.verdict == Verdict::Pass), "{:#?}", ran.result);
    let unknown = lab(faults()).await;
    let took = |ran: &Ran| ran.result.scenarios[0].took_ms;
    assert!(took(&ran) + 20_000 < took(&unknown), "{} ms, and {} ms where it is not known", took(&ran), took(&unknown));
}

#[tokio::test(start_paused = true)]
async fn what_takes_its_time_is_no_deviation_although_one_is_known() {
    for (strict_timeouts, lag) in [(false, 0), (false, 300), (false, 600), (true, 0), (true, 300), (true, 600)] {
        let faults = Faults { lag: Duration::from_millis(lag), ..Faults::default() };
        let options = Options { strict_timeouts, ..knowing("*") };
        let ran = go(faults, &options, document("address")).await;
        let denies = ran.denies();
        assert!(denies.iter().all(|cell| cell.verdict == Verdict::Xpass), "{strict_timeouts}, {lag} ms: {denies:#?}");
    }
}
