//! Shipped scenarios against enforcers with one fault, and against the one without.

use policyprobe::{
    engine::{self, CellResult, Events, FirstSince, Options, Profiles, Verdict},
    lab::embedded::{DenyBy, EmbeddedBuilder, enforcer::Mutant},
    mutants::{Campaign, Forecast},
    scenario,
};
use tokio_util::sync::CancellationToken;

use crate::common::*;

/// One whose policies are misread, one that forgets, one that judges the wrong packets.
const MUTANTS: [Mutant; 3] = [Mutant::IgnoresExcept, Mutant::JudgesReplies, Mutant::ForgetsDeletion];

fn campaign(all_kills: bool) -> Campaign {
    let builder = EmbeddedBuilder { binary: Some(binary()), ..EmbeddedBuilder::default() };
    Campaign { builder, mutants: MUTANTS.to_vec(), all_kills, jobs: 1 }
}

fn select(words: &[&str]) -> Vec<scenario::LoadedScenario> {
    scenario::select(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).unwrap()
}

#[tokio::test]
async fn mutants_are_killed_and_the_correct_enforcer_is_not() {
    let Some(lab) = lab(DenyBy::Drop).await else { return };
    drop(lab);
    let cases = select(&[
        "metadata-lab-by-address",
        "metadata-policy-deleted",
        "mutants-replies-of-a-server-isolated-for-egress",
    ]);
    let found = campaign(false).run(&cases, &CancellationToken::new(), |_| {}).await.unwrap();
    assert_eq!(found.trials.iter().map(|trial| trial.mutant).collect::<Vec<_>>(), MUTANTS);
    assert_eq!(found.survivors().count(), 0, "{found:#?}");
    assert_eq!(found.errors().count(), 0, "{found:#?}");
    assert!(found.unsound.is_empty(), "what killed them passes with the correct enforcer: {found:#?}");
}

#[tokio::test]
async fn a_case_about_something_else_kills_nothing() {
    let Some(lab) = lab(DenyBy::Drop).await else { return };
    drop(lab);
    let cases = select(&["metadata-wrong-label-value"]);
    let mutants = vec![Mutant::IgnoresNamedPorts];
    let found = Campaign { mutants, ..campaign(true) }.run(&cases, &CancellationToken::new(), |_| {}).await.unwrap();
    assert_eq!(found.survivors().count(), 1, "{found:#?}");
    assert_eq!(found.idle.as_deref(), Some(&["metadata-wrong-label-value".to_owned()][..]));
    assert_eq!(found.trials[0].played, 1);
}

#[tokio::test]
async fn source_ports_first_packets_and_connections_are_what_some_mutants_fall_over() {
    let Some(lab) = lab(DenyBy::Drop).await else { return };
    drop(lab);
    for (mutant, case) in [
        (Mutant::SourcePortCounts, "source-ports-allowed-one-opens-no-ingress"),
        (Mutant::SourcePortCounts, "source-ports-allowed-one-opens-no-egress"),
        (Mutant::SourcePortCounts, "source-ports-allowed-one-opens-no-udp"),
        (Mutant::FromPort53Open, "source-ports-53-is-no-answer"),
        (Mutant::LaterPodsLag, "first-packets-egress-deny-all"),
        (Mutant::EndsConnections, "established-goes-on-under-other-policies"),
    ] {
        let found = Campaign { mutants: vec![mutant], ..campaign(false) };
        let found = found.run(&select(&[case]), &CancellationToken::new(), |_| {}).await.unwrap();
        assert_eq!(found.trials[0].killed_by, [case], "{mutant}: {found:#?}");
        assert!(found.unsound.is_empty(), "{mutant}: {found:#?}");
    }
}

/// What a run finds of asking a new pod at first, by one that its policy keeps out.
async fn asked_at_first(mutant: Option<Mutant>) -> CellResult {
    let builder = EmbeddedBuilder { binary: Some(binary()), mutant, ..EmbeddedBuilder::default() };
    let (events, _reader) = Events::channel();
    let cases = select(&["first-packets-ingress-from-one-pod"]);
    let options = Options { profiles: Profiles::Nothing, ..Options::default() };
    let ran = engine::run(Box::new(builder), &cases, &options, &events, &CancellationToken::new()).await;
    let steps = ran.scenarios.iter().flat_map(|scenario| scenario.steps.clone());
    let mut cells = steps.flat_map(|step| step.cells.clone());
    cells.find(|cell| cell.id == *"x/a -> x/late:80/tcp at first").unwrap()
}

#[tokio::test]
async fn who_asks_a_new_pod_finds_out_whether_it_is_open() {
    let Some(lab) = lab(DenyBy::Drop).await else { return };
    drop(lab);
    let kept_out = asked_at_first(None).await;
    let figures = kept_out.first_packets.unwrap();
    assert_eq!((kept_out.verdict, figures.since, figures.reached), (Verdict::Pass, FirstSince::Address, 0));
    assert!(figures.attempts > 4 && kept_out.witness.is_some(), "{kept_out:#?}");
    let let_in = asked_at_first(Some(Mutant::LaterPodsOpen)).await;
    let figures = let_in.first_packets.unwrap();
    assert_eq!(let_in.verdict, Verdict::Fail, "{let_in:#?}");
    assert!(figures.reached > 4 && let_in.reason.as_deref().unwrap().contains("after the pod's address was known"));
}

#[test]
fn on_paper_no_shipped_scenario_accuses_the_correct_enforcer() {
    for case in scenario::shipped() {
        assert!(!Forecast::new(case).is_unsound(), "{}", case.scenario.id);
    }
}

#[test]
fn a_forecast_tells_which_cases_notice_a_fault() {
    let notices = |id: &str, mutant| Forecast::new(&select(&[id])[0]).notices(mutant);
    assert!(notices("metadata-lab-by-address", Mutant::IgnoresExcept));
    assert!(notices("metadata-policy-deleted", Mutant::ForgetsDeletion));
    assert!(notices("mutants-replies-of-a-server-isolated-for-egress", Mutant::JudgesReplies));
    assert!(!notices("isolation-deny-all-egress", Mutant::IgnoresExcept));
    assert!(notices("source-ports-allowed-one-opens-no-ingress", Mutant::SourcePortCounts));
    assert!(notices("source-ports-53-is-no-answer", Mutant::FromPort53Open));
    assert!(notices("first-packets-egress-deny-all", Mutant::LaterPodsLag));
    assert!(notices("established-goes-on-under-other-policies", Mutant::EndsConnections));
    assert!(!notices("isolation-deny-all-egress", Mutant::EndsConnections));
    assert!(!notices("changes-new-target", Mutant::LaterPodsLag), "its pod is asked only once it serves");
}
