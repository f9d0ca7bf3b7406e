//! The kind backend by itself, without the engine: `POLICYPROBE_BACKEND=kind cargo test --test kind_smoke -- --nocapture`.
//! It makes a cluster and removes it again.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::{path::PathBuf, sync::Arc, time::Instant};

use policyprobe::{
    engine::{Event, Events},
    lab::{
        LabBuilder, LabError, ServerId, Source,
        kind::{Cni, KindBuilder},
    },
    scenario::{LabSpec, LabelAction, Manifest, NodeName},
};
use tokio_util::sync::CancellationToken;

const SPEC: &str = r#"{
  "metadata": "gcp",
  "namespaces": {"default": {}, "other": {"labels": {"team": "b"}}},
  "pods": [
    {"name": "app1", "labels": {"app": "app1"}, "node": "worker"},
    {"name": "app2", "labels": {"app": "app2"}, "node": "master"},
    {"name": "app3", "namespace": "other", "ports": [{"name": "web", "port": 8080}]}
  ]
}"#;

fn manifest(raw: serde_json::Value) -> Manifest {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    Manifest {
        path: PathBuf::from("deny.yaml"),
        api_version: text(&raw["apiVersion"]),
        kind: text(&raw["kind"]),
        name: text(&raw["metadata"]["name"]),
        namespace: "default".to_owned(),
        policy: None,
        raw,
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one cluster for one story: each part takes what the part before it left")]
async fn a_kind_lab_stages_probes_applies_and_leaves_nothing() {
    if !is_wanted() {
        return;
    }
    let begun = Instant::now();
    let say = move |what: &str| eprintln!("{:7} ms  {what}", begun.elapsed().as_millis());
    let (events, mut receiver) = Events::channel();
    let printing = tokio::spawn(async move {
        while let Some(event) = receiver.recv().await {
            match event {
                Event::Phase(text) | Event::Note(text) => eprintln!("{:7} ms  ({text})", begun.elapsed().as_millis()),
                _ => {}
            }
        }
    });
    let cancel = CancellationToken::new();
    let run = format!("smoke{}", std::process::id());
    let lab = Box::new(builder()).build(&run, &events, &cancel).await.unwrap();
    say(&format!("lab is up: {:?}", lab.capabilities()));
    let checked = tokio::spawn({
        let lab = Arc::clone(&lab);
        async move {
            let spec: LabSpec = serde_json::from_str(SPEC).unwrap();
            let stage = lab.stage(&spec, &cancel).await.unwrap();
            say("stage is handed out");
            let world = stage.world();
            eprintln!("{world:#?}");
            for source in [
                Source::Pod("default".to_owned(), "app1".to_owned()),
                Source::Node(NodeName::Master),
                Source::Node(NodeName::Worker),
            ] {
                let mut session = stage.open(&source).await.unwrap();
                let request = policyprobe::probe::Request {
                    target: policyprobe::probe::Target::Http {
                        tls: false,
                        host: "169.254.169.254".to_owned(),
                        port: 80,
                        path: "/computeMetadata/v1/instance/image".to_owned(),
                        headers: vec![("Metadata-Flavor".to_owned(), "Google".to_owned())],
                        family: policyprobe::scenario::Family::Ipv4,
                        nonce_header: policyprobe::http::NONCE.to_owned(),
                    },
                    nonce: format!("n-{source:?}").replace(|c: char| !c.is_ascii_alphanumeric(), "-"),
                    server: world.metadata.as_ref().unwrap().identity.clone(),
                    connect_limit: std::time::Duration::from_secs(2),
                };
                let (observation, body) = session.fetch(&request).await;
                say(&format!("{}: {observation:?} {body}", session.command(&request)));
                assert_eq!(observation.outcome, policyprobe::probe::Outcome::Reached);
                let seen = stage.seen(&ServerId::Metadata).await.unwrap();
                assert!(seen.contains(&request.nonce), "{seen:?}");
            }
            let app2 = world.pods.iter().find(|pod| pod.spec.name == "app2").unwrap();
            let mut session = stage.open(&Source::Pod("default".to_owned(), "app1".to_owned())).await.unwrap();
            let mut ask = async |nonce: &str| {
                let request = policyprobe::probe::Request {
                    target: policyprobe::probe::Target::Http {
                        tls: false,
                        host: app2.addresses[0].to_string(),
                        port: 80,
                        path: "/".to_owned(),
                        headers: Vec::new(),
                        family: policyprobe::scenario::Family::Ipv4,
                        nonce_header: policyprobe::http::NONCE.to_owned(),
                    },
                    nonce: nonce.to_owned(),
                    server: app2.identity.clone(),
                    connect_limit: std::time::Duration::from_millis(300),
                };
                session.fetch(&request).await.0
            };
            assert_eq!(ask("open").await.outcome, policyprobe::probe::Outcome::Reached);
            assert!(stage.seen(&ServerId::Pod("default".into(), "app2".into())).await.unwrap().contains("open"));
            let policy = serde_json::json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": { "name": "deny" },
                "spec": { "podSelector": { "matchLabels": { "app": "app2" } }, "policyTypes": ["Ingress"] },
            });
            let deny = manifest(policy.clone());
            stage.apply(&deny).await.unwrap();
            say("policy is applied");
            while !ask("denied").await.outcome.is_stopped() {}
            say("policy has its effect");
            let mut typo = policy;
            typo["spec"]["podSelecter"] = serde_json::json!({});
            match stage.apply(&manifest(typo)).await {
                Err(LabError::Rejected { message, .. }) => say(&format!("typo is refused: {message}")),
                other => unreachable!("{other:?}"),
            }
            let relabel = LabelAction {
                pod: Some("app2".to_owned()),
                namespace: None,
                set: [("app".to_owned(), "free".to_owned())].into(),
                remove: Vec::new(),
            };
            stage.label(&relabel).await.unwrap();
            while ask("relabelled").await.outcome.is_stopped() {}
            say("relabelled pod is free");
            stage.restart("default", "app1").await.unwrap();
            say("pod is restarted");
            stage.recreate("other", "app3").await.unwrap();
            say("pod is recreated");
            eprintln!("dns after {:?}", stage.dns_ready().await.unwrap());
            say("dns is ready");
            stage.reset().await.unwrap();
            say("stage is reset");
            let labels = &stage.world().pods.iter().find(|pod| pod.spec.name == "app2").unwrap().spec.labels.clone();
            assert_eq!(labels.get("app").map(String::as_str), Some("app2"));
            drop(stage);
            let again = lab.stage(&spec, &cancel).await.unwrap();
            say("stage is handed out again");
            drop(again);
        }
    })
    .await;
    let errors = lab.teardown().await;
    say(&format!("torn down, errors: {errors:?}"));
    printing.abort();
    assert!(errors.is_empty());
    checked.unwrap();
}

