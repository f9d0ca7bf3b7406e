//! What a kind lab stands on, and its removal.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use async_trait::async_trait;

use super::{
    command::run, emulator::Emulator, hold::Held, node::NodePlace, outside::OutsideHosts, remove,
    servers::MetadataServers, settle::settle,
};
use crate::{
    engine::Events,
    lab::{
        LabError,
        cluster::{Ground, Hosts, MetadataLease, Place},
        state::RunState,
    },
    scenario::{Cloud, MetadataServerSpec, NodeName},
};

/// A kind cluster and the emulator beside it.
pub(crate) struct KindGround {
    /// The cluster's name.
    pub(crate) cluster: String,
    /// The nodes' containers.
    pub(crate) nodes: BTreeMap<NodeName, String>,
    /// All of the cluster's containers.
    pub(crate) containers: Vec<String>,
    /// The Docker network that they are on.
    pub(crate) network: String,
    /// The emulator, once it runs; never where no agent could be it.
    pub(crate) emulator: Arc<OnceLock<Arc<Emulator>>>,
    /// It and other metadata servers, once somebody has asked for one.
    pub(crate) servers: OnceLock<MetadataServers>,
    /// Hosts outside the cluster, until they are removed.
    pub(crate) hosts: OutsideHosts,
    /// This run's record.
    pub(crate) state: Arc<RunState>,
    /// The record of the run that kept the cluster, locked while this one uses it.
    pub(crate) kept: Option<Arc<RunState>>,
    /// What waits in a new cluster.
    pub(crate) held: tokio::sync::Mutex<Option<Held>>,
    /// Whether this run's cluster stays.
    pub(crate) keep: bool,
    /// Where to say so.
    pub(crate) events: Events,
}

impl KindGround {
    fn servers(&self) -> Option<&MetadataServers> {
        let usual = self.emulator.get()?;
        let make = || {
            let (network, containers, roles) = (self.network.clone(), self.containers.clone(), self.nodes.clone());
            MetadataServers::new(self.state.run(), network, containers, roles, Arc::clone(usual))
        };
        Some(self.servers.get_or_init(make))
    }

    fn stay(&self) -> Result<(), LabError> {
        self.state.update(|record| record.kept = true)?;
        if let Some(emulator) = self.emulator.get() {
            emulator.leave();
        }
        let kubeconfig: PathBuf = self.state.kubeconfig();
        self.events.note(format!(
            "the cluster `{0}` stays: `kubectl --kubeconfig {1}`, `policyprobe lab --backend kind --cluster {0}`; \
             `policyprobe cleanup --kept` removes it",
            self.cluster,
            kubeconfig.display()
        ));
        Ok(())
    }
}

/// Removes what a run made in Docker, all of it at once, and goes on after errors.
pub(crate) async fn remove_run(state: &RunState, emulator: Option<&Emulator>) -> Vec<LabError> {
    let record = state.record();
    let kubeconfig = state.kubeconfig();
    for child in &record.children {
        settle(*child).await;
    }
    let containers = async {
        // An explicit removal, in a runtime; the sweep after it finds what never got a handle.
        let removed = match emulator {
            Some(emulator) => emulator.remove().await,
            None => Ok(()),
        };
        let swept = if record.docker { remove::labelled(state.run()).await } else { Ok(()) };
        [removed, swept]
    };
    let cluster = async {
        match &record.cluster {
            Some(name) => remove::cluster(name, &kubeconfig).await,
            None => Ok(()),
        }
    };
    let (containers, cluster) = tokio::join!(containers, cluster);
    let network = match &record.network {
        Some(name) => remove::network(name).await,
        None => Ok(()),
    };
    containers.into_iter().chain([cluster, network]).filter_map(Result::err).collect()
}

#[async_trait]
impl Ground for KindGround {
    fn backend(&self) -> &'static str {
        "kind"
    }

    fn node(&self, node: NodeName) -> Option<Arc<dyn Place>> {
        let container = self.nodes.get(&node)?.clone();
        Some(Arc::new(NodePlace { container }))
    }

    async fn metadata(&self, cloud: Cloud, spec: &MetadataServerSpec) -> Result<Option<MetadataLease>, LabError> {
        match self.servers() {
            Some(servers) => servers.lease(cloud, spec).await.map(Some),
            None => Ok(None),
        }
    }

    async fn pods_run(&self) -> Result<(), LabError> {
        match &mut *self.held.lock().await {
            Some(held) => held.release_dns().await,
            None => Ok(()),
        }
    }

    fn hosts(&self) -> Option<&dyn Hosts> {
        // Who makes them and who serves in them is the agent, as the metadata server is.
        self.emulator.get().map(|_| &self.hosts as &dyn Hosts)
    }

    async fn diagnose(&self) -> String {
        let node = self.nodes.get(&NodeName::Master).cloned().unwrap_or_default();
        let get = "exec kubectl --kubeconfig /etc/kubernetes/admin.conf get pods -A -o wide";
        let mut arguments = vec!["exec", node.as_str()];
        arguments.extend(get.split(' ').skip(1));
        run("docker", &arguments, None).await.unwrap_or_else(|error| error.to_string())
    }

    async fn teardown(&self) -> Vec<LabError> {
        let nodes_stay = self.keep || self.kept.is_some();
        let hosts = self.hosts.remove(nodes_stay).await.err();
        let servers = match self.servers.get() {
            Some(servers) => servers.end(nodes_stay).await.err(),
            None => None,
        };
        let removed = if self.keep && self.kept.is_none() {
            let released = match self.held.lock().await.take() {
                Some(held) => held.release().await,
                None => Ok(()),
            };
            [released, self.stay()].into_iter().filter_map(Result::err).collect()
        } else {
            self.events.phase("removing the lab");
            remove_run(&self.state, self.emulator.get().map(Arc::as_ref)).await
        };
        hosts.into_iter().chain(servers).chain(removed).collect()
    }
}
