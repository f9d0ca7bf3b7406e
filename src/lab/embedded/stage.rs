//! A stage as the engine sees it, and where its probes start.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use anyhow::anyhow;
use async_trait::async_trait;
use tokio::sync::mpsc::UnboundedSender;

use super::{
    client::Client,
    lab::Pool,
    protocol::{Action, Document, Frame, Reply, Request},
};
use crate::{
    lab::{LabError, ServerId, Source, Stage, World},
    probe::{
        AgentHost, CurlHost, CurlSession, Means, Mixed, Session,
        direct::{Finding, Work},
    },
    scenario::{LabSpec, LabelAction, Manifest, PodSpec},
};

/// A stage of the embedded lab. When it is dropped it is closed, or kept for the next one of its kind.
pub struct EmbeddedStage {
    client: Arc<Client>,
    id: u64,
    world: Mutex<Arc<World>>,
    /// Who keeps it for the next one that needs such a stage.
    pool: Option<(Weak<Pool>, LabSpec, u32)>,
}

impl EmbeddedStage {
    pub(super) fn new(client: Arc<Client>, id: u64) -> Self {
        Self { client, id, world: Mutex::default(), pool: None }
    }

    /// The same stage, kept by a pool once nobody uses it.
    pub(super) fn kept_by(mut self, pool: &Arc<Pool>, spec: &LabSpec, lane: u32) -> Self {
        self.pool = Some((Arc::downgrade(pool), spec.clone(), lane));
        self
    }

    /// Loses a share of the packets on a pod's link, both ways, at random; 0 ends it. One pod a node at a time.
    pub async fn impair_loss(&self, source: &Source, percent: u8) -> Result<(), LabError> {
        self.act(Action::Impair { source: source.clone(), loss_percent: percent }).await
    }

    /// Stops the metadata server. Its address stays: connections to it are refused.
    pub async fn stop_metadata(&self) -> Result<(), LabError> {
        self.act(Action::ReplaceMetadata { identity: None }).await
    }

    /// Puts a server of another identity in the place of the metadata server. What [`Stage::world`] says stays.
    pub async fn impersonate_metadata(&self, identity: &str) -> Result<(), LabError> {
        self.act(Action::ReplaceMetadata { identity: Some(identity.to_owned()) }).await
    }

    /// Where `curl` can be started, in a source.
    #[must_use]
    pub fn curl_host(&self, source: &Source) -> NamespaceCurl {
        NamespaceCurl { client: self.client.clone(), stage: self.id, source: source.clone() }
    }

    /// The inner half's prober, in a source.
    #[must_use]
    pub fn prober(&self, source: &Source) -> NamespaceProber {
        NamespaceProber { client: self.client.clone(), stage: self.id, source: source.clone() }
    }

    /// Takes over the world as a reply says it is now.
    pub(super) fn update(&self, reply: Reply) -> Result<(), LabError> {
        let Reply::World(world) = reply else { return Err(unexpected()) };
        *self.world.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(*world);
        Ok(())
    }

    async fn act(&self, action: Action) -> Result<(), LabError> {
        self.update(self.on(action).await?)
    }

    async fn on(&self, action: Action) -> Result<Reply, LabError> {
        self.client.call(Request::On { stage: self.id, action }).await
    }
}

impl Drop for EmbeddedStage {
    fn drop(&mut self) {
        let kept = self.pool.take().and_then(|(pool, spec, lane)| Some((pool.upgrade()?, (spec, lane))));
        let closed = match kept {
            Some((pool, whose)) => pool.keep(whose, self.id),
            None => Some(self.id),
        };
        if let Some(stage) = closed {
            self.client.tell(Request::Close { stage });
        }
    }
}

#[async_trait]
impl Stage for EmbeddedStage {
    fn world(&self) -> Arc<World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn apply(&self, manifest: &Manifest) -> Result<(), LabError> {
        self.act(Action::Apply(document(manifest))).await
    }

    async fn delete(&self, manifest: &Manifest) -> Result<(), LabError> {
        self.act(Action::Delete(document(manifest))).await
    }

    async fn label(&self, action: &LabelAction) -> Result<(), LabError> {
        self.act(Action::Label(action.clone())).await
    }

    async fn create(&self, pod: &PodSpec) -> Result<(), LabError> {
        self.act(Action::Create(pod.clone())).await
    }

