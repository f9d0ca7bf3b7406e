//! A cluster that an earlier run kept: who may use it, and what of that run goes before it is used again.

use std::collections::BTreeSet;

use anyhow::Context;
use futures::future::try_join_all;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod, networking::v1::NetworkPolicy};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams},
};

use super::cluster;
use crate::lab::{
    LabError,
    cluster::{Access, is_gone, is_ours, remove_deployment},
    state::{self, RUN_LABEL, RunState},
};

/// The record of the run that kept a cluster, for as long as this run uses that.
pub(super) fn claim(name: &str) -> Result<RunState, LabError> {
    let mut others = Vec::new();
    for run in state::runs()? {
        // A record that cannot be read is `cleanup`'s business.
        let record = RunState::peek(&run);
        match record.cluster {
            Some(cluster) if cluster == name => {
                let Some(claimed) = RunState::claim(&run)? else {
                    return Err(LabError::with_hint(
                        format!("another run uses the cluster `{name}`"),
                        "let it end, or leave `--cluster` out: a run of its own makes a cluster of its own",
                    ));
                };
                if record.kept {
                    return Ok(claimed);
                }
                return Err(LabError::with_hint(
                    format!("the run that made the cluster `{name}` was killed, and nobody knows what it lacks"),
                    "`policyprobe cleanup` removes it",
                ));
            }
            Some(cluster) if record.kept => others.push(cluster),
            _ => {}
        }
    }
    let hint = "`--cluster` takes the name of a cluster that a run with `--keep` left";
    let kept = if others.is_empty() { ", and there is none".to_owned() } else { format!(": {}", others.join(", ")) };
    Err(LabError::with_hint(format!("there is no kept cluster `{name}`"), format!("{hint}{kept}")))
}

/// Removes the Deployments, pods and policies that an earlier run left in a kept cluster; the nodes on which these had a network.
pub(super) async fn sweep(access: &Access) -> anyhow::Result<BTreeSet<String>> {
    let ours = ListParams::default().labels(RUN_LABEL);
    // Before the pods, or they would be made again.
    let owners = Api::<Deployment>::all(access.client.clone()).list(&ours).await?;
    try_join_all(owners.iter().map(|owner| async {
        let owners = Api::namespaced(access.client.clone(), &owner.namespace().unwrap_or_default());
        remove_deployment(&owners, &owner.name_any()).await
    }))
    .await?;
    let pods = Api::<Pod>::all(access.client.clone()).list(&ours).await?;
    let now = DeleteParams::default().grace_period(0);
    try_join_all(pods.iter().map(|pod| async {
        let (pods, name) =
            (Api::namespaced(access.client.clone(), &pod.namespace().unwrap_or_default()), pod.name_any());
        match pods.delete(&name, &now).await {
            Err(error) if !is_gone(&error) => return Err(error.into()),
            _ => {}
        }
        let gone = |pod: Option<&Pod>| pod.is_none();
        let going = kube::runtime::wait::await_condition(pods, &name, gone);
        tokio::time::timeout(cluster::PATIENCE, going).await.context("a pod of an earlier run does not go")??;
        anyhow::Ok(())
    }))
    .await?;
    for policy in Api::<NetworkPolicy>::all(access.client.clone()).list(&ListParams::default()).await? {
        if is_ours(&policy) {
            let api = Api::<NetworkPolicy>::namespaced(access.client.clone(), &policy.namespace().unwrap_or_default());
            api.delete(&policy.name_any(), &now).await?;
        }
    }
    // A pod in its node's network, or one that never ran, says nothing of a network for pods.
    let ran = |pod: &Pod| pod.status.as_ref().is_some_and(|status| status.pod_ip.is_some());
    let specs = pods.into_iter().filter(ran).filter_map(|pod| pod.spec);
    Ok(specs.filter(|spec| spec.host_network != Some(true)).filter_map(|spec| spec.node_name).collect())
}
