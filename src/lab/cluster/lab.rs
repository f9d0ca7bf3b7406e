//! A cluster that is up, as a lab.

use std::{
    collections::BTreeMap,
    fmt::Write,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::future::join_all;
use k8s_openapi::api::{
    core::v1::{Event, Namespace},
    networking::v1::NetworkPolicy,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams},
    runtime::wait,
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{
    access::Access,
    apply::{apply, broken, is_gone, is_ours},
    facts::Facts,
    ground::Ground,
    host_pods::{HostPods, namespace_labels},
    links::Links,
    names::Naming,
    objects::{self, Recipe, Server},
    pods::{LivePod, PodMaker},
    shells::{Seat, Shells},
    space::Spaces,
    stage::ClusterStage,
};
use crate::{
    engine::Events,
    lab::{
        Capabilities, Lab, LabError, Stage, WorldNamespace, WorldNode, agent,
        state::{NamespaceRecord, RunState},
    },
    scenario::{LabSpec, Labels, Need, NodeName, PodSpec},
};

/// How long a policy may take to have its effect: three times the slowest resynchronisation that CNIs document.
const CONVERGE_LIMIT: Duration = Duration::from_secs(30);

/// How many pods may be starting at the same time, over all lanes; those of one stage may be more.
pub(super) const STARTING: u32 = 16;

/// How long the first pod of a node may keep the others waiting.
const SCOUTING: Duration = Duration::from_secs(20);

/// What all stages of a cluster share.
pub(crate) struct Shared {
    pub(crate) access: Access,
    pub(crate) naming: Naming,
    pub(crate) maker: PodMaker,
    pub(crate) ground: Box<dyn Ground>,
    nodes: Mutex<Vec<WorldNode>>,
    pub(crate) apiserver: Option<(IpAddr, u16)>,
    pub(crate) kube_system: WorldNamespace,
    pub(crate) spaces: Spaces,
    pub(crate) host_pods: HostPods,
    pub(crate) links: Links,
    pub(crate) shells: Arc<Shells>,
    /// Taken while pods are starting.
    pub(crate) starting: Semaphore,
    pub(crate) state: Arc<RunState>,
    pub(crate) events: Events,
}

/// The lab.
pub(crate) struct ClusterLab {
    shared: Arc<Shared>,
    capabilities: Capabilities,
    torn_down: AtomicBool,
}

/// What a backend hands over when its cluster is up.
pub(crate) struct Parts {
    pub(crate) access: Access,
    pub(crate) naming: Naming,
    pub(crate) ground: Box<dyn Ground>,
    pub(crate) facts: Facts,
    pub(crate) image: String,
    pub(crate) state: Arc<RunState>,
    pub(crate) events: Events,
    /// What the ground adds to the facts and to the needs.
    pub(crate) capabilities: Capabilities,
}

/// The agent for these nodes, or why there is none; pods run `netexec` then.
pub(crate) fn agent_for(architectures: &[String]) -> Result<&'static [u8], LabError> {
    let Some(bytes) = agent::binary() else {
        let why = agent::missing().unwrap_or_default();
        return Err(LabError::with_hint(
            format!("this policyprobe has no static agent to carry into pods: {why}"),
            "build it again where that is solved, or name an agent with POLICYPROBE_AGENT",
        ));
    };
    match architectures.iter().find(|found| *found != agent::arch()) {
        None => Ok(bytes),
        Some(other) => Err(LabError::with_hint(
            format!("a node is {other}, and the agent of this policyprobe is for {}", agent::arch()),
            "run a policyprobe that was built for the nodes' architecture, or name its agent with POLICYPROBE_AGENT",
        )),
    }
}

/// What the pods' addresses make possible.
fn tell_families(capabilities: &mut Capabilities, ipv6: bool) {
    if ipv6 {
        capabilities.has.insert(Need::Ipv6);
    } else {
        let why = "the pods have no IPv6 addresses; `--backend kind --kind-config dual-stack` gives them some";
        capabilities.why_not.insert(Need::Ipv6, why.to_owned());
    }
}

