//! A kind lab in the making: cluster and emulator side by side, then routes, names, nodes and the first pods.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use anyhow::Context;
use futures::{
    FutureExt,
    future::{join_all, try_join_all},
};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod, networking::v1::NetworkPolicy};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams},
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
    hold, images,
    node::NodePlace,
    on_node,
    outside::OutsideHosts,
    remove, renew, routes,
};
use crate::{
    engine::{Events, NODES_READY},
    lab::{
        Capabilities, LabError, WorldNode, agent,
        cluster::{Access, Age, ClusterLab, Facts, Naming, PROBE_IMAGE, Parts, Shell, remove_deployment},
        state::{self, RUN_LABEL, RunState},
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

/// A cluster that an earlier run kept, and that run's record.
fn kept(name: &str) -> Result<RunState, LabError> {
    let mut others = Vec::new();
    for run in state::runs()? {
        // A record that cannot be read is `cleanup`'s business.
        let record = RunState::peek(&run);
        match record.cluster {
            Some(cluster) if cluster == name => {
                let Some(claimed) = RunState::claim(&run)? else {
                    return Err(LabError::with_hint(
                        format!("another run uses the cluster `{name}`"),
                        "let it end, or leave `--cluster` out: a run of its own makes a cluster of its own",
                    ));
                };
                if record.kept {
                    return Ok(claimed);
                }
                return Err(LabError::with_hint(
                    format!("the run that made the cluster `{name}` was killed, and nobody knows what it lacks"),
                    "`policyprobe cleanup` removes it",
                ));
            }
            Some(cluster) if record.kept => others.push(cluster),
            _ => {}
        }
    }
    let hint = "`--cluster` takes the name of a cluster that a run with `--keep` left";
    let kept = if others.is_empty() { ", and there is none".to_owned() } else { format!(": {}", others.join(", ")) };
    Err(LabError::with_hint(format!("there is no kept cluster `{name}`"), format!("{hint}{kept}")))
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
    try_join_all(pods.iter().map(|pod| async {
        let (pods, name) =
            (Api::namespaced(access.client.clone(), &pod.namespace().unwrap_or_default()), pod.name_any());
        pods.delete(&name, &now).await?;
        let gone = |pod: Option<&Pod>| pod.is_none();
        let going = kube::runtime::wait::await_condition(pods, &name, gone);
        tokio::time::timeout(cluster::PATIENCE, going).await.context("a pod of an earlier run does not go")??;
        anyhow::Ok(())
    }))
    .await?;
    for policy in Api::<NetworkPolicy>::all(access.client.clone()).list(&ListParams::default()).await? {
        if policy.managed_fields().iter().any(|fields| fields.manager.as_deref() == Some("policyprobe")) {
            let api = Api::<NetworkPolicy>::namespaced(access.client.clone(), &policy.namespace().unwrap_or_default());
            api.delete(&policy.name_any(), &now).await?;
        }
    }
    Ok(())
}

/// A build under way. Whatever has a handle is here, so that a cancelled build can remove it.
pub(super) struct Build {
    pub(super) options: KindBuilder,
    pub(super) state: Arc<RunState>,
    pub(super) events: Events,
    pub(super) emulator: Arc<OnceLock<Arc<Emulator>>>,
    pub(super) tasks: TaskTracker,
    pub(super) begun: Instant,
}

impl Build {
    /// Starts the emulator, in a task of its own: the daemon would finish what is given up half-way, unnoticed.
    async fn start_emulator(&self, network: &str) -> Result<(), LabError> {
        let (state, slot) = (Arc::clone(&self.state), Arc::clone(&self.emulator));
        let (identity, network) = (format!("metadata/{}", state.run()), network.to_owned());
        let starting = self.tasks.spawn(async move {
            let (name, usual) = (format!("pp-{}-metadata", state.run()), MetadataServerSpec::default());
            let server = (emulator::CLOUDS.to_vec(), identity, &usual);
            let started = Emulator::start(state.run(), &name, &network, server).await?;
            // There is one, and it is started once.
            let _ = slot.set(Arc::new(started));
            Ok(())
        });
        starting.await.map_err(|error| LabError::from(anyhow::Error::new(error)))?
    }

    /// What the pods run.
    fn image(&self) -> &str {
        self.options.probe_image.as_deref().unwrap_or(PROBE_IMAGE)
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
        let emulator = async {
            let Some(agent) = agent else { return Ok(false) };
            emulator::build(self.state.run(), agent).await?;
            if !shared {
                return Ok(true);
            }
            self.start_emulator(&network).await?;
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
        if waiting { self.start_emulator(&network).await } else { Ok(()) }
    }

    /// Starts an emulator beside a kept cluster, in place of the one that the run has left that kept it.
    async fn replace_emulator(&self, kept: &str, agent: Option<&'static [u8]>) -> Result<(), LabError> {
        remove::labelled(kept).await?;
        let Some(agent) = agent else { return Ok(()) };
        emulator::build(self.state.run(), agent).await?;
        self.start_emulator(&network()).await
    }

    /// Safe routes on the nodes; none of them leads anywhere where there is no emulator. Beside a cluster that an earlier run
    /// kept, it is started meanwhile.
    async fn secure(&self, nodes: &[String], kept: Option<&str>, agent: Option<&'static [u8]>) -> Result<(), LabError> {
        let closing = try_join_all(nodes.iter().map(|node| self.close(node)));
        let starting = async {
            match kept {
                Some(kept) => self.events.timed("lab › emulator", self.replace_emulator(kept, agent)).await,
                None => Ok(()),
            }
        };
        let (shells, ()) = tokio::try_join!(closing, starting)?;
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

    /// A cluster of the run's own, or a kept one; and its record, where it is one.
    async fn cluster(&self, name: &str, agent: Option<&'static [u8]>) -> Result<(Access, Option<RunState>), LabError> {
        let Some(kept) = self.options.cluster.as_deref().map(kept).transpose()? else {
            self.events.timed("lab › cluster", self.create(name, agent)).await?;
            return Ok((Access::private(&self.state.kubeconfig()).await?, None));
        };
        let access = Access::private(&kept.kubeconfig()).await?;
        self.state.update(|record| record.docker = true)?;
        sweep(&access).await.map_err(|error| LabError::from(error.context("cannot clean the kept cluster")))?;
        Ok((access, Some(kept)))
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
        kept: Option<RunState>,
        held: Option<hold::Held>,
        facts: Facts,
    ) -> ClusterLab {
        let nodes: BTreeMap<_, _> = facts.nodes.iter().map(|node| (node.name, node.literal.clone())).collect();
        let mut capabilities = Capabilities {
            has: [Need::NodeSource, Need::NodeCredential, Need::HostNetwork, Need::Disruptive].into(),
            ..Capabilities::default()
        };
        let of_agent = [Need::Metadata, Need::NodeMetadata, Need::MetadataSettings, Need::Outside];
        if agent::binary().is_some() {
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
    ) -> Result<T, LabError> {
        let nodes: Vec<(String, NodeName)> = lab.nodes().into_iter().map(|node| (node.literal, node.name)).collect();
        let all_up = CancellationToken::new();
        let early = join_all(nodes.iter().map(|(literal, node)| async {
            // Not every agent need be meant for every node.
            let _ = all_up.run_until_cancelled(agents::ready_on(access, literal)).await;
            let preparing = Box::pin(lab.prepare(first, *node, self.options.cluster.is_none()));
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
        let agent = agent::binary();
        let name = self.options.cluster.clone().unwrap_or_else(|| format!("pp-{}", self.state.run()));
        let (access, kept) = self.cluster(&name, agent).await?;
        let containers = cluster::nodes(&name).await?;
        let control_plane = containers.iter().find(|node| node.ends_with("control-plane")).cloned().unwrap_or_default();
        let host = emulator::names();
        let is_kept = kept.is_some();
        let before = kept.as_ref().map(|kept| kept.run().to_owned());
        let held = if is_kept { None } else { Some(hold::hold(&access).await?) };
        // Who is the worker is settled here: a node that joins later would leave both roles to the control plane.
        cluster::joined(&access, containers.len()).await?;
        let mut lab = self.lab((&name, &containers), &access, kept, held, Facts::read(&access, Age::Young).await?);

        let secured = self.events.timed("lab › safe routes", self.secure(&containers, before.as_deref(), agent));
        let named = self.events.timed("lab › names", dns::name(&access, &host));
        let ready = self.ready(&access, &control_plane, containers.len(), is_kept);
        let up = async {
            let ((), (), ready) = tokio::try_join!(secured, named, ready)?;
            let facts = async {
                let mut facts = Facts::read(&access, Age::Grown).await?;
                try_join_all(facts.nodes.iter_mut().map(all_addresses)).await?;
                Ok::<_, LabError>(facts)
            };
            Ok((ready, self.events.timed("lab › facts", Box::pin(facts)).await?))
        };
        let up = Box::pin(up);
        let ([ready, cni_ready], mut facts) = Box::pin(self.with_early_pods(up, (&lab, &access, first))).await?;

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
