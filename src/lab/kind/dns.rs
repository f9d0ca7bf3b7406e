//! The cluster's DNS, in clusters of our own: the metadata server's name in it, and when it starts.

use std::{fmt::Write, pin::pin, time::Duration};

use futures::TryStreamExt;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Pod},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::json;
use tokio::time::timeout;

use crate::{
    lab::{
        LabError,
        cluster::{Access, is_gone},
    },
    metadata::LINK_LOCAL,
};

const NAMESPACE: &str = "kube-system";
const DEPLOYMENT: &str = "coredns";
const SERVERS: &str = "k8s-app=kube-dns";

/// How long the server's pod may take to be made.
const PATIENCE: Duration = Duration::from_secs(20);

/// Lets CoreDNS answer the name. Servers that may have read the old configuration are replaced.
pub(crate) async fn name(access: &Access, name: &str) -> Result<(), LabError> {
    edit(access, name)
        .await
        .map_err(|error| LabError::from(error.context("cannot name the metadata server in CoreDNS")))
}

async fn edit(access: &Access, name: &str) -> anyhow::Result<()> {
    let maps = Api::<ConfigMap>::namespaced(access.client.clone(), NAMESPACE);
    let Some(map) = maps.get_opt("coredns").await? else {
        anyhow::bail!("there is no ConfigMap {NAMESPACE}/coredns");
    };
    let old = map.data.as_ref().and_then(|data| data.get("Corefile")).cloned().unwrap_or_default();
    let Some(new) = with_host(&old, name) else { return Ok(()) };
    let change = json!({ "data": { "Corefile": new } });
    maps.patch("coredns", &PatchParams::default(), &Patch::Merge(&change)).await?;
    replace(access).await
}

/// The server of a new cluster, which waits.
pub(crate) struct Held {
    deployments: Api<Deployment>,
    pods: Api<Pod>,
}

/// Has no server start before the first pods run: they would be made before their nodes have a network, and once more
/// with the name that they are to know, and keep the pods from starting meanwhile.
pub(crate) async fn hold(access: &Access) -> Result<Option<Held>, LabError> {
    let deployments = Api::<Deployment>::namespaced(access.client.clone(), NAMESPACE);
    let found = deployments.get_opt(DEPLOYMENT).await;
    let found = found.map_err(|error| broken("cannot look at CoreDNS", error))?;
    if found.is_none() {
        return Ok(None);
    }
    scale(&deployments, 0).await?;
    Ok(Some(Held { deployments, pods: Api::namespaced(access.client.clone(), NAMESPACE) }))
}

impl Held {
    /// Lets one server start, which is enough for a lab, and waits until it is about to: who looks for it then finds it.
    pub(crate) async fn release(self) -> Result<(), LabError> {
        scale(&self.deployments, 1).await?;
        let mut changes = pin!(watcher(self.pods, watcher::Config::default().labels(SERVERS)).applied_objects());
        let coming = async {
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
}

async fn scale(deployments: &Api<Deployment>, replicas: i32) -> Result<(), LabError> {
    let change = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
    let scaled = deployments.patch_scale(DEPLOYMENT, &PatchParams::default(), &change).await;
    scaled.map(drop).map_err(|error| broken("cannot scale CoreDNS", error))
}

fn broken(what: &'static str, error: kube::Error) -> LabError {
    LabError::from(anyhow::Error::new(error).context(what))
}

/// Deletes the servers that run, or are about to, so that others take their place.
async fn replace(access: &Access) -> anyhow::Result<()> {
    let pods = Api::<Pod>::namespaced(access.client.clone(), NAMESPACE);
    for pod in pods.list(&ListParams::default().labels(SERVERS)).await? {
        if pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()) {
            match pods.delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await {
                Err(error) if !is_gone(&error) => return Err(error.into()),
                _ => {}
            }
        }
    }
    Ok(())
}

/// The configuration with the name in it; none where it is there already.
fn with_host(corefile: &str, name: &str) -> Option<String> {
    if corefile.contains(name) {
        return None;
    }
    let mut new = String::new();
    let mut is_placed = false;
    for line in corefile.lines() {
        if !is_placed && line.trim_start().starts_with("kubernetes ") {
            // Writing to a string cannot fail.
            let _ = write!(new, "    hosts {{\n        {LINK_LOCAL} {name}\n        fallthrough\n    }}\n");
            is_placed = true;
        }
        new.push_str(line);
        new.push('\n');
    }
    is_placed.then_some(new)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_placed_once_before_the_cluster_s_own() {
        let old = ".:53 {\n    errors\n    kubernetes cluster.local {\n    }\n}\n";
        let new = with_host(old, "metadata.google.internal").unwrap();
        assert_eq!(
            new,
            ".:53 {\n    errors\n    hosts {\n        169.254.169.254 metadata.google.internal\n        fallthrough\n    }\n    \
             kubernetes cluster.local {\n    }\n}\n"
        );
        assert_eq!(with_host(&new, "metadata.google.internal"), None);
    }
}
