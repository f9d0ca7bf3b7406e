//! One scenario's pods and policies in a cluster.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures::future::{join_all, try_join_all};
use tokio::sync::mpsc::UnboundedSender;

use super::{
    apply::ObjectRef,
    dns,
    drift::drift,
    facts::dns_pods,
    ground::{MetadataLease, ways},
    host_pods::{Turn, admitting, namespace_labels},
    lab::Shared,
    objects::identity,
    pods::{LivePod, PodMaker},
    prepare::keep,
    space::Lease,
};
use crate::{
    lab::{LabError, ServerId, Source, Stage, World, WorldMetadata, WorldNamespace, WorldOutside, WorldPod},
    node::diff::Change,
    policy::literalise,
    probe::{Means, Session},
    scenario::{DEFAULT_NAMESPACE, LabSpec, LabelAction, Labels, Manifest, NodeName, PodSpec},
};

pub(super) type Leases = BTreeMap<String, Lease>;

/// A stage. Its namespaces are its own until it is dropped.
pub(crate) struct ClusterStage {
    pub(super) shared: Arc<Shared>,
    pub(super) spec: LabSpec,
    lane: u32,
    leases: tokio::sync::Mutex<Leases>,
    world: Mutex<Arc<World>>,
    /// Held while it has pods in their nodes' networks.
    pub(super) host_turn: Mutex<Option<Turn>>,
    /// Hosts outside the cluster.
    pub(super) outside: Vec<WorldOutside>,
    /// The metadata server, where it has one.
    pub(super) metadata: Option<MetadataLease>,
    /// What makes its pods.
    pub(super) maker: PodMaker,
}

impl ClusterStage {
    /// Waits for the namespaces, and makes of what is in them what the specification asks for.
    pub(crate) async fn make(shared: Arc<Shared>, spec: LabSpec, lane: u32) -> Result<Self, LabError> {
        let mut names: BTreeSet<&str> = spec.namespaces.keys().map(String::as_str).collect();
        names.extend(spec.pods.iter().map(|pod| pod.namespace.as_str()));
        if names.is_empty() {
            names.insert(DEFAULT_NAMESPACE);
        }
        let mut leases = Leases::new();
        for name in names {
            leases.insert(name.to_owned(), shared.spaces.lease(&shared.naming.literal(name, lane)).await);
        }
        let (leases, world, host_turn) = (tokio::sync::Mutex::new(leases), Mutex::default(), Mutex::default());
        let outside = match shared.ground.hosts() {
            Some(hosts) if !spec.outside.is_empty() => hosts.make(&spec.outside).await?,
            _ => Vec::new(),
        };
        let metadata = match spec.metadata {
            Some(cloud) => shared.ground.metadata(cloud, &spec.metadata_server).await?,
            None => None,
        };
        let maker = shared.maker.relaying_to(spec.metadata.map(|cloud| cloud.definition().endpoints[0]));
        let stage = Self { shared, spec, lane, leases, world, host_turn, outside, metadata, maker };
        stage.reset().await?;
        Ok(stage)
    }

    /// A namespace's name in the cluster.
    pub(super) fn literal(&self, logical: &str) -> String {
        self.shared.naming.literal(logical, self.lane)
    }

    /// The leases, with that of a namespace that the specification did not name, such as `default`.
    async fn with_namespace(&self, leases: &mut Leases, logical: &str) -> Result<(), LabError> {
        if leases.contains_key(logical) {
            return Ok(());
        }
        if logical != DEFAULT_NAMESPACE {
            return Err(LabError::with_hint(
                format!("the namespace `{logical}` is not the scenario's, and is left alone"),
                "name it in the scenario's `lab.namespaces`",
            ));
        }
        // Whoever takes it late holds only names that nobody who waits for `default` can hold with it.
        let mut lease = self.shared.spaces.lease(&self.literal(logical)).await;
        let applied = std::mem::take(&mut lease.applied);
        try_join_all(applied.iter().map(|object| object.delete(&self.shared.access.client))).await?;
        self.prepare_namespace(logical, &mut lease, &Labels::new()).await?;
        leases.insert(logical.to_owned(), lease);
        self.publish(leases).await
    }

