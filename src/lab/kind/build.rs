//! A kind lab in the making: cluster and emulator side by side, then routes, names, nodes and the first pods; on a kept cluster
//! the emulator beside all of these but the routes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use anyhow::Context;
use futures::{
    FutureExt,
    future::{BoxFuture, join_all, ready, try_join_all},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    agents, bridge,
    builder::{Cni, KindBuilder},
    cluster,
    command::run,
    dns,
    emulator::{self, Emulator},
    ground::KindGround,
    hold, images, kept,
    node::NodePlace,
    on_node,
    outside::OutsideHosts,
    remove, renew, routes,
};
use crate::{
    engine::{Events, NODES_READY},
    lab::{
        Capabilities, LabError, WorldNode, agent,
        cluster::{Access, Age, ClusterLab, Facts, Naming, PROBE_IMAGE, Parts, Shell},
        state::RunState,
    },
    metadata::{Cloud, addresses},
    scenario::{LabSpec, MetadataServerSpec, Need, NodeName},
};

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

/// A cluster that an earlier run kept, as this run takes it over.
struct Kept {
    /// The earlier run's record.
    record: Arc<RunState>,
    /// The nodes on which its pods had a network.
    used: BTreeSet<String>,
    /// Ends when the emulator runs, where there can be one.
    emulator: BoxFuture<'static, Result<(), LabError>>,
}

/// A build under way. Whatever has a handle is here, so that a cancelled build can remove it.
pub(super) struct Build {
    pub(super) options: KindBuilder,
    /// What metadata servers are; none where no agent could be one.
    pub(super) agent: Option<&'static [u8]>,
    pub(super) state: Arc<RunState>,
    pub(super) events: Events,
    pub(super) emulator: Arc<OnceLock<Arc<Emulator>>>,
    pub(super) tasks: TaskTracker,
    pub(super) begun: Instant,
}