impl ClusterLab {
    /// A lab on a cluster that is up.
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { access, naming, ground, facts, image, state, events, mut capabilities } = parts;
        let (server, name) = match agent_for(&facts.architectures) {
            Ok(agent) => {
                // First packets prove themselves by headers, which `netexec` does not bring back.
                capabilities.has.extend([Need::Udp, Need::FirstPackets, Need::Established, Need::Relays]);
                (Server::Agent(agent), "policyprobe-agent")
            }
            Err(why) => {
                events.note(format!(
                    "pods serve by agnhost's netexec, which runs commands for whoever reaches them: {why}. Denials rest \
                     on less: that no request arrived is read from the logs that the kubelet keeps of the pods, and not \
                     from a log of the server's own"
                ));
                capabilities.why_not.insert(Need::Relays, "netexec passes no connections on".to_owned());
                (Server::Netexec, "netexec")
            }
        };
        let links = Links::new(match &server {
            Server::Agent(agent) => Some(agent),
            Server::Netexec => None,
        });
        let recipe = Recipe { run: state.run().to_owned(), image, server, first: None, relays_to: None };
        let maker = PodMaker { client: access.client.clone(), recipe, hostnames: facts.hostnames, told: None };
        capabilities.has.extend([Need::Apiserver, Need::Dns, Need::Kubelet, Need::Restart, Need::Services]);
        capabilities.why_not.insert(Need::NodeServer, "nothing of ours serves on a cluster's nodes yet".to_owned());
        tell_families(&mut capabilities, facts.ipv6);
        capabilities.facts.extend(facts.texts);
        capabilities.facts.insert("server".to_owned(), name.to_owned());
        capabilities.facts.insert("backend".to_owned(), ground.backend().to_owned());
        capabilities.converge_limit = CONVERGE_LIMIT;
        let shared = Shared {
            access,
            naming,
            maker,
            ground,
            nodes: Mutex::new(facts.nodes),
            apiserver: facts.apiserver,
            kube_system: facts.kube_system,
            spaces: Spaces::default(),
            host_pods: HostPods::default(),
            links,
            shells: Arc::default(),
            starting: Semaphore::new(STARTING as usize),
            state,
            events,
        };
        Self { shared: Arc::new(shared), capabilities, torn_down: AtomicBool::new(false) }
    }

    /// Creates the pods of the first stages that are on this node, and does not wait for them: the stages do, and what
    /// fails here is told there. On a node of which nobody knows yet whether it has a network, the first of them is waited for.
    /// Those in their nodes' networks take ports that others may need first, and where relays lead to only a stage knows.
    pub(crate) async fn prepare(&self, first: &[LabSpec], node: NodeName, is_young: bool) {
        let pods = first.iter().flat_map(|spec| spec.pods.iter().map(move |pod| (spec, pod)));
        let is_early = |pod: &PodSpec| pod.node == node && !pod.host_network && pod.relay.is_none();
        let (mut namespaces, mut waiting) = (BTreeMap::new(), Vec::new());
        for (spec, pod) in pods.filter(|(_, pod)| is_early(pod)) {
            let literal = self.shared.naming.literal(&pod.namespace, 0);
            namespaces.entry(literal.clone()).or_insert_with(|| namespace_labels(spec, &pod.namespace));
            waiting.push((literal, pod));
        }
        join_all(namespaces.iter().map(|(literal, labels)| self.shared.namespace(literal, labels))).await;
        let maker = &self.shared.maker;
        if let Some(scout) = waiting.iter().position(|(_, pod)| pod.owner.is_none()).filter(|_| is_young) {
            let (literal, pod) = waiting.remove(scout);
            let _ = tokio::time::timeout(SCOUTING, maker.scout(&literal, pod)).await;
        }
        join_all(waiting.iter().map(|(literal, pod)| maker.create(literal, pod))).await;
    }

    /// The nodes, as they were last read.
    pub(crate) fn nodes(&self) -> Vec<WorldNode> {
        self.shared.nodes()
    }

    /// Takes over what a cluster is like now that it is up.
    pub(crate) fn refresh(&mut self, facts: Facts) {
        *self.shared.nodes.lock().unwrap_or_else(PoisonError::into_inner) = facts.nodes;
        tell_families(&mut self.capabilities, facts.ipv6);
        self.capabilities.facts.extend(facts.texts);
    }
}

impl Shared {
    /// Closes what is open in a pod that is about to be replaced.
    pub(crate) fn forget(&self, pod: &LivePod) {
        let seat = Seat::Pod(pod.namespace.clone(), pod.name.clone());
        self.links.forget(&seat);
        self.shells.forget(&seat);
    }

