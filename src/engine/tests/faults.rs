//! Whole runs: what goes wrong in the lab, and the verdict that must come of it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use serde_json::json;

use super::{
    planted::Faults,
    play::{document, go, lab},
};
use crate::{
    engine::{Options, Verdict},
    probe::Outcome,
    scenario::LoadedScenario,
};

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
async fn windows_outlast_the_pauses_of_a_busy_machine_from_one_step_to_the_next() {
    let window = async |faults: Faults| {
        let ran = lab(faults).await;
        assert_eq!(ran.result.exit_code, 0, "{:#?}", ran.result);
        ran.cell("allow", "app1 -> metadata").window_ms
    };
    assert_eq!(window(Faults::default()).await, 100);
    let pause = Some((Duration::from_millis(150), Duration::from_millis(400)));
    let bridging = window(Faults { pause, ..Faults::default() }).await;
    assert!((300..500).contains(&bridging), "{bridging} ms");
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
async fn a_panic_tears_down_and_is_reported() {
    let ran = lab(Faults { panics: true, ..Faults::default() }).await;
    assert_eq!(ran.result.exit_code, 5);
    assert!(ran.result.error.as_ref().unwrap().message.contains("a session panicked"));
    assert!(ran.traces.torn_down.load(Ordering::SeqCst));
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

/// The document's lab, and then a question of both pods that only the nodes should be answered.
fn silence() -> LoadedScenario {
    let mut scenario = document("address");
    let question = json!({"metadata": {"path": "token"}, "method": "PUT"});
    let step = json!({"name": "silence", "expect": [{"to": question, "silent": ["app1", "app2"]}]});
    Arc::make_mut(&mut scenario.scenario).steps.insert(1, serde_json::from_value(step).unwrap());
    scenario
}

#[tokio::test(start_paused = true)]
async fn silence_is_told_from_loss_as_soon_as_a_deny_is() {
    for loss in [None, Some(("app1", 20))] {
        let faults = Faults { unanswered: &["app1", "app2"], loss, seed: 7, ..Faults::default() };
        let ran = go(faults, &Options::default(), silence()).await;
        let silent = ran.cell("silence", "app1 -> metadata");
        assert_eq!(silent.verdict, Verdict::Pass, "{silent:#?}");
        assert!(silent.witness.as_ref().is_some_and(|witness| witness.from.starts_with("node/")), "{silent:#?}");
        let step = ran.result.scenarios[0].steps.iter().find(|step| step.name == "silence").unwrap();
        assert!(step.settled_ms.is_some_and(|settled| settled < 100) || loss.is_some(), "{:?}", step.settled_ms);
        assert!(silent.window_ms < 500 && silent.attempts >= 3, "{silent:#?}");
        assert!(silent.attempts > 10 || loss.is_none(), "a lossy path is asked more often: {silent:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_answers_nobody_and_one_that_is_not_asked_are_not_silent() {
    let everybody: &[&str] = &["app1", "app2", "master", "worker"];
    for (unanswered, swallowed) in [(everybody, false), (&["app1", "app2"][..], true)] {
        let ran = go(Faults { unanswered, swallowed, ..Faults::default() }, &Options::default(), silence()).await;
        let cell = ran.cell("silence", "app1 -> metadata");
        assert_eq!((cell.verdict, cell.outcome), (Verdict::Inconclusive, Some(Outcome::NoAnswer)), "{cell:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_answered_is_not_silent() {
    let ran = go(Faults { unanswered: &["app2"], ..Faults::default() }, &Options::default(), silence()).await;
    assert_eq!(ran.cell("silence", "app1 -> metadata").verdict, Verdict::Fail);
}