fn is_wanted() -> bool {
    let is_wanted = std::env::var("POLICYPROBE_BACKEND").as_deref() == Ok("kind");
    if !is_wanted {
        eprintln!("ignored: POLICYPROBE_BACKEND is not kind");
    }
    is_wanted
}

fn builder() -> KindBuilder {
    KindBuilder {
        node_image: std::env::var("POLICYPROBE_NODE_IMAGE").ok(),
        cni: std::env::var_os("POLICYPROBE_CNI").map_or(Cni::Default, |file| Cni::File(file.into())),
        ..KindBuilder::default()
    }
}

/// The containers of a run: its nodes and its emulator.
fn containers(run: &str) -> Vec<String> {
    let names = duct::cmd!("docker", "ps", "-a", "--format", "{{.Names}}").read().unwrap();
    names.lines().filter(|name| name.starts_with(&format!("pp-{run}-"))).map(str::to_owned).collect()
}

async fn until_there_are_containers(run: &str) {
    while containers(run).is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_build_leaves_nothing() {
    if !is_wanted() {
        return;
    }
    let run = format!("stop{}", std::process::id());
    let (events, _receiver) = Events::channel();
    let cancel = CancellationToken::new();
    let (built, ()) = tokio::join!(Box::new(builder()).build(&run, &events, &cancel), async {
        until_there_are_containers(&run).await;
        cancel.cancel();
    });
    assert!(matches!(built.err(), Some(LabError::Cancelled)));
    assert_eq!(containers(&run), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn cleanup_removes_what_a_killed_run_left() {
    if !is_wanted() {
        return;
    }
    let test = "a_kind_lab_stages_probes_applies_and_leaves_nothing";
    let this = std::env::current_exe().unwrap();
    let mut child = tokio::process::Command::new(this).args(["--exact", test]).kill_on_drop(true).spawn().unwrap();
    let run = format!("smoke{}", child.id().unwrap());
    until_there_are_containers(&run).await;
    let alive = policyprobe::lab::state::RunState::claim(&run).unwrap();
    assert!(alive.is_none(), "a live run's record is locked");
    child.kill().await.unwrap();
    let args = policyprobe::cli::cleanup::Args { dry_run: false, kept: false };
    assert_eq!(policyprobe::cli::cleanup::run(&args).await.unwrap(), 0);
    assert_eq!(containers(&run), Vec::<String>::new());
    assert!(!policyprobe::lab::state::runs().unwrap().contains(&run));
}