    /// The nodes, as they were last read.
    pub(crate) fn nodes(&self) -> Vec<WorldNode> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes a namespace where the run makes it, and gives it these labels; all the labels that it has then.
    pub(crate) async fn namespace(&self, name: &str, labels: &Labels) -> Result<Labels, LabError> {
        if !self.naming.owns_cluster() {
            let (kubeconfig, context) = (self.access.kubeconfig.clone(), self.access.context.clone());
            let record = NamespaceRecord { kubeconfig, context, name: name.to_owned() };
            if !self.state.record().namespaces.contains(&record) {
                self.state.update(|state| state.namespaces.push(record))?;
            }
        }
        let body = objects::namespace(name, self.state.run(), labels);
        let applied = apply(&Api::<Namespace>::all(self.access.client.clone()), &body).await;
        let applied = applied.map_err(|error| broken(&format!("cannot make the namespace `{name}`"), &error))?;
        Ok(applied.labels().clone())
    }

    /// Removes the pods and the namespaces that the run made in somebody else's cluster, and waits until they are gone.
    async fn remove_namespaces(&self) -> Vec<LabError> {
        let names: Vec<String> = self.state.record().namespaces.into_iter().map(|record| record.name).collect();
        if names.is_empty() {
            return Vec::new();
        }
        self.events.phase(format!("removing {} namespaces", names.len()));
        let removed = join_all(names.iter().map(|name| remove_namespace(&self.access, name))).await;
        removed.into_iter().filter_map(Result::err).collect()
    }
}

/// Removes a namespace, its pods without their grace, and waits until it is gone.
pub(crate) async fn remove_namespace(access: &Access, name: &str) -> Result<(), LabError> {
    const PATIENCE: Duration = Duration::from_secs(120);
    let namespaces = Api::<Namespace>::all(access.client.clone());
    match namespaces.delete(name, &DeleteParams::default()).await {
        Err(error) if is_gone(&error) => return Ok(()),
        Err(error) => return Err(broken(&format!("cannot delete the namespace `{name}`"), &error)),
        Ok(_) => {}
    }
    let pods = Api::<k8s_openapi::api::core::v1::Pod>::namespaced(access.client.clone(), name);
    // The namespace's own deletion would do it as well, later. Only now does no Deployment make new ones.
    let _ = pods.delete_collection(&DeleteParams::default().grace_period(0), &ListParams::default()).await;
    let gone = wait::await_condition(namespaces, name, |namespace: Option<&Namespace>| namespace.is_none());
    match tokio::time::timeout(PATIENCE, gone).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(anyhow::Error::new(error).context(format!("waiting for the end of `{name}`")).into()),
        Err(_) => Err(LabError::with_hint(
            format!("the namespace `{name}` is not gone after {} s", PATIENCE.as_secs()),
            "`policyprobe cleanup` tries it again",
        )),
    }
}

impl Shared {
    /// Policies in a namespace of the run that somebody else made: what gives each namespace a default-deny breaks every
    /// baseline.
    async fn strange_policies(&self, namespace: &str) -> Vec<String> {
        let policies = Api::<NetworkPolicy>::namespaced(self.access.client.clone(), namespace);
        let found = policies.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default();
        found.iter().filter(|policy| !is_ours(*policy)).map(ResourceExt::name_any).collect()
    }
}

#[async_trait]
impl Lab for ClusterLab {
    fn backend(&self) -> &'static str {
        self.shared.ground.backend()
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn stage(&self, spec: &LabSpec, lane: u32, cancel: &CancellationToken) -> Result<Arc<dyn Stage>, LabError> {
        let making = ClusterStage::make(Arc::clone(&self.shared), spec.clone(), lane);
        match cancel.run_until_cancelled(making).await {
            Some(stage) => Ok(Arc::new(stage?)),
            None => Err(LabError::Cancelled),
        }
    }

    async fn diagnose(&self) -> String {
        let mut text = self.shared.ground.diagnose().await;
        for name in self.shared.spaces.names() {
            for policy in self.shared.strange_policies(&name).await {
                let _ = writeln!(text, "{name}: the NetworkPolicy `{policy}` is not this run's, and takes effect here");
            }
            let events = Api::<Event>::namespaced(self.shared.access.client.clone(), &name);
            let Ok(events) = events.list(&ListParams::default()).await else { continue };
            for event in events.items.iter().filter(|event| event.type_.as_deref() == Some("Warning")) {
                let about = event.involved_object.name.as_deref().unwrap_or_default();
                let message = event.message.as_deref().unwrap_or_default();
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{name}/{about}: {message}");
            }
        }
        text
    }

    async fn teardown(&self) -> Vec<LabError> {
        if self.torn_down.swap(true, Ordering::SeqCst) {
            return Vec::new();
        }
        let mut errors = self.shared.remove_namespaces().await;
        errors.extend(self.shared.ground.teardown().await);
        if errors.is_empty() && !self.shared.state.record().kept {
            errors.extend(self.shared.state.forget().err().map(LabError::from));
        }
        errors
    }
}
