//! The backend `kind`, from nothing to a lab: cluster and emulator side by side, then routes, names and nodes.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use async_trait::async_trait;
use futures::future::try_join_all;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod, networking::v1::NetworkPolicy};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    cluster,
    command::run,
    dns,
    emulator::{self, Emulator},
    ground::{KindGround, remove_run},
    node::NodePlace,
    remove, routes,
};
use crate::{
    engine::{Events, NODES_READY},
    lab::{
        Capabilities, Lab, LabBuilder, LabError, WorldMetadata, WorldNode,
        cluster::{Access, ClusterLab, Facts, Naming, PROBE_IMAGE, Parts, Shell, agent_for, remove_deployment},
        state::{self, RUN_LABEL, RunState},
    },
    metadata::{Cloud, LINK_LOCAL},
    scenario::{Need, NodeName},
};

/// Who connects pods, and enforces policies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cni {
    /// What the node image brings.
    #[default]
    Default,
    /// None: somebody installs one by hand while the run waits for the nodes.
    None,
    /// These manifests, in place of what the node image brings.
    File(PathBuf),
}

/// A lab on a kind cluster that the run makes, or that an earlier run kept.
#[derive(Clone, Debug, Default)]
pub struct KindBuilder {
    /// The node image; kind's own default where nothing is said.
    pub node_image: Option<String>,
    /// The CNI.
    pub cni: Cni,
    /// Whether the cluster stays after the run.
    pub keep: bool,
    /// The kept cluster to use.
    pub cluster: Option<String>,
    /// The image of the pods, which needs `curl` and `sh`.
    pub probe_image: Option<String>,
}

/// The Docker network that kind puts its nodes on.
fn network() -> String {
    std::env::var("KIND_EXPERIMENTAL_DOCKER_NETWORK")
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "kind".to_owned())
}

async fn network_exists(name: &str) -> Result<bool, LabError> {
    let names = run("docker", &["network", "ls", "--format", "{{.Name}}"], None).await?;
    Ok(names.lines().any(|known| known == name))
}

/// Fails, with a hint, where `docker` or `kind` do not work.
async fn check_tools() -> Result<(), LabError> {
    run("kind", &["version"], None).await?;
    let docker = run("docker", &["version", "--format", "{{.Server.Version}}"], None).await;
    docker.map(drop).map_err(|error| match error.hint() {
        Some(_) => error,
        None => LabError::with_hint(
            format!("Docker does not answer: {error}"),
            "start Docker Engine, see that you may use its socket (DOCKER_HOST), or use the embedded backend",
        ),
    })
}

/// A cluster that an earlier run kept, and that run's record.
fn kept(name: &str) -> Result<RunState, LabError> {
    for run in state::runs()? {
        // A record that cannot be read is `cleanup`'s business.
        if let Ok(Some(state)) = RunState::claim(&run) {
            let record = state.record();
            if record.kept && record.cluster.as_deref() == Some(name) {
                return Ok(state);
            }
        }
    }
    Err(LabError::with_hint(
        format!("there is no kept cluster `{name}`, or another run uses it"),
        "`--cluster` takes the name of a cluster that a run with `--keep` left",
    ))
}

/// Removes the Deployments, pods and policies that an earlier run left in a kept cluster.
async fn sweep(access: &Access) -> anyhow::Result<()> {
    let ours = ListParams::default().labels(RUN_LABEL);
    // Before the pods, or they would be made again.
    let owners = Api::<Deployment>::all(access.client.clone()).list(&ours).await?;
    try_join_all(owners.iter().map(|owner| async {
        let owners = Api::namespaced(access.client.clone(), &owner.namespace().unwrap_or_default());
        remove_deployment(&owners, &owner.name_any()).await
    }))
    .await?;
    let pods = Api::<Pod>::all(access.client.clone()).list(&ours).await?;
    let now = DeleteParams::default().grace_period(0);
    for pod in pods {
        let namespace = pod.namespace().unwrap_or_default();
        Api::<Pod>::namespaced(access.client.clone(), &namespace).delete(&pod.name_any(), &now).await?;
        let gone = |pod: Option<&Pod>| pod.is_none();
        let pods = Api::<Pod>::namespaced(access.client.clone(), &namespace);
        kube::runtime::wait::await_condition(pods, &pod.name_any(), gone).await?;
    }
    for policy in Api::<NetworkPolicy>::all(access.client.clone()).list(&ListParams::default()).await? {
        if policy.managed_fields().iter().any(|fields| fields.manager.as_deref() == Some("policyprobe")) {
            let api = Api::<NetworkPolicy>::namespaced(access.client.clone(), &policy.namespace().unwrap_or_default());
            api.delete(&policy.name_any(), &now).await?;
        }
    }
    Ok(())
}

