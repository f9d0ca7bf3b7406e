//! The CNI's agents on the nodes: when pods can be made.
//!
//! A node is Ready as soon as the CNI's configuration is there, and pods that are made before its agent runs may be left
//! without a network.

use std::{collections::BTreeSet, pin::pin};

use anyhow::Context;
use futures::TryStreamExt;
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Node, Pod},
};
use kube::{
    Api, ResourceExt,
    api::ListParams,
    runtime::{WatchStreamExt, wait, watcher},
};

use super::cluster::PATIENCE;
use crate::lab::{
    LabError,
    cluster::{Access, is_pod_ready, is_ready},
};

/// Waits until every `DaemonSet` is ready on all its nodes, the CNI's among them.
pub(super) async fn ready(access: &Access) -> Result<(), LabError> {
    let sets = Api::<DaemonSet>::all(access.client.clone());
    let key = |set: &DaemonSet| (set.namespace(), set.name_any());
    let listed = sets.list(&ListParams::default()).await.context("cannot list DaemonSets")?;
    let mut waiting: BTreeSet<_> = listed.iter().filter(|set| !is_rolled_out(set)).map(key).collect();
    let watching = async {
        let mut changes = pin!(watcher(sets, watcher::Config::default()).applied_objects());
        while !waiting.is_empty() {
            let Some(set) = changes.try_next().await.context("watching DaemonSets")? else {
                return Err(anyhow::anyhow!("the watch of DaemonSets ended"));
            };
            if is_rolled_out(&set) {
                waiting.remove(&key(&set));
            }
        }
        Ok(())
    };
    if let Ok(ready) = tokio::time::timeout(PATIENCE, watching).await {
        return Ok(ready?);
    }
    let names: Vec<_> = waiting.into_iter().map(|(_, name)| name).collect();
    Err(LabError::with_hint(
        format!("not ready on every node after {} s: {}", PATIENCE.as_secs(), names.join(", ")),
        "a CNI that does not start is the usual reason; its pods' logs say more",
    ))
}

/// Waits until a node is Ready and every `DaemonSet` has a Ready pod on it.
pub(super) async fn ready_on(access: &Access, node: &str) -> anyhow::Result<()> {
    let is_up = |node: Option<&Node>| node.is_some_and(is_ready);
    wait::await_condition(Api::<Node>::all(access.client.clone()), node, is_up).await?;
    let sets = Api::<DaemonSet>::all(access.client.clone()).list_metadata(&ListParams::default()).await?;
    let mut waiting: BTreeSet<String> = sets.items.iter().filter_map(ResourceExt::uid).collect();
    let on_node = watcher::Config::default().fields(&format!("spec.nodeName={node}"));
    let mut changes = pin!(watcher(Api::<Pod>::all(access.client.clone()), on_node).applied_objects());
    while !waiting.is_empty() {
        let pod = changes.try_next().await?.context("the watch of pods ended")?;
        if is_pod_ready(&pod) {
            waiting.retain(|set| pod.owner_references().iter().all(|owner| owner.uid != *set));
        }
    }
    Ok(())
}

fn is_rolled_out(set: &DaemonSet) -> bool {
    set.status.as_ref().is_some_and(|status| {
        status.observed_generation >= set.metadata.generation && status.number_ready == status.desired_number_scheduled
    })
}
