//! The embedded lab against the simulator: random policies in the kernel, and real `curl` from everybody to everybody.
//!
//! Where the system forbids namespaces the test says so and passes; `POLICYPROBE_REQUIRE=embedded` makes that a failure.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::Arc,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use futures::{StreamExt, future::join_all};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use policyprobe::{
    engine::plan,
    lab::{
        Source, Stage, World,
        embedded::{EmbeddedBuilder, EmbeddedLab, EmbeddedStage},
    },
    policy::{Cluster, Decision, End, Flow, decide},
    probe::{Outcome, Request, Target},
    scenario::{LabSpec, LabelAction, Manifest, NodeName, PodSpec, PortSpec, Protocol},
};
use proptest::{prelude::*, test_runner::TestRunner};
use tokio::runtime::Runtime;

use crate::{
    config, gallery, passes,
    worlds::{PORTS, addresses, labs, policies},
};

/// Long enough for every allowed connection of an idle machine.
const WINDOW: Duration = Duration::from_millis(150);
/// Long enough for every allowed connection of a busy one: what differs from the simulator is asked again.
const SECOND_WINDOW: Duration = Duration::from_millis(1500);

/// Faults that random cases seldom show, because an exception, the end of a range or a second rule has to be hit.
const PLANTED: [&str; 4] = ["ignores-except", "end-port-excluded", "ors-selectors", "cross-multiplies-rules"];

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A lab, with this fault where one is named; nothing where there can be no lab.
fn lab(runtime: &Runtime, run: &str, mutant: Option<&str>) -> Option<EmbeddedLab> {
    let builder = EmbeddedBuilder {
        binary: Some(env!("CARGO_BIN_EXE_policyprobe").into()),
        mutant: mutant.map(|name| name.parse().unwrap()),
        ..EmbeddedBuilder::default()
    };
    match runtime.block_on(builder.start(run)) {
        Ok(lab) => Some(lab),
        Err(error) => {
            let required = std::env::var("POLICYPROBE_REQUIRE").is_ok_and(|names| names.contains("embedded"));
            assert!(!required, "{error}");
            eprintln!("not run: {error}");
            None
        }
    }
}

/// One case for each construct of the API: what random cases may miss is asked every time.
async fn exhibition(lab: &EmbeddedLab) -> Result<(), TestCaseError> {
    let stage = lab.open_stage(&with_servers(gallery::lab())).await.unwrap();
    for exhibit in gallery::exhibits(&stage.world()) {
        for policy in &exhibit.policies {
            stage.apply(&manifest(policy)).await.unwrap();
        }
        let compared = compare(&stage, &exhibit.policies).await;
        compared.map_err(|error| TestCaseError::fail(format!("{}: {error}", exhibit.shows)))?;
        for policy in &exhibit.policies {
            stage.delete(&manifest(policy)).await.unwrap();
        }
    }
    Ok(())
}