impl Build {
    /// Begins some work in a task of its own: the daemon would finish what is given up half-way, unnoticed.
    fn begin(
        &self,
        work: impl Future<Output = Result<(), LabError>> + Send + 'static,
    ) -> BoxFuture<'static, Result<(), LabError>> {
        let task = self.tasks.spawn(work);
        async { task.await.map_err(|error| LabError::from(anyhow::Error::new(error)))? }.boxed()
    }

    /// Builds the image of the metadata servers.
    fn build_image(&self, agent: &'static [u8]) -> impl Future<Output = Result<(), LabError>> + use<> {
        let state = Arc::clone(&self.state);
        async move { emulator::build(state.run(), agent).await }
    }

    /// Starts the emulator.
    fn start_emulator(&self, network: String) -> impl Future<Output = Result<(), LabError>> + use<> {
        let (state, slot) = (Arc::clone(&self.state), Arc::clone(&self.emulator));
        async move {
            let (name, usual) = (format!("pp-{}-metadata", state.run()), MetadataServerSpec::default());
            let server = (emulator::CLOUDS.to_vec(), format!("metadata/{}", state.run()), &usual);
            let started = Emulator::start(state.run(), &name, &network, server).await?;
            // There is one, and it is started once.
            let _ = slot.set(Arc::new(started));
            Ok(())
        }
    }

    /// Starts an emulator beside a kept cluster, in place of the one that the run has left that kept it.
    fn replace_emulator(&self, kept: &Arc<RunState>) -> impl Future<Output = Result<(), LabError>> + use<> {
        // The record is locked for as long as anything of its run's is touched.
        let (kept, tasks) = (Arc::clone(kept), self.tasks.clone());
        let anew = self.agent.map(|agent| (self.build_image(agent), self.start_emulator(network())));
        let given_up = move || if tasks.is_closed() { Err(LabError::Cancelled) } else { Ok(()) };
        async move {
            remove::labelled(kept.run()).await?;
            let Some((image, emulator)) = anew else { return Ok(()) };
            given_up()?;
            image.await?;
            given_up()?;
            emulator.await
        }
    }

    /// What the pods run.
    fn image(&self) -> &str {
        self.options.probe_image.as_deref().unwrap_or(PROBE_IMAGE)
    }

    /// Makes the cluster and, beside it, the emulator.
    async fn create(&self, name: &str) -> Result<(), LabError> {
        cluster::check_free(name).await?;
        let network = network();
        let shared = network_exists(&network).await?;
        self.state.update(|record| {
            record.cluster = Some(name.to_owned());
            record.docker = true;
            record.network = (!shared).then(|| network.clone());
        })?;
        self.events.phase(format!("making the cluster {name}"));
        let emulator = async {
            let Some(agent) = self.agent else { return Ok(false) };
            self.begin(self.build_image(agent)).await?;
            if !shared {
                return Ok(true);
            }
            self.begin(self.start_emulator(network.clone())).await?;
            Ok::<_, LabError>(false)
        };
        let count = cluster::size(&self.options)?;
        let created = async {
            tokio::select! {
                created = cluster::create(&self.state, name, &self.options) => created,
                never = images::bring(name, count, self.image()) => match never {},
            }
        };
        let (waiting, ()) = tokio::try_join!(emulator, created)?;
        // The network is kind's to make: on its own terms it has IPv6 and an MTU.
        if waiting { self.begin(self.start_emulator(network)).await } else { Ok(()) }
    }

    /// Safe routes on the nodes; none of them leads anywhere where there is no emulator.
    async fn secure(
        &self,
        nodes: &[String],
        emulator: impl Future<Output = Result<(), LabError>>,
    ) -> Result<(), LabError> {
        let closing = try_join_all(nodes.iter().map(|node| self.close(node)));
        let (shells, ()) = tokio::try_join!(closing, emulator)?;
        let Some(emulator) = self.emulator.get() else { return Ok(()) };
        let opening = nodes
            .iter()
            .zip(shells)
            .map(|(node, mut shell)| async move { routes::open(node, &mut shell, emulator).await });
        try_join_all(opening).await.map(drop)
    }

    /// Closes every way to a metadata server from a node, those of an earlier run included; the shell that has done it.
    async fn close(&self, node: &str) -> Result<Shell, LabError> {
        let mut shell = Shell::new(Arc::new(NodePlace { container: node.to_owned() }));
        routes::close(node, &mut shell).await?;
        if self.options.cluster.is_some() {
            routes::clear(node, &mut shell).await?;
            on_node::clear(node).await?;
            routes::forget(node, &mut shell, &addresses(Cloud::ALL)).await?;
        }
        Ok(shell)
    }

    /// A cluster of the run's own, or a kept one.
    async fn cluster(&self, name: &str) -> Result<(Access, Option<Kept>), LabError> {
        let Some(record) = self.options.cluster.as_deref().map(kept::claim).transpose()? else {
            self.events.timed("lab › cluster", self.create(name)).await?;
            return Ok((Access::private(&self.state.kubeconfig()).await?, None));
        };
        self.state.update(|record| record.docker = true)?;
        let (record, events) = (Arc::new(record), self.events.clone());
        let emulator = self.replace_emulator(&record);
        let emulator = self.begin(async move { events.timed("lab › emulator", emulator).await });
        let access = Access::private(&record.kubeconfig()).await?;
        let used =
            kept::sweep(&access).await.map_err(|error| LabError::from(error.context("cannot clean the kept cluster")));
        Ok((access, Some(Kept { record, used: used?, emulator })))
    }

    /// Waits for the nodes and for the CNI's own pods on them; how long after the start each of both came.
    async fn ready(
        &self,
        access: &Access,
        control_plane: &str,
        count: usize,
        kept: bool,
    ) -> Result<[Duration; 2], LabError> {
        match &self.options.cni {
            Cni::File(manifest) if !kept => {
                self.events.phase("installing the CNI");
                cluster::install(control_plane, manifest).await?;
            }
            Cni::None => {
                let how = access.kubectl();
                self.events.note(format!("the nodes wait for a CNI: `{how} apply --server-side -f FILE`"));
            }
            _ => {}
        }
        self.events.phase("waiting for the nodes");
        let nodes = async {
            self.events.timed(NODES_READY, cluster::ready(access, count, &self.options.cni)).await?;
            Ok(self.begun.elapsed())
        };
        let renewed = self.events.timed("lab › CNI's agents", self.renew(access, count));
        let (ready, ()) = tokio::try_join!(nodes, renewed)?;
        self.events.phase("waiting for the CNI on every node");
        self.events.timed("lab › CNI", agents::ready(access)).await?;
        Ok([ready, self.begun.elapsed()])
    }

    /// Replaces agents of the CNI that would take until after the run to learn of all nodes.
    async fn renew(&self, access: &Access, count: usize) -> Result<(), LabError> {
        let renewing = tokio::time::timeout(cluster::PATIENCE, renew::renew(access, count));
        let renewed =
            renewing.await.unwrap_or_else(|_| Err(anyhow::anyhow!("not done after {} s", cluster::PATIENCE.as_secs())));
        let nodes = renewed.context("cannot see to it that the CNI's agents know all nodes")?;
        if !nodes.is_empty() {
            let nodes = nodes.join(", ");
            self.events.note(format!("replaced the CNI's agent that started before the last node had joined: {nodes}"));
        }
        Ok(())
    }

    /// The lab, on nodes that may still be starting.
    fn lab(
        &self,
        (name, containers): (&str, &[String]),
        access: &Access,
        kept: Option<Arc<RunState>>,
        held: Option<hold::Held>,
        facts: Facts,
    ) -> ClusterLab {
        let nodes: BTreeMap<_, _> = facts.nodes.iter().map(|node| (node.name, node.literal.clone())).collect();
        let mut capabilities = Capabilities {
            has: [Need::NodeSource, Need::NodeCredential, Need::HostNetwork, Need::Disruptive].into(),
            ..Capabilities::default()
        };
        let of_agent = [Need::Metadata, Need::NodeMetadata, Need::MetadataSettings, Need::Outside];
        if self.agent.is_some() {
            capabilities.has.extend(of_agent);
            if nodes.values().collect::<BTreeSet<_>>().len() < nodes.len() {
                capabilities.has.remove(&Need::NodeMetadata);
                let why = "master and worker are one node, which cannot have a server for each";
                capabilities.why_not.insert(Need::NodeMetadata, why.to_owned());
            }
        } else {
            let why = agent::missing().unwrap_or("there is no agent");
            let why = format!("metadata servers and outside hosts are the static agent: {why}");
            capabilities.why_not.extend(of_agent.map(|need| (need, why.clone())));
        }
        let ground = KindGround {
            cluster: name.to_owned(),
            nodes,
            containers: containers.to_vec(),
            network: network(),
            emulator: Arc::clone(&self.emulator),
            servers: OnceLock::new(),
            hosts: OutsideHosts::new(self.state.run(), network(), containers.to_vec()),
            state: Arc::clone(&self.state),
            kept,
            held: tokio::sync::Mutex::new(held),
            keep: self.options.keep,
            events: self.events.clone(),
        };
        ClusterLab::new(Parts {
            access: access.clone(),
            naming: Naming::Literal,
            ground: Box::new(ground),
            facts,
            image: self.image().to_owned(),
            state: Arc::clone(&self.state),
            events: self.events.clone(),
            capabilities,
        })
    }

    /// Waits for the nodes with what has to be done on them, and has each start its pods as soon as its own agents run,
    /// whatever the other one still waits for. Pods that are made before their node has its network fail, and cost more
    /// than the wait.
    async fn with_early_pods<T>(
        &self,
        up: impl Future<Output = Result<T, LabError>>,
        (lab, access, first): (&ClusterLab, &Access, &[LabSpec]),
        used: &BTreeSet<String>,
    ) -> Result<T, LabError> {
        let nodes: Vec<(String, NodeName)> = lab.nodes().into_iter().map(|node| (node.literal, node.name)).collect();
        let all_up = CancellationToken::new();
        let early = join_all(nodes.iter().map(|(literal, node)| async {
            // Not every agent need be meant for every node.
            let _ = all_up.run_until_cancelled(agents::ready_on(access, literal)).await;
            let preparing = Box::pin(lab.prepare(first, *node, !used.contains(literal)));
            self.events.timed(format!("lab › pods on the {}", node.as_str()), preparing).await;
            // Now there is a bridge, if the CNI has any, and further pods are still to come.
            self.pin_bridges(literal).await
        }));
        let up = up.inspect(|_| all_up.cancel());
        let (up, pinned) = tokio::try_join!(up, early.map(Ok))?;
        pinned.into_iter().collect::<Result<(), _>>()?;
        Ok(up)
    }

    async fn pin_bridges(&self, node: &str) -> Result<(), LabError> {
        for name in bridge::pin(node).await? {
            self.events.note(format!("{node}: `{name}` keeps its address now, which new pods might have changed"));
        }
        Ok(())
    }

    /// Everything, from nothing.
    pub(super) async fn make(&self, first: &[LabSpec]) -> Result<ClusterLab, LabError> {
        let name = self.options.cluster.clone().unwrap_or_else(|| format!("pp-{}", self.state.run()));
        let (access, kept) = self.cluster(&name).await?;
        let containers = cluster::nodes(&name).await?;
        let control_plane = containers.iter().find(|node| node.ends_with("control-plane")).cloned().unwrap_or_default();
        let host = emulator::names();
        let is_kept = kept.is_some();
        let held = if is_kept { None } else { Some(hold::hold(&access).await?) };
        let (record, used, emulator) = match kept {
            Some(Kept { record, used, emulator }) => (Some(record), used, emulator),
            None => (None, BTreeSet::new(), ready(Ok(())).boxed()),
        };
        // Who is the worker is settled here: a node that joins later would leave both roles to the control plane.
        cluster::joined(&access, containers.len()).await?;
        let mut lab = self.lab((&name, &containers), &access, record, held, Facts::read(&access, Age::Young).await?);

        let secured = self.events.timed("lab › safe routes", self.secure(&containers, emulator));
        let named = self.events.timed("lab › names", dns::name(&access, &host));
        let nodes_ready = self.ready(&access, &control_plane, containers.len(), is_kept);
        let up = async {
            let ((), (), ready) = tokio::try_join!(secured, named, nodes_ready)?;
            let facts = async {
                let mut facts = Facts::read(&access, Age::Grown).await?;
                try_join_all(facts.nodes.iter_mut().map(all_addresses)).await?;
                Ok::<_, LabError>(facts)
            };
            Ok((ready, self.events.timed("lab › facts", Box::pin(facts)).await?))
        };
        let up = Box::pin(up);
        let ([ready, cni_ready], mut facts) = Box::pin(self.with_early_pods(up, (&lab, &access, first), &used)).await?;

        facts.texts.insert("nodes ready".to_owned(), format!("{} ms after the start", ready.as_millis()));
        facts.texts.insert("CNI ready".to_owned(), format!("{} ms after the start", cni_ready.as_millis()));
        if let Some(image) = &self.options.node_image {
            facts.texts.insert("node image".to_owned(), image.clone());
        }
        lab.refresh(facts);
        Ok(lab)
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
