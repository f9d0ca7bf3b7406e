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
        core::v1::{ContainerStatus, Node, Pod},
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Preconditions},
    runtime::{WatchStreamExt, watcher},
};

use super::command::run;
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
    started(agent).is_some_and(|started| started.0.as_second() <= last.0.as_second() + RANGE_AFTER)
}

/// When an agent that runs was started.
fn started(agent: &Pod) -> Option<&Time> {
    containers(agent).filter_map(|container| container.state.as_ref()?.running.as_ref()?.started_at.as_ref()).min()
}

fn restarts(agent: &Pod) -> i32 {
    containers(agent).map(|container| container.restart_count).sum()
}

fn containers(agent: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    agent.status.iter().flat_map(|status| status.container_statuses.iter().flatten())
}

/// Has an agent start again: its container where the node's runtime can be told so, because that takes a second, and else
/// the whole pod.
async fn replace(access: &Access, agent: &Pod) -> anyhow::Result<String> {
    let pods: Api<Pod> = Api::namespaced(access.client.clone(), &agent.namespace().unwrap_or_default());
    let node = agent.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
    let container = container(agent).unwrap_or_default();
    let kill = ["exec", &node, "ctr", "-n", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", container];
    if run("docker", &kill, None).await.is_err() {
        delete(&pods, agent).await?;
    }
    let there = watcher::Config::default().labels(&agents()).fields(&format!("spec.nodeName={node}"));
    let mut changes = pin!(watcher(pods, there).applied_objects());
    loop {
        let pod = changes.try_next().await?.context("the watch of pods ended")?;
        if is_pod_ready(&pod) && (pod.uid() != agent.uid() || restarts(&pod) > restarts(agent)) {
            return Ok(node);
        }
    }
}

async fn delete(pods: &Api<Pod>, agent: &Pod) -> anyhow::Result<()> {
    let this = Preconditions { uid: agent.uid(), resource_version: None };
    let delete = DeleteParams { preconditions: Some(this), ..DeleteParams::default().grace_period(0) };
    pods.delete(&agent.name_any(), &delete).await.map(drop).context("cannot replace an agent of the CNI")
}

/// The id of the container that an agent is, as the node's runtime knows it.
fn container(agent: &Pod) -> Option<&str> {
    containers(agent).next()?.container_id.as_deref()?.strip_prefix("containerd://")
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