    /// Makes the world anew from what there is.
    async fn publish(&self, leases: &Leases) -> Result<(), LabError> {
        let mut namespaces: BTreeMap<_, _> = leases
            .iter()
            .map(|(logical, space)| {
                let literal = self.literal(logical);
                (logical.clone(), WorldNamespace { literal, labels: space.all_labels.clone() })
            })
            .collect();
        let kube_system = self.shared.kube_system.clone();
        namespaces.entry(kube_system.literal.clone()).or_insert(kube_system);
        let place = |live: &LivePod| {
            let same = |spec: &PodSpec| (&spec.namespace, &spec.name) == (&live.spec.namespace, &live.spec.name);
            self.spec.pods.iter().position(same).unwrap_or(usize::MAX)
        };
        let mut pods: Vec<&LivePod> = leases.values().flat_map(|space| space.pods.values()).collect();
        pods.sort_by_key(|live| place(live));
        let pods = pods.into_iter().map(|live| WorldPod {
            identity: identity(&live.spec),
            spec: live.spec.clone(),
            addresses: live.addresses.clone(),
            proof: self.maker.recipe.server.proof(),
        });
        let world = World {
            namespaces,
            pods: pods.collect(),
            nodes: self.shared.nodes(),
            outside: self.outside.clone(),
            metadata: self.metadata.as_ref().map(|lease| Self::reachable(&lease.world, leases)),
            apiserver: self.shared.apiserver,
            others: dns_pods(&self.shared.access, &self.shared.nodes()).await?,
        };
        if let Some(hosts) = self.shared.ground.hosts().filter(|_| !self.outside.is_empty()) {
            hosts.lead(&ways(&world)).await?;
        }
        *self.world.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(world);
        Ok(())
    }

    /// The metadata server without its addresses of a family that no pod has.
    fn reachable(server: &WorldMetadata, leases: &Leases) -> WorldMetadata {
        let mut pods = leases.values().flat_map(|space| space.pods.values());
        let has_v6 = pods.any(|live| live.addresses.iter().any(IpAddr::is_ipv6));
        let addresses = server.addresses.iter().copied().filter(|address| has_v6 || address.is_ipv4()).collect();
        WorldMetadata { addresses, ..server.clone() }
    }

    /// The manifest with literal names, and the object that it describes, if the run may touch it.
    async fn object(&self, manifest: &Manifest) -> Result<(ObjectRef, serde_json::Value, String), LabError> {
        let title = format!("{}: {} {}", manifest.path.display(), manifest.kind, manifest.name);
        let document = literalise(manifest.raw.clone(), &self.world().namespaces);
        let object = ObjectRef::of(&self.shared.access.client, &title, &document).await?;
        match &object.namespace {
            None if self.shared.naming.owns_cluster() => {}
            None => {
                return Err(LabError::with_hint(
                    format!(
                        "{title}: an object of the whole cluster is not applied to a cluster that the run did not make"
                    ),
                    "use `--backend kind`",
                ));
            }
            Some(_) => {
                let mut leases = self.leases.lock().await;
                self.with_namespace(&mut leases, &manifest.namespace).await?;
            }
        }
        // A lease may have been added since: names are looked up again.
        let document = literalise(manifest.raw.clone(), &self.world().namespaces);
        let object = ObjectRef::of(&self.shared.access.client, &title, &document).await?;
        Ok((object, document, title))
    }

    /// The logical namespace and the name of a pod that is written `name` or `namespace/name`.
    fn find_pod(&self, text: &str) -> Result<(String, String), LabError> {
        let world = self.world();
        let mut found = world.pods.iter().map(|pod| &pod.spec).filter(|spec| match text.split_once('/') {
            Some((namespace, name)) => spec.namespace == namespace && spec.name == name,
            None => spec.name == text,
        });
        match (found.next(), found.next()) {
            (Some(spec), None) => Ok((spec.namespace.clone(), spec.name.clone())),
            (None, _) => Err(anyhow::anyhow!("there is no pod `{text}`").into()),
            (Some(_), Some(_)) => {
                Err(LabError::with_hint(format!("`{text}` is the name of several pods"), "write `namespace/name`"))
            }
        }
    }

