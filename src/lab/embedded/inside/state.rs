//! What changes while a scenario runs: namespaces, pods, policies.

use std::{collections::BTreeMap, net::SocketAddr};

use anyhow::Context;
use k8s_openapi::api::networking::v1::NetworkPolicy;

use super::{plumbing::Backbone, pods::LivePod, serve::Log};
use crate::scenario::{DEFAULT_NAMESPACE, LabSpec, Labels, NodeName, PodSpec};

/// The part of a stage that changes.
#[derive(Default)]
pub(super) struct State {
    pub(super) namespaces: BTreeMap<String, Labels>,
    pub(super) pods: Vec<LivePod>,
    pub(super) policies: BTreeMap<(String, String), NetworkPolicy>,
    /// Where relays lead to.
    pub(super) relays_to: Option<SocketAddr>,
    /// How many pods each node has had.
    started: BTreeMap<NodeName, u32>,
}

impl State {
    /// Nothing yet, and where relays will lead to.
    pub(super) fn new(relays_to: Option<SocketAddr>) -> Self {
        Self { relays_to, ..Self::default() }
    }

    /// Starts a pod with the next number of its node. Nothing is changed but that number.
    pub(super) fn start<'a>(
        &mut self,
        spec: PodSpec,
        backbone: &'a Backbone,
        log: Log,
    ) -> impl Future<Output = anyhow::Result<LivePod>> + use<'a> {
        let (placing, relays_to) = (self.place(spec, backbone, log), self.relays_to);
        async move {
            let mut pod = placing.await?;
            pod.serve(relays_to).await?;
            Ok(pod)
        }
    }

    /// The same, before anything runs in it.
    pub(super) fn place<'a>(
        &mut self,
        spec: PodSpec,
        backbone: &'a Backbone,
        log: Log,
    ) -> impl Future<Output = anyhow::Result<LivePod>> + use<'a> {
        let node = backbone.node(spec.node);
        let number = self.started.entry(spec.node).or_default();
        *number += 1;
        LivePod::place(spec, node, *number, log)
    }

    pub(super) fn pod(&self, namespace: &str, name: &str) -> anyhow::Result<&LivePod> {
        let found = self.pods.iter().find(|pod| pod.spec.namespace == namespace && pod.spec.name == name);
        found.with_context(|| format!("no pod `{namespace}/{name}`"))
    }

    pub(super) fn pod_mut(&mut self, namespace: &str, name: &str) -> anyhow::Result<&mut LivePod> {
        let found = self.pods.iter_mut().find(|pod| pod.spec.namespace == namespace && pod.spec.name == name);
        found.with_context(|| format!("no pod `{namespace}/{name}`"))
    }

    /// By `namespace/name`, or by a name that only one pod has.
    pub(super) fn pod_called(&mut self, called: &str) -> anyhow::Result<&mut LivePod> {
        if let Some((namespace, name)) = called.split_once('/') {
            return self.pod_mut(namespace, name);
        }
        let mut found = self.pods.iter_mut().filter(|pod| pod.spec.name == called);
        let first = found.next().with_context(|| format!("no pod `{called}`"))?;
        anyhow::ensure!(found.next().is_none(), "several pods are called `{called}`: write `namespace/{called}`");
        Ok(first)
    }
}

/// The namespaces at the start: those that are named, those that pods are in, and `default`.
pub(super) fn namespaces(spec: &LabSpec, coredns: &LivePod) -> BTreeMap<String, Labels> {
    let in_use = spec.pods.iter().chain([&coredns.spec]).map(|pod| pod.namespace.as_str());
    let none = Labels::new();
    let unnamed = in_use.chain([DEFAULT_NAMESPACE]).map(|name| (name, &none));
    let named = spec.namespaces.iter().map(|(name, namespace)| (name.as_str(), &namespace.labels));
    unnamed.chain(named).map(|(name, labels)| (name.to_owned(), complete(name, labels))).collect()
}

/// A namespace's labels with the one that the API server always sets.
pub(super) fn complete(name: &str, labels: &Labels) -> Labels {
    let mut labels = labels.clone();
    labels.insert("kubernetes.io/metadata.name".to_owned(), name.to_owned());
    labels
}
