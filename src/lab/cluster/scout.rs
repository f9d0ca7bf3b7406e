//! A pod that goes ahead of the others on a node whose network may not work yet.
//!
//! A CNI says that it is ready before it is: kube-router's nodes are Ready with a configuration that names no addresses,
//! and its bridge fails whoever comes at the same time as the first. Each pod that fails costs what a good one costs, so
//! one alone finds out when the others can come.

use std::{collections::BTreeMap, pin::pin};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Event;
use kube::{
    Api, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};

use super::pods::PodMaker;
use crate::{lab::LabError, scenario::PodSpec};

/// What the kubelet says of a pod once that has its network: it goes on to the container, and says so before the pod's
/// status does.
const BEYOND: [&str; 4] = ["Pulling", "Pulled", "Created", "Started"];

impl PodMaker {
    /// Creates a pod that nobody owns, in place of each one whose network could not be made another one, and waits until
    /// it has its network.
    pub(crate) async fn scout(&self, namespace: &str, spec: &PodSpec) -> Result<(), LabError> {
        let only = |field: &str| watcher::Config::default().fields(&format!("{field}={}", spec.name));
        let events = Api::<Event>::namespaced(self.client.clone(), namespace);
        let events = watcher(events, only("involvedObject.name")).default_backoff().applied_objects();
        let changes = watcher(self.pods(namespace), only("metadata.name")).applied_objects();
        let (mut events, mut changes) = (pin!(events), pin!(changes));
        self.create(namespace, spec).await?;
        let (mut uid, mut said) = (None, BTreeMap::new());
        loop {
            tokio::select! {
                change = changes.try_next() => {
                    let change = change.map_err(|error| LabError::from(anyhow::Error::new(error).context("watching a pod")))?;
                    let Some(pod) = change else { return Err(anyhow::anyhow!("the watch of a pod ended").into()) };
                    if pod.status.as_ref().is_some_and(|status| status.pod_ip.is_some()) {
                        return Ok(());
                    }
                    uid = pod.uid();
                }
                Some(Ok(event)) = events.next() => {
                    said.insert(event.involved_object.uid, event.reason.unwrap_or_default());
                }
            }
            match said.get(&uid) {
                Some(reason) if BEYOND.contains(&reason.as_str()) => return Ok(()),
                Some(reason) if reason == "FailedCreatePodSandBox" => {
                    said.remove(&uid);
                    self.replace(namespace.to_owned(), spec.name.clone(), spec).await?;
                }
                _ => {}
            }
        }
    }
}
