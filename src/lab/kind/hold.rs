//! What a new cluster would start at once and nobody needs yet: its DNS, and kind's provisioner of volumes. It waits, because
//! each pod that starts keeps those of the lab from starting.

use std::{pin::pin, time::Duration};

use anyhow::Context;
use futures::{TryStreamExt, future::try_join_all};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, Patch, PatchParams},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::json;
use tokio::time::timeout;

use super::dns::{NAMESPACE, SERVERS};
use crate::lab::{LabError, cluster::Access};

/// The name of the Deployment of the cluster's DNS.
const DNS: &str = "coredns";

/// How long the DNS server's pod may take to be made.
const PATIENCE: Duration = Duration::from_secs(20);

/// The Deployments of a new cluster, as long as they wait.
pub(crate) struct Held {
    client: Client,
    has_dns: bool,
    others: Vec<Waiting>,
}

/// A Deployment that no lab needs.
struct Waiting {
    namespace: String,
    name: String,
    replicas: i32,
}

/// Has no Deployment start before the first pods run. DNS servers would also be made before their nodes have a network, and
/// once more with the name that they are to know.
pub(super) async fn hold(access: &Access) -> Result<Held, LabError> {
    let client = access.client.clone();
    let holding = async {
        let found = Api::<Deployment>::all(client.clone()).list(&ListParams::default()).await?;
        let found = found.into_iter().map(|deployment| Waiting {
            namespace: deployment.namespace().unwrap_or_default(),
            name: deployment.name_any(),
            replicas: deployment.spec.and_then(|spec| spec.replicas).unwrap_or(1),
        });
        let found: Vec<Waiting> = found.collect();
        try_join_all(found.iter().map(|one| scale(&client, &one.namespace, &one.name, 0))).await?;
        anyhow::Ok(found)
    };
    let found = holding.await.map_err(|error| LabError::from(error.context("cannot have the Deployments wait")))?;
    let (dns, others): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|one| (one.namespace.as_str(), one.name.as_str()) == (NAMESPACE, DNS));
    Ok(Held { client, has_dns: !dns.is_empty(), others })
}

impl Held {
    /// Lets one DNS server start, which is enough for a lab, and waits until it is about to: who looks for it then finds it.
    pub(super) async fn release_dns(&mut self) -> Result<(), LabError> {
        if !std::mem::take(&mut self.has_dns) {
            return Ok(());
        }
        let coming = async {
            scale(&self.client, NAMESPACE, DNS, 1).await?;
            let pods = Api::<Pod>::namespaced(self.client.clone(), NAMESPACE);
            let mut changes = pin!(watcher(pods, watcher::Config::default().labels(SERVERS)).applied_objects());
            while let Some(pod) = changes.try_next().await? {
                if pod.metadata.deletion_timestamp.is_none() {
                    return Ok(());
                }
            }
            anyhow::bail!("the watch of pods ended")
        };
        let late = || Err(anyhow::anyhow!("its pod is not made within {} s", PATIENCE.as_secs()));
        let coming = timeout(PATIENCE, coming).await.unwrap_or_else(|_| late());
        coming.map_err(|error| LabError::from(error.context("cannot start CoreDNS")))
    }

    /// Lets everything start, in a cluster that stays.
    pub(super) async fn release(mut self) -> Result<(), LabError> {
        self.release_dns().await?;
        let others = self.others.iter().map(|one| scale(&self.client, &one.namespace, &one.name, one.replicas));
        try_join_all(others).await.map(drop).map_err(LabError::from)
    }
}

async fn scale(client: &Client, namespace: &str, name: &str, replicas: i32) -> anyhow::Result<()> {
    let change = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
    let deployments = Api::<Deployment>::namespaced(client.clone(), namespace);
    let scaled = deployments.patch_scale(name, &PatchParams::default(), &change).await;
    scaled.map(drop).with_context(|| format!("cannot scale the Deployment {namespace}/{name} to {replicas}"))
}
