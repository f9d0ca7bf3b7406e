//! Measurements, for who asks: `cargo test --test conformance -- --ignored --nocapture speed`. They assert nothing about time.

use std::time::{Duration, Instant};

use futures::{StreamExt, future::join_all};
use libtest_mimic::{Completion, Failed, Trial};
use policyprobe::{
    engine::Events,
    lab::{LabBuilder, Source, Stage, World},
    probe::{Means, Outcome, Request, Session, Target},
    scenario::{Family, Method},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::backend;

const PODS: usize = 9;
const PORTS: [u16; 2] = [80, 81];
/// Rounds one by one, of which the median is told, and one after the other without a break.
const ROUNDS: usize = 15;
const SUSTAINED: usize = 30;

/// A backend's name, and what makes its lab.
type Backend = (&'static str, fn() -> Box<dyn LabBuilder>);

/// One a backend.
pub(crate) fn trials() -> Vec<Trial> {
    let backends: [Backend; 2] =
        [("embedded", || Box::new(backend::embedded_builder())), ("kind", || Box::new(backend::kind_builder()))];
    let trial = |(name, builder): Backend| {
        let measure = move || {
            if let Some(reason) = backend::kind_unavailable().filter(|_| name == "kind") {
                return Ok(Completion::ignored_with(reason));
            }
            let runtime = backend::runtime().map_err(|error| error.to_string())?;
            runtime.block_on(measured(builder())).map(|()| Completion::Completed)
        };
        Trial::ignorable_test(format!("{name}::speed"), measure).with_ignored_flag(true)
    };
    backends.map(trial).into()
}

fn name(index: usize) -> String {
    format!("p{index}")
}

async fn measured(builder: Box<dyn LabBuilder>) -> Result<(), Failed> {
    let ((events, _reader), cancel) = (Events::channel(), CancellationToken::new());
    let pod = |index: usize| {
        let node = if index.is_multiple_of(2) { "master" } else { "worker" };
        let ports = PORTS.map(|port| json!({"port": port}));
        let udp = PORTS.map(|port| json!({"port": port, "protocol": "UDP"}));
        let ports: Vec<Value> = ports.into_iter().chain(udp).collect();
        json!({"name": name(index), "labels": {"app": name(index)}, "node": node, "ports": ports})
    };
    let pods: Vec<Value> = (0..PODS).map(pod).collect();
    let spec = serde_json::from_value(json!({"pods": pods}))?;
    let lab =
        builder.build("pp-speed", std::slice::from_ref(&spec), &events, &cancel).await.map_err(|it| it.to_string())?;
    let stage = lab.stage(&spec, 0, &cancel).await.map_err(|it| it.to_string());
    let told = match stage {
        Ok(stage) => matrix(&*stage).await,
        Err(error) => Err(error),
    };
    lab.teardown().await;
    Ok(told?)
}

/// Rounds of the matrix by each of the means.
async fn matrix(stage: &dyn Stage) -> Result<(), String> {
    for (means, udp) in [(Means::Curl, false), (Means::Agent, false), (Means::Agent, true)] {
        let world = stage.world();
        let batches: Vec<Vec<Request>> = (0..PODS).map(|from| batch(&world, from, udp)).collect();
        let all: usize = batches.iter().map(Vec::len).sum();
        let mut sessions = sessions(stage, means).await?;
        let mut took = Vec::new();
        for _ in 0..ROUNDS {
            took.push(round(&mut sessions, &batches).await?);
        }
        took.sort();
        let protocols = if udp { "TCP and UDP" } else { "TCP" };
        let (median, best) = (took[ROUNDS / 2], took[0]);
        println!(
            "{means:?}, {protocols}: a round of {all} probes from {PODS} sources: median {median:?}, best {best:?}"
        );
        let began = Instant::now();
        for _ in 0..SUSTAINED {
            round(&mut sessions, &batches).await?;
        }
        let took = began.elapsed();
        let rate = f64::from(u32::try_from(all * SUSTAINED).unwrap_or(u32::MAX)) / took.as_secs_f64();
        println!("{means:?}, {protocols}: {} probes in {took:?}: {rate:.0} a second", all * SUSTAINED);
    }
    Ok(())
}

/// What a source asks in a round: each pod but itself.
fn batch(world: &World, from: usize, udp: bool) -> Vec<Request> {
    let others = world.pods.iter().filter(|pod| pod.spec.name != name(from));
    let targets = others.flat_map(|pod| {
        let host = pod.addresses[0].to_string();
        let tcp = PORTS.map(|port| Target::http(Method::Get, &host, port, "/", &[]));
        let over_udp = PORTS.map(|port| Target::Udp { host: host.clone(), port, family: Family::Ipv4 });
        let targets: Vec<Target> = tcp.into_iter().chain(over_udp.into_iter().filter(|_| udp)).collect();
        targets.into_iter().map(|target| (target, pod.identity.clone()))
    });
    let request = |(index, (target, identity)): (usize, (Target, String))| {
        Request::new(target, format!("speed-{from}-{index}"), identity, Duration::from_secs(2))
    };
    targets.enumerate().map(request).collect()
}

async fn sessions(stage: &dyn Stage, means: Means) -> Result<Vec<Box<dyn Session>>, String> {
    let open = (0..PODS).map(|index| async move {
        let source = Source::Pod("default".to_owned(), name(index));
        let session = match means {
            Means::Curl => stage.open(&source).await,
            Means::Agent => stage.open_fast(&source, means).await,
        };
        session.map_err(|error| error.to_string())
    });
    join_all(open).await.into_iter().collect()
}

/// All sources' batches at once; how long it took. Everything must be reached.
async fn round(sessions: &mut [Box<dyn Session>], batches: &[Vec<Request>]) -> Result<Duration, String> {
    let began = Instant::now();
    let reached = sessions.iter_mut().zip(batches).map(|(session, batch)| async move {
        let answers: Vec<_> = session.probe(batch).collect().await;
        let missed = answers.iter().find(|answer| answer.observation.outcome != Outcome::Reached);
        match missed {
            Some(answer) => Err(format!("{:?}: {:?}", batch[answer.index].target, answer.observation)),
            None if answers.len() < batch.len() => Err("not every probe has an answer".to_owned()),
            None => Ok(()),
        }
    });
    join_all(reached).await.into_iter().collect::<Result<(), String>>().map(|()| began.elapsed())
}
