//! One scenario's pods, servers and policies, live. Stages share no namespace.

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError},
};

use anyhow::Context;
use futures::future::try_join_all;
use tokio::{
    sync::{Mutex, MutexGuard},
    try_join,
};
use tokio_util::sync::CancellationToken;

use super::{
    dns,
    documents::{Kind, kind, no_api_server, policy, text},
    metadata::Metadata,
    namespace::Namespace,
    plumbing::Backbone,
    pods::{LivePod, Outside, starting},
    safe,
    serve::Log,
    state::{State, complete, namespaces},
};
use crate::{
    lab::{
        NODE_PORT, ServerId, Source, World, WorldNamespace, WorldNode,
        embedded::{
            DenyBy,
            enforcer::{self, Agent, Mutant},
            protocol::Document,
        },
    },
    probe::direct::Prober,
    scenario::{LabSpec, LabelAction, Labels, NodeName, PodSpec},
};

/// A stage. What changes is behind a lock, so that each change is enforced before the next.
pub(super) struct Stage {
    spec: LabSpec,
    deny_by: DenyBy,
    agent: std::sync::Mutex<Agent>,
    closed: CancellationToken,
    prober: Prober,
    state: Mutex<State>,
    coredns: LivePod,
    metadata: Option<Metadata>,
    outside: Vec<Outside>,
    backbone: Backbone,
}

impl Stage {
    /// Builds everything, proves that the metadata server is the lab's own, and enforces that nothing is denied.
    pub(super) async fn new(
        run: String,
        spec: LabSpec,
        deny_by: DenyBy,
        mutant: Option<Mutant>,
        prober: Prober,
    ) -> anyhow::Result<Self> {
        let backbone = starting(Backbone::new().await, "the nodes")?;
        let relays_to = spec.metadata.map(|cloud| cloud.definition().endpoints[0]);
        let mut state = State::new(relays_to);
        let pods = spec.pods.iter().map(|pod| state.start(pod.clone(), &backbone, Log::default())).collect::<Vec<_>>();
        let outside = (0_u32..).zip(&spec.outside).map(|(index, host)| Outside::start(host, index, &backbone));
        let metadata = async { starting(Metadata::start(&spec, &run, &backbone).await, "the metadata server") };
        let coredns = LivePod::coredns(backbone.node(NodeName::Master), dns::zone(spec.metadata));
        let (pods, outside, metadata, coredns) = try_join!(
            async { starting(try_join_all(pods).await, "a pod") },
            async { starting(try_join_all(outside).await, "an outside host") },
            metadata,
            async { starting(coredns.await, "the DNS") },
        )?;
        state.pods = pods;
        state.namespaces = namespaces(&spec, &coredns);
        if let Some(metadata) = &metadata {
            safe::prove(&backbone, metadata).await?;
        }
        let closed = CancellationToken::new();
        let (state, agent) = (Mutex::new(state), Agent::new(mutant).into());
        let made = Self { spec, deny_by, agent, closed, prober, state, coredns, metadata, outside, backbone };
        made.enforce(&*made.state.lock().await).await?;
        Ok(made)
    }

    /// Ends the probes that still run; each lets go of the stage.
    pub(super) fn close(&self) {
        self.closed.cancel();
    }

    /// What makes its requests, and keeps connections for as long as it is there.
    pub(super) fn prober(&self) -> &Prober {
        &self.prober
    }

    /// Until the stage is closed.
    pub(super) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    pub(super) async fn world(&self) -> World {
        let state = self.state.lock().await;
        let namespace = |(name, labels): (&String, &Labels)| {
            (name.clone(), WorldNamespace { literal: name.clone(), labels: labels.clone() })
        };
        let node = |node: &super::plumbing::Node| WorldNode {
            name: node.name,
            literal: node.name.as_str().to_owned(),
            addresses: node.plans().flat_map(|plan| [plan.address, plan.uplink, plan.gateway]).collect(),
            server: Some((node.identity(), NODE_PORT)),
        };
        World {
            namespaces: state.namespaces.iter().map(namespace).collect(),
            pods: state.pods.iter().map(LivePod::world).collect(),
            nodes: self.backbone.nodes.iter().map(node).collect(),
            outside: self.outside.iter().map(Outside::world).collect(),
            metadata: self.metadata.as_ref().map(Metadata::world),
            apiserver: None,
            others: vec![self.coredns.world()],
        }
    }

