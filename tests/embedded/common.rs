//! A lab, a stage, and probes from its sources.

use std::{
    path::PathBuf,
    sync::Arc,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use futures::StreamExt;
use policyprobe::{
    lab::{
        LabError, Source, Stage,
        embedded::{DenyBy, EmbeddedBuilder, EmbeddedLab, EmbeddedStage},
    },
    probe::{Observation, Outcome, Request, Target},
    scenario::{LabSpec, Manifest, NodeName},
};
use serde_json::{Value, json};

pub(crate) const IMAGE: &str = "/computeMetadata/v1/instance/image";

pub(crate) fn binary() -> PathBuf {
    env!("CARGO_BIN_EXE_policyprobe").into()
}

/// A lab; none where this system has no namespaces for us, with the reason printed.
pub(crate) async fn lab(deny_by: DenyBy) -> Option<EmbeddedLab> {
    match (EmbeddedBuilder { binary: Some(binary()), deny_by, ..EmbeddedBuilder::default() }).start("test").await {
        Ok(lab) => Some(lab),
        Err(error) => {
            let required = std::env::var("POLICYPROBE_REQUIRE").is_ok_and(|backends| backends.contains("embedded"));
            assert!(!required, "{error}; {:?}", error.hint());
            eprintln!("not run: {error}; {}", error.hint().unwrap_or_default());
            None
        }
    }
}

/// Two pods on each node, one more namespace, a metadata server and an outside host.
pub(crate) fn spec() -> LabSpec {
    serde_json::from_value(json!({
        "metadata": "gcp",
        "namespaces": {"other": {"labels": {"team": "other"}}},
        "pods": [
            {"name": "app1", "labels": {"app": "app1"}, "node": "worker"},
            {"name": "app2", "labels": {"app": "app2"}, "node": "worker", "ports": [{"name": "web", "port": 8080}, {"port": 80}]},
            {"name": "app3", "labels": {"app": "app3"}, "node": "master", "namespace": "other"},
        ],
        "outside": [{"name": "internet"}],
    }))
    .unwrap()
}

/// A lab and a stage of [`spec`].
pub(crate) async fn stage() -> Option<(EmbeddedLab, EmbeddedStage)> {
    let lab = lab(DenyBy::Drop).await?;
    let stage = lab.open_stage(&spec()).await.unwrap();
    Some((lab, stage))
}

pub(crate) fn pod(name: &str) -> Source {
    let namespace = if name == "app3" { "other" } else { "default" };
    Source::Pod(namespace.to_owned(), name.to_owned())
}

pub(crate) fn node(name: NodeName) -> Source {
    Source::Node(name)
}

/// An address of the world, by what it belongs to.
pub(crate) fn address(stage: &EmbeddedStage, of: &str) -> String {
    let world = stage.world();
    let pods = world.pods.iter().chain(&world.others).map(|pod| (pod.spec.name.clone(), pod.addresses[0]));
    let nodes = world.nodes.iter().map(|node| (node.literal.clone(), node.addresses[0]));
    let outside = world.outside.iter().map(|host| (host.name.clone(), host.address));
    let metadata = world.metadata.iter().map(|server| ("metadata".to_owned(), server.addresses[0]));
    pods.chain(nodes).chain(outside).chain(metadata).find(|(name, _)| name == of).unwrap().1.to_string()
}

/// The identity that belongs to a name.
pub(crate) fn identity(stage: &EmbeddedStage, of: &str) -> String {
    let world = stage.world();
    let pods = world.pods.iter().map(|pod| (pod.spec.name.clone(), pod.identity.clone()));
    let nodes = world.nodes.iter().map(|node| (node.literal.clone(), node.server.clone().unwrap().0));
    let outside = world.outside.iter().map(|host| (host.name.clone(), host.identity.clone()));
    let metadata = world.metadata.iter().map(|server| ("metadata".to_owned(), server.identity.clone()));
    pods.chain(nodes).chain(outside).chain(metadata).find(|(name, _)| name == of).unwrap().1
}

/// A request to a host and port that a server with this identity should answer.
pub(crate) fn request(host: &str, port: u16, path: &str, server: &str, limit_ms: u64) -> Request {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let target = Target::http(policyprobe::scenario::Method::Get, host, port, path, &[("Metadata-Flavor", "Google")]);
    let nonce = format!("nonce-{}", LAST.fetch_add(1, Ordering::Relaxed));
    let plain = Request::new(target, nonce, server.to_owned(), Duration::from_millis(limit_ms));
    Request { resolve_limit: Duration::from_secs(1), ..plain }
}

pub(crate) async fn probe(stage: &EmbeddedStage, from: &Source, request: &Request) -> Observation {
    let mut session = stage.open(from).await.unwrap();
    let batch = std::slice::from_ref(request);
    let answers: Vec<_> = session.probe(batch).collect().await;
    assert_eq!(answers.len(), 1, "one answer to one request");
    answers[0].observation.clone()
}

/// The outcome of a request from a source to a name's address, its port 80.
pub(crate) async fn outcome(stage: &EmbeddedStage, from: &Source, to: &str) -> Outcome {
    outcome_on(stage, from, to, 80).await
}

pub(crate) async fn outcome_on(stage: &EmbeddedStage, from: &Source, to: &str, port: u16) -> Outcome {
    // A denied request has to wait this long; an allowed one on a busy machine must not.
    let request = request(&address(stage, to), port, IMAGE, &identity(stage, to), 1000);
    probe(stage, from, &request).await.outcome
}

/// A manifest of a policy in `default`.
pub(crate) fn policy(name: &str, spec: &Value) -> Manifest {
    manifest(
        &json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name}, "spec": spec}),
    )
}

pub(crate) fn manifest(raw: &Value) -> Manifest {
    let text = |pointer: &str| raw.pointer(pointer).and_then(Value::as_str).unwrap_or("default").to_owned();
    Manifest {
        path: "test.yaml".into(),
        raw: raw.clone(),
        api_version: text("/apiVersion"),
        kind: text("/kind"),
        name: text("/metadata/name"),
        namespace: text("/metadata/namespace"),
        policy: serde_json::from_value(raw.clone()).ok().map(Arc::new),
    }
}

/// The document's deny: everything but the metadata server.
pub(crate) fn deny_metadata() -> Manifest {
    let block = json!({"cidr": "0.0.0.0/0", "except": ["169.254.169.254/32"]});
    policy("deny", &json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": [{"ipBlock": block}]}]}))
}

/// The document's allow, for one app.
pub(crate) fn allow_metadata(app: &str) -> Manifest {
    let block = json!({"cidr": "169.254.169.254/32"});
    let selector = json!({"matchLabels": {"app": app}});
    policy(
        "allow",
        &json!({"podSelector": selector, "policyTypes": ["Egress"], "egress": [{"to": [{"ipBlock": block}]}]}),
    )
}

pub(crate) fn is_broken(result: Result<(), LabError>, words: &str) {
    let error = result.expect_err("it should be refused");
    let text = format!("{error} {}", error.hint().unwrap_or_default());
    assert!(text.contains(words), "{text}");
}