    async fn create_told(
        &self,
        pod: &PodSpec,
        script: Option<&str>,
        _told: UnboundedSender<Vec<IpAddr>>,
    ) -> Result<Vec<String>, LabError> {
        let Some(script) = script else { return self.create(pod).await.map(|()| Vec::new()) };
        let action = Action::CreateAsking { pod: pod.clone(), script: script.to_owned() };
        let Reply::Said { world, lines } = self.on(action).await? else { return Err(unexpected()) };
        self.update(Reply::World(world))?;
        Ok(lines)
    }

    async fn recreate(&self, namespace: &str, pod: &str) -> Result<(), LabError> {
        self.act(Action::Recreate { namespace: namespace.to_owned(), pod: pod.to_owned() }).await
    }

    async fn restart(&self, namespace: &str, pod: &str) -> Result<(), LabError> {
        let message = format!("cannot restart {namespace}/{pod}: a pod of the embedded lab has no container");
        Err(LabError::with_hint(message, "`--backend kind` has containers"))
    }

    async fn open(&self, source: &Source) -> Result<Box<dyn Session>, LabError> {
        // A first connect that competes with the start of its own process would make for a long window.
        self.on(Action::Prepare { source: source.clone() }).await?;
        Ok(Box::new(CurlSession::new(self.curl_host(source))))
    }

    async fn open_fast(&self, source: &Source, prefer: Means) -> Result<Box<dyn Session>, LabError> {
        if prefer == Means::Curl {
            self.on(Action::Prepare { source: source.clone() }).await?;
        }
        Ok(Box::new(Mixed::new(self.prober(source), self.curl_host(source), prefer)))
    }

    async fn seen(&self, server: &ServerId, nonces: &BTreeSet<String>) -> Result<BTreeSet<String>, LabError> {
        match self.on(Action::Seen { server: server.clone(), nonces: nonces.clone() }).await? {
            Reply::Seen(nonces) => Ok(nonces),
            _ => Err(unexpected()),
        }
    }

    async fn dns_ready(&self) -> Result<Duration, LabError> {
        let start = Instant::now();
        self.on(Action::DnsReady).await?;
        Ok(start.elapsed())
    }

    async fn reset(&self) -> Result<(), LabError> {
        self.act(Action::Reset).await
    }

    fn ground(&self) -> Option<u64> {
        self.pool.is_some().then_some(self.id)
    }
}

/// Starts `curl` in a source's namespace.
#[derive(Clone)]
pub struct NamespaceCurl {
    client: Arc<Client>,
    stage: u64,
    source: Source,
}

#[async_trait]
impl CurlHost for NamespaceCurl {
    async fn curl(&mut self, config: &str, lines: UnboundedSender<String>) -> Result<i32, String> {
        let action = Action::Curl { source: self.source.clone(), config: config.to_owned() };
        let line = |frame| {
            if let Frame::Line { line, .. } = frame {
                let _ = lines.send(line);
            }
        };
        match self.client.stream(Request::On { stage: self.stage, action }, line).await {
            Ok(Reply::Exit(code)) => Ok(code),
            Ok(_) => Err(unexpected().to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn prefix(&self) -> String {
        String::new()
    }
}

/// Probes from a source's namespace, without a process of its own.
#[derive(Clone)]
pub struct NamespaceProber {
    client: Arc<Client>,
    stage: u64,
    source: Source,
}

#[async_trait]
impl AgentHost for NamespaceProber {
    async fn call(&mut self, work: Work, found: UnboundedSender<Finding>) -> Result<usize, String> {
        let action = Action::Probe { source: self.source.clone(), work };
        let take = |frame| {
            if let Frame::Found { findings, .. } = frame {
                for finding in findings {
                    let _ = found.send(finding);
                }
            }
        };
        match self.client.stream(Request::On { stage: self.stage, action }, take).await {
            Ok(Reply::Answered(count)) => Ok(count),
            Ok(_) => Err(unexpected().to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn prefix(&self) -> String {
        String::new()
    }
}

fn document(manifest: &Manifest) -> Document {
    Document {
        label: format!("{} `{}` in {}", manifest.kind, manifest.name, manifest.path.display()),
        namespace: manifest.namespace.clone(),
        raw: manifest.raw.clone(),
    }
}

fn unexpected() -> LabError {
    anyhow!("the lab's process gave an answer to another question").into()
}