    pub(super) async fn apply(&self, document: &Document) -> anyhow::Result<()> {
        let mut state = self.state.lock().await;
        match kind(document) {
            Kind::NetworkPolicy => {
                let (key, policy) = policy(document)?;
                // Also one that selects nobody yet must not hold a fault.
                enforcer::check(&policy).with_context(|| format!("cannot enforce {}", document.label))?;
                let before = state.policies.insert(key.clone(), policy);
                if let Err(error) = self.enforce(&state).await {
                    match before {
                        Some(before) => state.policies.insert(key, before),
                        None => state.policies.remove(&key),
                    };
                    return Err(error.context(format!("cannot enforce {}", document.label)));
                }
                Ok(())
            }
            Kind::Namespace => {
                let name = text(document, "/metadata/name")?;
                let labels = document.raw.pointer("/metadata/labels").cloned().unwrap_or_default();
                let labels: Option<Labels> = serde_json::from_value(labels)?;
                state.namespaces.insert(name.clone(), complete(&name, &labels.unwrap_or_default()));
                self.enforce(&state).await
            }
            Kind::Other(kind) => Err(no_api_server(document, &kind)),
        }
    }

    pub(super) async fn delete(&self, document: &Document) -> anyhow::Result<()> {
        let Kind::NetworkPolicy = kind(document) else {
            let Kind::Other(kind) = kind(document) else { return Err(no_api_server(document, "Namespace")) };
            return Err(no_api_server(document, &kind));
        };
        let mut state = self.state.lock().await;
        let key = (document.namespace.clone(), text(document, "/metadata/name")?);
        state.policies.remove(&key).with_context(|| format!("{} is not applied", document.label))?;
        self.enforce(&state).await
    }

    pub(super) async fn label(&self, action: &LabelAction) -> anyhow::Result<()> {
        let mut state = self.state.lock().await;
        let labels = match (&action.pod, &action.namespace) {
            (Some(pod), None) => &mut state.pod_called(pod)?.spec.labels,
            (None, Some(name)) => state.namespaces.get_mut(name).with_context(|| format!("no namespace `{name}`"))?,
            _ => anyhow::bail!("a label action names either a pod or a namespace"),
        };
        labels.retain(|key, _| !action.remove.contains(key));
        labels.extend(action.set.clone());
        self.enforce(&state).await
    }

    pub(super) async fn create(&self, spec: PodSpec) -> anyhow::Result<()> {
        let (namespace, name) = (spec.namespace.clone(), spec.name.clone());
        self.place(spec).await?;
        self.serve(&namespace, &name).await
    }

    /// Makes a pod's network, with the rules for it. Nothing runs in it yet: the policies that there are hold from its
    /// first instruction on.
    pub(super) async fn place(&self, spec: PodSpec) -> anyhow::Result<Arc<Namespace>> {
        let mut state = self.state.lock().await;
        if state.pod(&spec.namespace, &spec.name).is_ok() {
            anyhow::bail!("there is a pod `{}/{}` already", spec.namespace, spec.name);
        }
        let pod = starting(state.place(spec, &self.backbone, Log::default()).await, "a pod")?;
        let namespace = pod.host.namespace();
        state.namespaces.entry(pod.spec.namespace.clone()).or_insert_with_key(|name| complete(name, &Labels::new()));
        state.pods.push(pod);
        self.enforce(&state).await?;
        Ok(namespace)
    }

    /// Has a pod serve that was placed. The rules are made once more, as the agents of a network plugin do that hear that
    /// a pod has come to be ready.
    pub(super) async fn serve(&self, namespace: &str, name: &str) -> anyhow::Result<()> {
        let mut state = self.state.lock().await;
        let relays_to = state.relays_to;
        starting(state.pod_mut(namespace, name)?.serve(relays_to).await, "a pod")?;
        self.enforce(&state).await
    }

    pub(super) async fn recreate(&self, namespace: &str, name: &str) -> anyhow::Result<()> {
        let mut state = self.state.lock().await;
        let old = state.pod_mut(namespace, name)?;
        old.stop(self.backbone.node(old.spec.node)).await?;
        let (mut spec, log) = (old.spec.clone(), old.log.clone());
        if spec.owner.is_some() {
            spec.labels.clone_from(&old.template);
        }
        let new = starting(state.start(spec, &self.backbone, log).await, "a pod")?;
        *state.pod_mut(namespace, name)? = new;
        self.enforce(&state).await
    }