    /// A pod of the lab, as it is now.
    pub(super) async fn live_pod(&self, namespace: &str, pod: &str) -> Result<LivePod, LabError> {
        let mut leases = self.leases.lock().await;
        Self::live(&mut leases, namespace, pod).map(|live| live.clone())
    }

    /// Sees to it that a new pod can be made.
    async fn make_way(&self, leases: &mut Leases, pod: &PodSpec) -> Result<(), LabError> {
        self.with_namespace(leases, &pod.namespace).await?;
        // What is created is new, whatever an earlier scenario left under its name.
        if let Some(live) = leases.get_mut(&pod.namespace).and_then(|space| space.aside.remove(&pod.name)) {
            self.shared.forget(&live);
            self.maker.remove(&live.namespace, &live.spec).await?;
        }
        if pod.host_network {
            self.take_host_ports().await?;
            if let Some(space) = leases.get_mut(&pod.namespace) {
                let labels = admitting(space.labels.as_ref().unwrap_or(&Labels::new()), [pod].into_iter());
                self.prepare_namespace(&pod.namespace, space, &labels).await?;
            }
        }
        Ok(())
    }

    /// Takes over pods that serve.
    async fn take_in(&self, leases: &mut Leases, made: Vec<LivePod>) -> Result<(), LabError> {
        for live in made {
            keep(leases, live);
        }
        self.note_host_pods(leases);
        self.publish(leases).await
    }

    fn live<'a>(leases: &'a mut Leases, namespace: &str, pod: &str) -> Result<&'a mut LivePod, LabError> {
        let found = leases.get_mut(namespace).and_then(|space| space.pods.get_mut(pod));
        found.ok_or_else(|| anyhow::anyhow!("there is no pod `{namespace}/{pod}`").into())
    }
}

fn change(labels: &mut Labels, action: &LabelAction) {
    labels.extend(action.set.clone());
    labels.retain(|key, _| !action.remove.contains(key));
}

#[async_trait]
impl Stage for ClusterStage {
    fn world(&self) -> Arc<World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn apply(&self, manifest: &Manifest) -> Result<(), LabError> {
        let (object, document, title) = self.object(manifest).await?;
        let mut leases = self.leases.lock().await;
        // Noted first: what was applied is deleted again even where the answer is lost.
        if let Some(space) = leases.values_mut().next().filter(|space| !space.applied.contains(&object)) {
            space.applied.push(object.clone());
        }
        object.apply(&self.shared.access.client, &title, &document).await
    }

    async fn delete(&self, manifest: &Manifest) -> Result<(), LabError> {
        let (object, _, _) = self.object(manifest).await?;
        object.delete(&self.shared.access.client).await?;
        for space in self.leases.lock().await.values_mut() {
            space.applied.retain(|applied| *applied != object);
        }
        Ok(())
    }

    async fn label(&self, action: &LabelAction) -> Result<(), LabError> {
        let mut leases = self.leases.lock().await;
        if let Some(pod) = &action.pod {
            let (namespace, name) = self.find_pod(pod)?;
            let live = Self::live(&mut leases, &namespace, &name)?;
            let mut labels = live.spec.labels.clone();
            change(&mut labels, action);
            self.maker.relabel(live, &labels).await?;
        }
        if let Some(logical) = &action.namespace {
            self.with_namespace(&mut leases, logical).await?;
            if let Some(space) = leases.get_mut(logical) {
                let mut labels = space.labels.clone().unwrap_or_default();
                change(&mut labels, action);
                self.prepare_namespace(logical, space, &labels).await?;
            }
        }
        self.publish(&leases).await
    }

    async fn create(&self, pod: &PodSpec) -> Result<(), LabError> {
        let mut leases = self.leases.lock().await;
        self.make_way(&mut leases, pod).await?;
        let made = self.maker.make(&[(self.literal(&pod.namespace), pod.clone())]).await?;
        self.take_in(&mut leases, made).await
    }