/// A build under way. Whatever has a handle is here, so that a cancelled build can remove it.
struct Build {
    options: KindBuilder,
    state: Arc<RunState>,
    events: Events,
    emulator: Arc<Mutex<Option<Emulator>>>,
    tasks: TaskTracker,
    begun: Instant,
}

impl Build {
    fn identity(&self) -> String {
        format!("metadata/gcp/{}", self.state.run())
    }

    /// Starts the emulator, in a task of its own: the daemon would finish what is given up half-way, unnoticed.
    async fn start_emulator(&self, image: testcontainers::GenericImage, network: &str) -> Result<(), LabError> {
        let (state, slot) = (Arc::clone(&self.state), Arc::clone(&self.emulator));
        let (identity, network) = (self.identity(), network.to_owned());
        let starting = self.tasks.spawn(async move {
            let started = emulator::start(image, state.run(), &identity, &network).await?;
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(started);
            Ok(())
        });
        starting.await.map_err(|error| LabError::from(anyhow::Error::new(error)))?
    }

    /// Makes the cluster and, beside it, the emulator.
    async fn create(&self, name: &str, agent: Option<&'static [u8]>) -> Result<(), LabError> {
        cluster::check_free(name).await?;
        let network = network();
        let shared = network_exists(&network).await?;
        self.state.update(|record| {
            record.cluster = Some(name.to_owned());
            record.docker = true;
            record.network = (!shared).then(|| network.clone());
        })?;
        self.events.phase(format!("making the cluster {name}"));
        let image = self.options.node_image.as_deref();
        let emulator = async {
            let Some(agent) = agent else { return Ok(None) };
            let image = emulator::image(self.state.run(), agent).await?;
            if !shared {
                return Ok(Some(image));
            }
            self.start_emulator(image, &network).await?;
            Ok::<_, LabError>(None)
        };
        let (waiting, ()) = tokio::try_join!(emulator, cluster::create(&self.state, name, image, &self.options.cni))?;
        // The network is kind's to make: on its own terms it has IPv6 and an MTU.
        match waiting {
            Some(image) => self.start_emulator(image, &network).await,
            None => Ok(()),
        }
    }

    /// Starts an emulator beside a kept cluster.
    async fn adopt(&self, kept: &RunState, access: &Access, agent: Option<&'static [u8]>) -> Result<(), LabError> {
        self.state.update(|record| record.docker = true)?;
        remove::labelled(kept.run()).await?;
        let emulator = async {
            let Some(agent) = agent else { return Ok(()) };
            let image = emulator::image(self.state.run(), agent).await?;
            self.start_emulator(image, &network()).await
        };
        tokio::try_join!(emulator, async {
            sweep(access).await.map_err(|error| LabError::from(error.context("cannot clean the kept cluster")))
        },)?;
        Ok(())
    }

    /// Safe routes on a node; none of them leads anywhere where there is no emulator.
    async fn secure(&self, node: &str, emulator: Option<Ipv4Addr>) -> Result<(), LabError> {
        let mut shell = Shell::new(Arc::new(NodePlace { container: node.to_owned() }));
        routes::close(node, &mut shell).await?;
        let Some(emulator) = emulator else { return routes::forget(node, &mut shell).await };
        let name = Cloud::Gcp.definition().hosts.first().copied().unwrap_or_default();
        routes::open(node, &mut shell, emulator, &self.identity(), name).await
    }