#[test]
fn the_simulator_and_the_embedded_lab_agree_on_every_construct() {
    let runtime = runtime();
    let Some(lab) = lab(&runtime, "gallery", None) else { return };
    runtime.block_on(exhibition(&lab)).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_planted_fault_is_a_difference() {
    let runtime = runtime();
    for mutant in PLANTED {
        let Some(lab) = lab(&runtime, mutant, Some(mutant)) else { return };
        assert!(runtime.block_on(exhibition(&lab)).is_err(), "nothing shows `{mutant}`");
    }
}

#[test]
fn the_simulator_is_the_embedded_lab() {
    let runtime = runtime();
    let Some(lab) = lab(&runtime, "property", None) else { return };
    let crowded = runtime.block_on(crowded(&lab));
    let cases = labs().prop_map(with_servers).prop_flat_map(move |spec| {
        let policies = policies(&foretold(&crowded, &spec));
        (Just(spec), policies)
    });
    // Shrinking makes a stage a step, so it ends early.
    let config = ProptestConfig { source_file: Some(file!()), max_shrink_iters: 12, ..config(8) };
    let result = TestRunner::new(config).run(&cases, |(spec, policies)| runtime.block_on(case(&lab, &spec, &policies)));
    result.unwrap_or_else(|error| panic!("{error}"));
}

/// A server on every port of every pod. The ports without a name change nothing for policies.
fn with_servers(mut spec: LabSpec) -> LabSpec {
    for pod in &mut spec.pods {
        for port in PORTS {
            if !pod.ports.iter().any(|other| (other.port, other.protocol) == (port, Protocol::Tcp)) {
                pod.ports.push(PortSpec { name: None, port, protocol: Protocol::Tcp });
            }
        }
    }
    spec
}

/// The world of a stage with as many pods on each node as a random lab can have.
async fn crowded(lab: &EmbeddedLab) -> Arc<World> {
    let pod = |node, number| PodSpec {
        name: format!("p{number}"),
        namespace: format!("{node:?}").to_lowercase(),
        labels: BTreeMap::default(),
        node,
        ports: Vec::new(),
        host_network: false,
        relay: None,
        owner: None,
        service_account: None,
    };
    let pods = NodeName::ALL.into_iter().flat_map(|node| (0..4).map(move |number| pod(node, number)));
    let outside = serde_json::from_value(serde_json::json!([{"name": "out"}])).unwrap();
    lab.open_stage(&LabSpec { pods: pods.collect(), outside, ..LabSpec::default() }).await.unwrap().world()
}

/// The addresses that a lab will have: pods get those of their node in their order.
fn foretold(crowded: &World, spec: &LabSpec) -> Vec<IpAddr> {
    let mut used = BTreeMap::from(NodeName::ALL.map(|node| (node, 0)));
    let mut world = World { pods: Vec::new(), ..crowded.clone() };
    for pod in &spec.pods {
        let number = used.entry(pod.node).or_default();
        world.pods.extend(crowded.pods.iter().filter(|other| other.spec.node == pod.node).nth(*number).cloned());
        *number += 1;
    }
    addresses(&world)
}

/// Compares after the policies, and once more after a change of labels and of policies.
async fn case(lab: &EmbeddedLab, spec: &LabSpec, policies: &[NetworkPolicy]) -> Result<(), TestCaseError> {
    let stage = lab.open_stage(spec).await.unwrap();
    for policy in policies {
        stage.apply(&manifest(policy)).await.unwrap();
    }
    compare(&stage, policies).await?;
    let Some((first, rest)) = policies.split_first() else { return Ok(()) };
    stage.delete(&manifest(first)).await.unwrap();
    let [one, other, ..] = &spec.pods[..] else { return Ok(()) };
    let action = LabelAction {
        pod: Some(format!("{}/{}", one.namespace, one.name)),
        namespace: None,
        set: other.labels.clone(),
        remove: one.labels.keys().filter(|key| !other.labels.contains_key(*key)).cloned().collect(),
    };
    stage.label(&action).await.unwrap();
    compare(&stage, rest).await
}

/// Somebody who asks and answers.
struct Party {
    source: Source,
    identity: String,
    address: IpAddr,
    ports: Vec<u16>,
}

/// One question, and the simulator's answer to it.
struct Question {
    from: Source,
    request: Request,
    expected: bool,
    decision: Decision,
}

/// Asks every question at once, and again those whose answers differ from the simulator's.
async fn compare(stage: &EmbeddedStage, policies: &[NetworkPolicy]) -> Result<(), TestCaseError> {
    let world = stage.world();
    let cluster = plan::cluster(&world, policies.iter().cloned().map(Arc::new).collect());
    let different = differences(stage, questions(&world, &cluster)).await;
    let again = different.into_iter().map(|(question, _)| {
        let request = Request { connect_limit: SECOND_WINDOW, nonce: nonce(), ..question.request };
        Question { request, ..question }
    });
    let still = differences(stage, again.collect()).await;
    let Some((Question { from, request, decision, .. }, outcome)) = still.into_iter().next() else { return Ok(()) };
    Err(TestCaseError::fail(format!(
        "{from:?} to {} at {:?}: {outcome:?}, but {decision}",
        request.server, request.target
    )))
}

async fn differences(stage: &EmbeddedStage, questions: Vec<Question>) -> Vec<(Question, Outcome)> {
    let mut by_source: BTreeMap<Source, Vec<Question>> = BTreeMap::new();
    for question in questions {
        by_source.entry(question.from.clone()).or_default().push(question);
    }
    let asked = by_source.into_iter().map(|(source, questions)| async move {
        let batch: Vec<Request> = questions.iter().map(|question| question.request.clone()).collect();
        let mut outcomes = vec![Outcome::ProbeLost; batch.len()];
        let mut session = stage.open(&source).await.unwrap();
        let mut answers = session.probe(&batch);
        while let Some(answer) = answers.next().await {
            outcomes[answer.index] = answer.observation.outcome;
        }
        questions.into_iter().zip(outcomes).collect::<Vec<_>>()
    });
    let all = join_all(asked).await.into_iter().flatten();
    all.filter(
        |(question, outcome)| {
            if question.expected { *outcome != Outcome::Reached } else { !outcome.is_stopped() }
        },
    )
    .collect()
}

/// Everybody to everybody, themselves among them, but for what the API leaves open.
fn questions(world: &World, cluster: &Cluster) -> Vec<Question> {
    let parties = parties(world);
    let mut all = Vec::new();
    for from in &parties {
        for (to, port) in parties.iter().flat_map(|to| to.ports.iter().map(move |port| (to, *port))) {
            let flow = Flow {
                from: end(cluster, from.address),
                from_address: from.address,
                to: end(cluster, to.address),
                to_address: to.address,
                port,
                protocol: Protocol::Tcp,
                service: None,
            };
            let decision = decide(cluster, &flow);
            let Some(expected) = passes(&decision) else { continue };
            all.push(Question { from: from.source.clone(), request: request(to, port), expected, decision });
        }
    }
    all
}

fn parties(world: &World) -> Vec<Party> {
    let pods = world.pods.iter().map(|pod| Party {
        source: Source::Pod(pod.spec.namespace.clone(), pod.spec.name.clone()),
        identity: pod.identity.clone(),
        address: pod.addresses[0],
        ports: PORTS.to_vec(),
    });
    let nodes = world.nodes.iter().map(|node| {
        let (identity, port) = node.server.clone().unwrap();
        Party { source: Source::Node(node.name), identity, address: node.addresses[0], ports: vec![port] }
    });
    let outside = world.outside.iter().map(|host| Party {
        source: Source::Outside(host.name.clone()),
        identity: host.identity.clone(),
        address: host.address,
        ports: PORTS.to_vec(),
    });
    pods.chain(nodes).chain(outside).collect()
}

fn end(cluster: &Cluster, address: IpAddr) -> End<'_> {
    let pod = cluster.pods.iter().find(|pod| pod.addresses.contains(&address)).map(End::Pod);
    let node = || cluster.nodes.iter().find(|node| node.addresses.contains(&address)).map(End::Node);
    pod.or_else(node).unwrap_or(End::Outside)
}

fn request(to: &Party, port: u16) -> Request {
    let target = Target::http(policyprobe::scenario::Method::Get, &to.address.to_string(), port, "/", &[]);
    Request::new(target, nonce(), to.identity.clone(), WINDOW)
}

fn nonce() -> String {
    static LAST: AtomicU32 = AtomicU32::new(0);
    format!("nonce-{}", LAST.fetch_add(1, Ordering::Relaxed))
}

fn manifest(policy: &NetworkPolicy) -> Manifest {
    Manifest {
        path: "random.yaml".into(),
        raw: serde_json::to_value(policy).unwrap(),
        api_version: "networking.k8s.io/v1".to_owned(),
        kind: "NetworkPolicy".to_owned(),
        name: policy.metadata.name.clone().unwrap(),
        namespace: policy.metadata.namespace.clone().unwrap(),
        policy: Some(Arc::new(policy.clone())),
    }
}
