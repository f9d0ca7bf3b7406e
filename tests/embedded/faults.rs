//! Whole runs in a lab in which something goes wrong: no fault may ever look like a policy that works.

use std::{
    collections::BTreeSet,
    fs,
    process::Command,
    sync::Arc,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use futures::{FutureExt, StreamExt, stream::BoxStream};
use policyprobe::{
    engine::{self, CellResult, Events, Options, RunResult, Verdict},
    lab::{
        Capabilities, Lab, LabBuilder, LabError, ServerId, Source, Stage, World,
        embedded::{DenyBy, EmbeddedLab, EmbeddedStage},
    },
    probe::{Answer, Observation, Outcome, Request, Session},
    scenario::{self, LabSpec, LabelAction, LoadedScenario, Manifest, PodSpec},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::common::*;

const SCENARIO: &str = "metadata-lab-by-address";
/// How long a table that can never be as expected is waited for.
const SOON: Duration = Duration::from_millis(1500);

/// What goes wrong, on the scenario's stage alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Nothing,
    /// The link of app2 loses this share of its packets, from the start.
    Loss(u8),
    /// The metadata server ends once a deny has been seen.
    ServerDies,
    /// Another server takes its place once a deny has been seen.
    Impostor,
    /// The network takes every policy for one that denies everything, DNS included.
    DeniesAll,
}

#[tokio::test]
async fn without_a_fault_everything_passes() {
    let Some(result) = run(SCENARIO, Fault::Nothing).await else { return };
    assert_eq!(result.exit_code, engine::OK, "{result:#?}");
    assert!(denies(&result).len() >= 3);
}

#[tokio::test]
async fn a_server_that_dies_is_no_deny() {
    let Some(result) = run(SCENARIO, Fault::ServerDies).await else { return };
    assert_eq!(result.exit_code, engine::INCONCLUSIVE, "{result:#?}");
    // The denied pods see what they should see, and nothing else tells the two apart but the witness.
    for cell in denies(&result) {
        assert_eq!(cell.verdict, Verdict::Inconclusive, "{cell:#?}");
    }
    assert!(denies(&result).iter().any(|cell| cell.outcome == Some(Outcome::TimedOut)));
}

#[tokio::test]
async fn another_server_at_the_address_is_told_from_the_right_one() {
    let Some(result) = run(SCENARIO, Fault::Impostor).await else { return };
    assert_eq!(result.exit_code, engine::FAILED, "{result:#?}");
    let fooled: Vec<_> = cells(&result).filter(|cell| cell.outcome == Some(Outcome::WrongServer)).collect();
    assert!(fooled.iter().any(|cell| cell.from == "node/worker"), "{result:#?}");
    assert!(fooled.iter().all(|cell| cell.verdict == Verdict::Fail), "{fooled:#?}");
    assert!(denies(&result).iter().all(|cell| cell.verdict != Verdict::Pass), "{result:#?}");
}

/// Loss may leave a cell open where the machine is too busy to ask often enough; it never makes one fail.
#[tokio::test]
async fn a_lossy_link_fails_no_cell() {
    let Some(lossy) = run(SCENARIO, Fault::Loss(10)).await else { return };
    assert!([engine::OK, engine::INCONCLUSIVE].contains(&lossy.exit_code), "{lossy:#?}");
    assert!(cells(&lossy).all(|cell| matches!(cell.verdict, Verdict::Pass | Verdict::Inconclusive)), "{lossy:#?}");
}

#[tokio::test]
async fn a_deny_that_cuts_dns_is_no_deny_of_what_the_name_stands_for() {
    let Some(result) = run("metadata-lab", Fault::DeniesAll).await else { return };
    assert_ne!(result.exit_code, engine::OK, "{result:#?}");
    for cell in denies(&result) {
        let seen = (cell.outcome, cell.verdict);
        assert_eq!(seen, (Some(Outcome::NameNotResolved), Verdict::Inconclusive), "{cell:#?}");
    }
}

#[tokio::test]
async fn proxies_and_curls_own_configuration_have_no_effect() {
    if lab(DenyBy::Drop).await.is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    // Nobody listens there: whoever goes by way of it reaches nothing.
    let proxy = "http://127.0.0.1:9";
    fs::write(home.path().join(".curlrc"), format!("proxy = \"{proxy}\"\n")).unwrap();
    let mut command = Command::new(binary());
    command.args(["run", "--backend", "embedded", SCENARIO]).current_dir(home.path());
    for place in ["HOME", "CURL_HOME", "XDG_CONFIG_HOME"] {
        command.env(place, home.path());
    }
    for variable in ["http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env(variable, proxy);
    }
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Runs a shipped scenario in a lab with a fault; nothing where there can be no lab.
async fn run(id: &str, fault: Fault) -> Option<RunResult> {
    let lab = lab(DenyBy::Drop).await?;
    let scenarios: Vec<LoadedScenario> = scenario::select(&[id.to_owned()]).unwrap();
    let mut capabilities = lab.capabilities().clone();
    if !matches!(fault, Fault::Nothing | Fault::Loss(_)) {
        capabilities.converge_limit = SOON;
    }
    let builder = Box::new(Faulty { lab, capabilities, fault });
    let (events, _) = Events::channel();
    Some(engine::run(builder, &scenarios, &Options::default(), &events, &CancellationToken::new()).await)
}

fn cells(result: &RunResult) -> impl Iterator<Item = &CellResult> {
    result.scenarios.iter().flat_map(|scenario| &scenario.steps).flat_map(|step| &step.cells)
}

fn denies(result: &RunResult) -> Vec<&CellResult> {
    cells(result).filter(|cell| cell.expected == "deny").collect()
}

/// A lab, and its builder, with a fault.
struct Faulty {
    lab: EmbeddedLab,
    capabilities: Capabilities,
    fault: Fault,
}

#[async_trait]
impl LabBuilder for Faulty {
    fn backend(&self) -> &'static str {
        "faulty"
    }

    async fn build(
        self: Box<Self>,
        _: &str,
        _: &[LabSpec],
        _: &Events,
        _: &CancellationToken,
    ) -> Result<Arc<dyn Lab>, LabError> {
        Ok(Arc::new(*self))
    }
}

#[async_trait]
impl Lab for Faulty {
    fn backend(&self) -> &'static str {
        "faulty"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn stage(&self, spec: &LabSpec, _: u32, _: &CancellationToken) -> Result<Arc<dyn Stage>, LabError> {
        let stage = self.lab.open_stage(spec).await?;
        // The canary's stage has no metadata server, and no fault.
        if spec.metadata.is_none() {
            return Ok(Arc::new(stage));
        }
        if let Fault::Loss(percent) = self.fault {
            stage.impair_loss(&pod("app2"), percent).await?;
        }
        let (armed, batches) = (AtomicBool::new(false), AtomicU32::new(0));
        Ok(Arc::new(FaultyStage(Arc::new(Scene { stage, fault: self.fault, armed, batches }))))
    }

    async fn diagnose(&self) -> String {
        self.lab.diagnose().await
    }

    async fn teardown(&self) -> Vec<LabError> {
        self.lab.teardown().await
    }
}

/// A stage, and when its fault happens.
struct Scene {
    stage: EmbeddedStage,
    fault: Fault,
    /// Set once a policy was applied.
    armed: AtomicBool,
    /// Batches from app1 since then.
    batches: AtomicU32,
}

impl Scene {
    /// Before each batch from app1: the second one since a policy was applied comes in the middle of a hold.
    async fn before_batch(&self) {
        if !self.armed.load(Ordering::SeqCst) || self.batches.fetch_add(1, Ordering::SeqCst) != 1 {
            return;
        }
        match self.fault {
            Fault::ServerDies => self.stage.stop_metadata().await.unwrap(),
            Fault::Impostor => self.stage.impersonate_metadata("metadata/gcp/another").await.unwrap(),
            Fault::Nothing | Fault::Loss(_) | Fault::DeniesAll => {}
        }
    }
}

struct FaultyStage(Arc<Scene>);

#[async_trait]
impl Stage for FaultyStage {
    fn world(&self) -> Arc<World> {
        self.0.stage.world()
    }

    async fn apply(&self, manifest: &Manifest) -> Result<(), LabError> {
        self.0.armed.store(true, Ordering::SeqCst);
        if self.0.fault == Fault::DeniesAll {
            let all = policy(&manifest.name, &json!({"podSelector": {}, "policyTypes": ["Egress"]}));
            return self.0.stage.apply(&all).await;
        }
        self.0.stage.apply(manifest).await
    }

    async fn delete(&self, manifest: &Manifest) -> Result<(), LabError> {
        self.0.stage.delete(manifest).await
    }

    async fn label(&self, action: &LabelAction) -> Result<(), LabError> {
        self.0.stage.label(action).await
    }

    async fn create(&self, pod: &PodSpec) -> Result<(), LabError> {
        self.0.stage.create(pod).await
    }

    async fn recreate(&self, namespace: &str, pod: &str) -> Result<(), LabError> {
        self.0.stage.recreate(namespace, pod).await
    }

    async fn restart(&self, namespace: &str, pod: &str) -> Result<(), LabError> {
        self.0.stage.restart(namespace, pod).await
    }

    async fn open(&self, source: &Source) -> Result<Box<dyn Session>, LabError> {
        let session = self.0.stage.open(source).await?;
        if *source == pod("app1") { Ok(Box::new(FaultySession(session, self.0.clone()))) } else { Ok(session) }
    }

    async fn seen(&self, server: &ServerId, nonces: &BTreeSet<String>) -> Result<BTreeSet<String>, LabError> {
        self.0.stage.seen(server, nonces).await
    }

    async fn dns_ready(&self) -> Result<Duration, LabError> {
        self.0.stage.dns_ready().await
    }

    async fn reset(&self) -> Result<(), LabError> {
        self.0.stage.reset().await
    }
}

struct FaultySession(Box<dyn Session>, Arc<Scene>);

#[async_trait]
impl Session for FaultySession {
    fn probe<'a>(&'a mut self, batch: &'a [Request]) -> BoxStream<'a, Answer> {
        let Self(session, scene) = self;
        async move {
            scene.before_batch().await;
            session.probe(batch)
        }
        .flatten_stream()
        .boxed()
    }

    fn watch<'a>(&'a mut self, batch: &'a [Request], every: Duration) -> BoxStream<'a, Answer> {
        self.0.watch(batch, every)
    }

    async fn fetch(&mut self, request: &Request) -> (Observation, String) {
        self.0.fetch(request).await
    }

    fn command(&self, request: &Request) -> String {
        self.0.command(request)
    }
}