    async fn make(&self) -> Result<ClusterLab, LabError> {
        // The nodes are not there yet to be asked for their architecture. The emulator runs on Docker's machine, as they do.
        let agent = agent_for(&[]);
        let why_not = agent.as_ref().err().map(ToString::to_string);
        let agent = agent.ok();
        let kept = self.options.cluster.as_deref().map(kept).transpose()?;
        let name = self.options.cluster.clone().unwrap_or_else(|| format!("pp-{}", self.state.run()));
        let access = if let Some(kept) = &kept {
            let access = Access::private(&kept.kubeconfig()).await?;
            self.adopt(kept, &access, agent).await?;
            access
        } else {
            self.events.timed("lab › cluster", self.create(&name, agent)).await?;
            Access::private(&self.state.kubeconfig()).await?
        };
        let containers = cluster::nodes(&name).await?;
        let control_plane = containers.iter().find(|node| node.ends_with("control-plane")).cloned().unwrap_or_default();
        let emulator = {
            let emulator = self.emulator.lock().unwrap_or_else(PoisonError::into_inner);
            emulator.as_ref().map(|emulator| (emulator.address, KindGround::control(emulator)))
        };
        let address = emulator.as_ref().map(|(address, _)| *address);
        let cni = async {
            match &self.options.cni {
                Cni::File(manifest) if kept.is_none() => {
                    self.events.phase("installing the CNI");
                    cluster::install(&control_plane, manifest).await
                }
                Cni::None => {
                    let how = access.kubectl();
                    self.events.note(format!("the nodes wait for a CNI: `{how} apply --server-side -f FILE`"));
                    Ok(())
                }
                _ => Ok(()),
            }
        };
        let names = Cloud::Gcp.definition().hosts.first().copied().unwrap_or_default();
        let ready = async {
            cni.await?;
            self.events.phase("waiting for the nodes");
            self.events.timed(NODES_READY, cluster::ready(&access, containers.len(), &self.options.cni)).await?;
            let ready = self.begun.elapsed();
            self.events.phase("waiting for the CNI on every node");
            self.events.timed("lab › CNI", cluster::agents_ready(&access)).await?;
            Ok((ready, self.begun.elapsed()))
        };
        let secured = try_join_all(containers.iter().map(|node| self.secure(node, address)));
        let secured = self.events.timed("lab › safe routes", secured);
        let named = self.events.timed("lab › names", dns::name(&access, names));
        let (_, (), (ready, cni_ready)) = tokio::try_join!(secured, named, ready)?;
        let facts = async {
            let mut facts = Facts::read(&access).await?;
            try_join_all(facts.nodes.iter_mut().map(all_addresses)).await?;
            Ok::<_, LabError>(facts)
        };
        let mut facts = self.events.timed("lab › facts", facts).await?;
        facts.texts.insert("nodes ready".to_owned(), format!("{} ms after the start", ready.as_millis()));
        facts.texts.insert("CNI ready".to_owned(), format!("{} ms after the start", cni_ready.as_millis()));
        if let Some(image) = &self.options.node_image {
            facts.texts.insert("node image".to_owned(), image.clone());
        }
        let nodes: BTreeMap<NodeName, String> =
            facts.nodes.iter().map(|node| (node.name, node.literal.clone())).collect();
        let world =
            WorldMetadata { cloud: Cloud::Gcp, addresses: vec![LINK_LOCAL], identity: self.identity(), node: None };
        let metadata = emulator.map(|(_, control)| (world, control));
        let mut capabilities = Capabilities { has: [Need::NodeSource].into(), ..Capabilities::default() };
        match why_not {
            None => _ = capabilities.has.insert(Need::Metadata),
            Some(why) => _ = capabilities.why_not.insert(Need::Metadata, format!("nothing can serve it: {why}")),
        }
        let emulator = self.emulator.lock().unwrap_or_else(PoisonError::into_inner).take();
        let ground = KindGround {
            cluster: name,
            nodes,
            emulator: Mutex::new(emulator),
            metadata,
            state: Arc::clone(&self.state),
            kept,
            keep: self.options.keep,
            events: self.events.clone(),
        };
        Ok(ClusterLab::new(Parts {
            access,
            naming: Naming::Literal,
            ground: Box::new(ground),
            facts,
            image: self.options.probe_image.clone().unwrap_or_else(|| PROBE_IMAGE.to_owned()),
            state: Arc::clone(&self.state),
            events: self.events.clone(),
            capabilities,
        }))
    }
}

/// Adds to a node's addresses those on its bridges and tunnels.
async fn all_addresses(node: &mut WorldNode) -> Result<(), LabError> {
    let mut shell = Shell::new(Arc::new(NodePlace { container: node.literal.clone() }));
    for address in routes::addresses(&node.literal, &mut shell).await? {
        if !node.addresses.contains(&address) {
            node.addresses.push(address);
        }
    }
    Ok(())
}

#[async_trait]
impl LabBuilder for KindBuilder {
    fn backend(&self) -> &'static str {
        "kind"
    }

    /// `CoreDNS` is Ready some seconds after the nodes are.
    fn dns_lags(&self) -> bool {
        true
    }

    async fn build(
        self: Box<Self>,
        run: &str,
        events: &Events,
        cancel: &CancellationToken,
    ) -> Result<Arc<dyn Lab>, LabError> {
        check_tools().await?;
        let state = Arc::new(RunState::create(run)?);
        let (events, emulator, tasks) = (events.clone(), Arc::default(), TaskTracker::new());
        let build = Build { options: *self, state, events, emulator, tasks, begun: Instant::now() };
        let error = match cancel.run_until_cancelled(Box::pin(build.make())).await {
            Some(Ok(lab)) => return Ok(Arc::new(lab)),
            Some(Err(error)) => error,
            None => LabError::Cancelled,
        };
        build.events.phase("removing what was made");
        build.tasks.close();
        build.tasks.wait().await;
        let emulator = build.emulator.lock().unwrap_or_else(PoisonError::into_inner).take();
        let left = remove_run(&build.state, emulator).await;
        for left in &left {
            build.events.note(format!("not removed: {left}; `policyprobe cleanup` tries it again"));
        }
        if left.is_empty() {
            build.state.forget()?;
        }
        Err(error)
    }
}