    async fn create_told(
        &self,
        pod: &PodSpec,
        script: Option<&str>,
        told: UnboundedSender<Vec<IpAddr>>,
    ) -> Result<Vec<String>, LabError> {
        {
            let mut leases = self.leases.lock().await;
            self.make_way(&mut leases, pod).await?;
        }
        // Not under the lock: whoever is a witness meanwhile needs it.
        let making = self.maker.make_told(self.literal(&pod.namespace), pod.clone(), script, told);
        let (made, lines) = making.await?;
        let mut leases = self.leases.lock().await;
        self.take_in(&mut leases, made).await?;
        Ok(lines)
    }

    async fn recreate(&self, namespace: &str, pod: &str) -> Result<(), LabError> {
        let mut leases = self.leases.lock().await;
        let live = Self::live(&mut leases, namespace, pod)?.clone();
        self.shared.forget(&live);
        for live in self.maker.recreate(&live).await? {
            keep(&mut leases, live);
        }
        self.note_host_pods(&leases);
        self.publish(&leases).await
    }

    async fn restart(&self, namespace: &str, pod: &str) -> Result<(), LabError> {
        let mut leases = self.leases.lock().await;
        let live = Self::live(&mut leases, namespace, pod)?.clone();
        self.shared.forget(&live);
        self.maker.restart(&live).await?;
        Ok(())
    }

    async fn drift(
        &self,
        node: NodeName,
        patch: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<Vec<Change>, LabError> {
        if !self.shared.naming.owns_cluster() {
            return Err(LabError::with_hint(
                "nodes of a cluster that the run did not make are not changed",
                "run it with `--backend kind`",
            ));
        }
        let nodes = self.shared.nodes();
        let literal = nodes.iter().find(|known| known.name == node).map(|known| known.literal.as_str());
        let literal = literal.ok_or_else(|| anyhow::anyhow!("the lab has no node `{}`", node.as_str()))?;
        drift(&self.shared.access.client, literal, patch).await
    }

    async fn open(&self, source: &Source) -> Result<Box<dyn Session>, LabError> {
        self.curl(source).await
    }

    async fn open_fast(&self, source: &Source, prefer: Means) -> Result<Box<dyn Session>, LabError> {
        self.mixed(source, prefer).await
    }

    async fn seen(&self, server: &ServerId, nonces: &BTreeSet<String>) -> Result<BTreeSet<String>, LabError> {
        self.log(server, nonces).await
    }

    fn ground(&self) -> Option<u64> {
        // There is one cluster.
        Some(0)
    }

    fn disturbed(&self, since: tokio::time::Instant) -> Option<String> {
        let away = self.shared.access.outages.since(since);
        away.then(|| "the API server was away, and the CNI's agents may not have heard of every change yet".to_owned())
    }

    async fn dns_ready(&self) -> Result<Duration, LabError> {
        let pods: Vec<LivePod> = {
            let leases = self.leases.lock().await;
            leases.values().flat_map(|space| space.pods.values().cloned()).collect()
        };
        let took = dns::ready(&self.shared.access, &pods).await?;
        self.publish(&*self.leases.lock().await).await?;
        Ok(took)
    }

    async fn reset(&self) -> Result<(), LabError> {
        let mut leases = self.leases.lock().await;
        let applied: Vec<ObjectRef> = leases.values().flat_map(|space| space.applied.clone()).collect();
        let deleted = join_all(applied.iter().map(|object| object.delete(&self.shared.access.client))).await;
        deleted.into_iter().collect::<Result<Vec<()>, _>>()?;
        for (logical, space) in leases.iter_mut() {
            space.applied.clear();
            let labels = namespace_labels(&self.spec, logical);
            self.prepare_namespace(logical, space, &labels).await?;
        }
        self.prepare_services(&mut leases).await?;
        if self.has_host_pods(&leases) {
            self.take_host_ports().await?;
        }
        let prepared = self.prepare_pods(&mut leases).await;
        self.note_host_pods(&leases);
        prepared?;
        self.shared.ground.pods_run().await?;
        self.publish(&leases).await
    }
}
