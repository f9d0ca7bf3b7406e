//! The cluster's DNS, as the pods that will ask it find it.
//!
//! A server that is Ready is not yet one that answers: until a node's Service rules know of it, what its pods ask is lost,
//! and each lost query costs a resolver seconds.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use futures::{TryStreamExt, future::join_all};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    runtime::{WatchStreamExt, watcher},
};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{access::Access, exec::exec, pods::LivePod, progress::is_pod_ready};
use crate::lab::LabError;

/// How long the cluster's DNS may take to be Ready.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long one that is Ready may take to answer. A pod that is never answered is the probes' to report.
const ANSWER_PATIENCE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(100);

/// Succeeds once a name was resolved: `curl` looks at the interface after that, and finds none (exit 45).
const ASK: &str = "RES_OPTIONS='timeout:1 attempts:1' curl -q -s --noproxy '*' --connect-timeout 2 \
                   --interface 'if!policyprobe-none' http://kubernetes.default/; [ $? -eq 45 ]";

/// Waits until the cluster's DNS is Ready and answers in these pods; how long that took.
pub(super) async fn ready(access: &Access, pods: &[LivePod]) -> Result<Duration, LabError> {
    let begun = Instant::now();
    match timeout(PATIENCE, serving(access)).await {
        Ok(ready) => ready?,
        Err(_) => {
            return Err(LabError::with_hint(
                format!("the cluster's DNS is not Ready after {} s", PATIENCE.as_secs()),
                "`kubectl get pods -n kube-system -l k8s-app=kube-dns` says more",
            ));
        }
    }
    let asking = join_all(pods.iter().filter(|pod| !pod.spec.host_network).map(|pod| answered(access, pod)));
    let _ = timeout(ANSWER_PATIENCE, asking).await;
    Ok(begun.elapsed())
}

async fn serving(access: &Access) -> anyhow::Result<()> {
    let pods = Api::<Pod>::namespaced(access.client.clone(), "kube-system");
    let dns = watcher::Config::default().labels("k8s-app=kube-dns");
    let mut changes = pin!(watcher(pods, dns).applied_objects());
    while let Some(pod) = changes.try_next().await? {
        if is_pod_ready(&pod) {
            return Ok(());
        }
    }
    anyhow::bail!("the watch of the DNS pods ended")
}

async fn answered(access: &Access, pod: &LivePod) {
    let pods = Api::<Pod>::namespaced(access.client.clone(), &pod.namespace);
    let mut polls = interval(POLL);
    polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        polls.tick().await;
        if exec(&pods, &pod.name, &["sh", "-c", ASK], b"").await.is_ok() {
            return;
        }
    }
}