    /// Back to the scenario's start, with empty logs. Pods that were recreated keep their new addresses.
    pub(super) async fn reset(&self) -> anyhow::Result<()> {
        let mut state = self.state.lock().await;
        state.policies.clear();
        self.prober.forget();
        state.namespaces = namespaces(&self.spec, &self.coredns);
        let (kept, created): (Vec<_>, Vec<_>) = std::mem::take(&mut state.pods).into_iter().partition(|pod| {
            self.spec.pods.iter().any(|spec| (&spec.namespace, &spec.name) == (&pod.spec.namespace, &pod.spec.name))
        });
        state.pods = kept;
        for spec in &self.spec.pods {
            state.pod_mut(&spec.namespace, &spec.name)?.spec.labels = spec.labels.clone();
        }
        for mut pod in created {
            pod.stop(self.backbone.node(pod.spec.node)).await?;
        }
        let logs = state.pods.iter().map(|pod| &pod.log).chain(self.backbone.nodes.iter().map(|node| &node.log));
        logs.chain(self.outside.iter().map(|host| &host.log)).for_each(Log::clear);
        if let Some(metadata) = &self.metadata {
            metadata.log.clear();
        }
        self.enforce(&state).await
    }

    pub(super) async fn seen(&self, server: &ServerId, nonces: &BTreeSet<String>) -> anyhow::Result<BTreeSet<String>> {
        let log = match server {
            ServerId::Pod(namespace, name) => self.state.lock().await.pod(namespace, name)?.log.clone(),
            ServerId::Node(name) => self.backbone.node(*name).log.clone(),
            ServerId::Outside(name) => self.outside_host(name)?.log.clone(),
            ServerId::Metadata => self.metadata.as_ref().context("this stage has no metadata server")?.log.clone(),
            // Questions to a DNS carry no nonce.
            ServerId::Dns | ServerId::Apiserver | ServerId::Kubelet(_) => Log::default(),
        };
        Ok(log.known(nonces))
    }

    pub(super) async fn dns_ready(&self) -> anyhow::Result<()> {
        dns::check(&self.backbone.node(NodeName::Master).host).await
    }

    pub(super) async fn namespace(&self, source: &Source) -> anyhow::Result<Arc<Namespace>> {
        Ok(match source {
            Source::Pod(namespace, name) => self.state.lock().await.pod(namespace, name)?.host.namespace(),
            Source::Node(name) => self.backbone.node(*name).host.namespace(),
            Source::Outside(name) => self.outside_host(name)?.host.namespace(),
        })
    }

    pub(super) async fn impair(&self, source: &Source, loss_percent: u8) -> anyhow::Result<()> {
        let Source::Pod(namespace, name) = source else { anyhow::bail!("only the links of pods can be impaired") };
        let state = self.state.lock().await;
        let pod = state.pod(namespace, name)?;
        let nft = self.backbone.node(pod.spec.node).host.nft();
        let device = pod.device.as_ref().context("a pod in its node's network has no link of its own")?;
        Ok(enforcer::impair(nft, device, loss_percent).await?)
    }

    pub(super) async fn replace_metadata(&self, identity: Option<&str>) -> anyhow::Result<()> {
        self.metadata.as_ref().context("this stage has no metadata server")?.replace(identity, &self.backbone).await
    }

    /// The rules that are in force, with what they have counted.
    pub(super) async fn diagnose(&self) -> String {
        // Nothing may change while the rules are read, and a stage whose lock is held is being changed.
        let _state: MutexGuard<'_, State> = self.state.lock().await;
        let mut lines = Vec::new();
        for node in &self.backbone.nodes {
            lines.push(format!("{}:", node.name.as_str()));
            match enforcer::listing(node.host.nft()).await {
                Ok(rules) => lines.extend(rules.iter().map(|rule| format!("  {rule}"))),
                Err(error) => lines.push(format!("  {error}")),
            }
        }
        lines.join("\n") + "\n"
    }

    fn outside_host(&self, name: &str) -> anyhow::Result<&Outside> {
        self.outside.iter().find(|host| host.name == name).with_context(|| format!("no outside host `{name}`"))
    }

    async fn enforce(&self, state: &State) -> anyhow::Result<()> {
        let pods = state.pods.iter().chain([&self.coredns]).filter_map(LivePod::for_enforcer).collect();
        let policies = state.policies.values().cloned().collect();
        let cluster = enforcer::Cluster { namespaces: state.namespaces.clone(), pods, policies };
        let [master, worker] = &self.backbone.nodes;
        // Both are compiled before either is loaded: a policy with a fault changes nothing.
        let rulesets = self.agent.lock().unwrap_or_else(PoisonError::into_inner).rulesets(&cluster);
        let [on_master, on_worker] = rulesets?;
        try_join!(master.enforce(&on_master, self.deny_by), worker.enforce(&on_worker, self.deny_by))?;
        Ok(())
    }
}
