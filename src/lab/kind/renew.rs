//! Agents of a CNI that know too little of the nodes, because they were started before the last node had joined.
//!
//! kube-router reads which address ranges are pods' when it starts, and again only every five minutes
//! (`syncNodeIPSets` in `pkg/controllers/routing/network_routes_controller.go`, v2.9.0). Until then an agent that started
//! before a node had its range masquerades what its own pods send to the pods there, and a policy that names these peers
//! by their labels refuses them.

use std::{collections::BTreeMap, pin::pin};

use anyhow::Context;
use futures::{TryStreamExt, future::try_join_all};
use k8s_openapi::{
    api::{
        apps::v1::DaemonSet,
        core::v1::{Node, Pod},
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Preconditions},
    runtime::{WatchStreamExt, watcher},
};

use crate::lab::cluster::{Access, is_pod_ready};

/// The agents in question, by their label.
const AGENTS: (&str, &str) = ("k8s-app", "kube-router");
/// How long after it has joined a node may get its range, in seconds.
const RANGE_AFTER: i64 = 3;

/// Replaces the agents that started before these many nodes had their address ranges, and waits for the new ones; the
/// nodes on which that was necessary.
pub(super) async fn renew(access: &Access, nodes: usize) -> anyhow::Result<Vec<String>> {
    let (all_nodes, pods) = (Api::<Node>::all(access.client.clone()), Api::<Pod>::all(access.client.clone()));
    let sets = Api::<DaemonSet>::all(access.client.clone()).list(&ListParams::default()).await?;
    if !sets.items.iter().any(makes_agents) {
        return Ok(Vec::new());
    }
    let mut joined = BTreeMap::new();
    let mut changes = pin!(watcher(all_nodes, watcher::Config::default()).applied_objects());
    while joined.len() < nodes {
        let node = changes.try_next().await?.context("the watch of nodes ended")?;
        if has_range(&node) {
            joined.insert(node.name_any(), node.creation_timestamp());
        }
    }
    let Some(last) = joined.into_values().flatten().max() else { return Ok(Vec::new()) };
    let agents = pods.list(&ListParams::default().labels(&agents())).await?;
    try_join_all(agents.items.iter().filter(|agent| knows_too_little(agent, &last)).map(|agent| replace(access, agent)))
        .await
}

fn agents() -> String {
    format!("{}={}", AGENTS.0, AGENTS.1)
}

fn makes_agents(set: &DaemonSet) -> bool {
    let labels = set.spec.as_ref().and_then(|spec| spec.selector.match_labels.as_ref());
    labels.and_then(|labels| labels.get(AGENTS.0)).is_some_and(|value| value == AGENTS.1)
}

fn has_range(node: &Node) -> bool {
    node.spec.as_ref().is_some_and(|spec| spec.pod_cidr.is_some())
}

/// Whether an agent runs that may have read the nodes before the last one had its range. One that does not run yet will
/// read all of them.
fn knows_too_little(agent: &Pod, last: &Time) -> bool {
    let containers = agent.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let started = containers.filter_map(|container| container.state.as_ref()?.running.as_ref()?.started_at.as_ref());
    started.min().is_some_and(|started| started.0.as_second() <= last.0.as_second() + RANGE_AFTER)
}

/// Has its `DaemonSet` make an agent again.
async fn replace(access: &Access, agent: &Pod) -> anyhow::Result<String> {
    let pods: Api<Pod> = Api::namespaced(access.client.clone(), &agent.namespace().unwrap_or_default());
    let node = agent.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
    let this = Preconditions { uid: agent.uid(), resource_version: None };
    let delete = DeleteParams { preconditions: Some(this), ..DeleteParams::default().grace_period(0) };
    pods.delete(&agent.name_any(), &delete).await.context("cannot replace an agent of the CNI")?;
    let there = watcher::Config::default().labels(&agents()).fields(&format!("spec.nodeName={node}"));
    let mut changes = pin!(watcher(pods, there).applied_objects());
    loop {
        let pod = changes.try_next().await?.context("the watch of pods ended")?;
        if pod.uid() != agent.uid() && is_pod_ready(&pod) {
            return Ok(node);
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_agent_that_started_before_the_last_node_joined_knows_too_little() {
        let last: Time = serde_json::from_value(json!("2026-01-02T03:04:05Z")).unwrap();
        let agent = |state| -> Pod {
            let container =
                json!({"name": "a", "image": "a", "imageID": "a", "ready": true, "restartCount": 0, "state": state});
            serde_json::from_value(json!({"status": {"containerStatuses": [container]}})).unwrap()
        };
        let running = |at: &str| agent(json!({"running": {"startedAt": at}}));
        assert!(knows_too_little(&running("2026-01-02T03:04:00Z"), &last));
        assert!(knows_too_little(&running("2026-01-02T03:04:08Z"), &last), "its range may have come after it");
        assert!(!knows_too_little(&running("2026-01-02T03:04:09Z"), &last));
        assert!(!knows_too_little(&agent(json!({"waiting": {"reason": "PodInitializing"}})), &last));
    }
}
