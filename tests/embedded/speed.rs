//! Measurements, for who asks: `cargo test --test embedded -- --ignored --nocapture speed`.

use std::time::{Duration, Instant};

use futures::{StreamExt, future::join_all};
use policyprobe::{
    lab::{
        Source, Stage,
        embedded::{DenyBy, EmbeddedStage},
    },
    probe::{Means, Outcome, Request, Session},
};
use serde_json::{Value, json};

use crate::common::*;

const PODS: usize = 9;
const ROUNDS: usize = 9;

fn name(index: usize) -> String {
    format!("p{index}")
}

/// What a source asks in a round: each pod but itself, on two ports.
fn batch(stage: &EmbeddedStage, from: usize) -> Vec<Request> {
    let others = (0..PODS).filter(|to| *to != from).map(name);
    let asked = others
        .flat_map(|to| [80, 81].map(|port| request(&address(stage, &to), port, "/", &identity(stage, &to), 2000)));
    asked.collect()
}

async fn sessions(stage: &EmbeddedStage, means: Means) -> Vec<Box<dyn Session>> {
    let open = (0..PODS).map(|index| async move {
        let source = Source::Pod("default".to_owned(), name(index));
        match means {
            Means::Curl => stage.open(&source).await.unwrap(),
            Means::Agent => stage.open_fast(&source, means).await.unwrap(),
        }
    });
    join_all(open).await
}

/// All sources' batches at once; how many were reached, and how long it took.
async fn round(sessions: &mut [Box<dyn Session>], batches: &[Vec<Request>]) -> (usize, Duration) {
    let began = Instant::now();
    let reached = sessions.iter_mut().zip(batches).map(|(session, batch)| async move {
        let answers: Vec<_> = session.probe(batch).collect().await;
        answers.into_iter().filter(|answer| answer.observation.outcome == Outcome::Reached).count()
    });
    (join_all(reached).await.into_iter().sum(), began.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: it asserts nothing about time"]
async fn speed_of_a_matrix_and_of_one_session() {
    let Some(lab) = lab(DenyBy::Drop).await else { return };
    let pod = |index: usize| {
        json!({"name": name(index), "labels": {"app": name(index)}, "node": if index.is_multiple_of(2) { "master" } else { "worker" },
        "ports": [{"port": 80}, {"port": 81}]})
    };
    let pods: Vec<Value> = (0..PODS).map(pod).collect();
    let stage = lab.open_stage(&serde_json::from_value(json!({"pods": pods})).unwrap()).await.unwrap();
    let batches: Vec<Vec<Request>> = (0..PODS).map(|from| batch(&stage, from)).collect();
    let all: usize = batches.iter().map(Vec::len).sum();
    for means in [Means::Curl, Means::Agent] {
        let mut sessions = sessions(&stage, means).await;
        let mut took = Vec::new();
        for _ in 0..ROUNDS {
            let (reached, duration) = round(&mut sessions, &batches).await;
            assert_eq!(reached, all);
            took.push(duration);
        }
        took.sort();
        println!(
            "{means:?}: a round of {all} probes from {PODS} sources: median {:?}, best {:?}",
            took[ROUNDS / 2],
            took[0]
        );
        let long: Vec<Request> = (0..2000).map(|n| batches[0][n % batches[0].len()].clone()).collect();
        let began = Instant::now();
        let answers: Vec<_> = sessions[0].probe(&long).collect().await;
        let took = began.elapsed();
        let reached = answers.iter().filter(|answer| answer.observation.outcome == Outcome::Reached).count();
        let rate = f64::from(u32::try_from(reached).unwrap()) / took.as_secs_f64();
        println!("{means:?}: {reached} probes over one session in {took:?}: {rate:.0} a second");
    }
}
