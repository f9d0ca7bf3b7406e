//! Entering the nodes of somebody else's cluster: by a pod in each node's own network namespace, where the cluster's pod
//! security admits one.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{Api, runtime::wait};
use serde_json::json;

use super::{
    access::{Access, chain},
    apply::{apply, broken},
    exec::PodPlace,
    names::Naming,
    objects,
    progress::{Progress, progress},
    shell::Place,
};
use crate::{
    lab::{
        LabError,
        state::{NamespaceRecord, RunState},
    },
    scenario::{Labels, NodeName},
};

const PATIENCE: Duration = Duration::from_secs(30);

/// Makes the pods; an error is the reason why there are no probes from nodes.
pub(crate) async fn make(
    access: &Access,
    state: &RunState,
    naming: &Naming,
    hostnames: &BTreeMap<NodeName, String>,
    image: &str,
) -> Result<BTreeMap<NodeName, Arc<dyn Place>>, LabError> {
    let namespace = naming.literal("nodes", 0);
    let (kubeconfig, context) = (access.kubeconfig.clone(), access.context.clone());
    state.update(|record| record.namespaces.push(NamespaceRecord { kubeconfig, context, name: namespace.clone() }))?;
    let (key, level) = objects::PRIVILEGED;
    let labels = Labels::from([(key.to_owned(), level.to_owned())]);
    let body = objects::namespace(&namespace, state.run(), &labels);
    let made = apply(&Api::<Namespace>::all(access.client.clone()), &body).await;
    made.map_err(|error| broken("cannot make a namespace for pods on the nodes' networks", &error))?;
    let places = hostnames.iter().map(|(node, hostname)| {
        let pods = Api::<Pod>::namespaced(access.client.clone(), &namespace);
        let namespace = namespace.clone();
        async move {
            let name = node.as_str();
            let body = objects::node_pod(name, &namespace, state.run(), hostname, image);
            start(&pods, name, &body).await?;
            let place = PodPlace { pods, namespace, pod: name.to_owned(), kubectl: access.kubectl() };
            Ok::<_, LabError>((*node, Arc::new(place) as Arc<dyn Place>))
        }
    });
    Ok(try_join_all(places).await?.into_iter().collect())
}

async fn start(pods: &Api<Pod>, name: &str, body: &serde_json::Value) -> Result<(), LabError> {
    let making = async {
        let namespace = body["metadata"]["namespace"].as_str().unwrap_or_default();
        let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> =
            Api::namespaced(pods.clone().into_client(), namespace);
        let there = |account: Option<&k8s_openapi::api::core::v1::ServiceAccount>| account.is_some();
        wait::await_condition(accounts, "default", there)
            .await
            .map_err(|error| anyhow::anyhow!("waiting for a service account: {}", chain(&error)))?;
        apply(pods, body).await.map_err(|error| broken("the cluster admits no pod on a node's network", &error))?;
        let settled = |pod: Option<&Pod>| pod.is_some_and(|pod| !matches!(progress(pod), Progress::Waiting(_)));
        let pod = wait::await_condition(pods.clone(), name, settled)
            .await
            .map_err(|error| anyhow::anyhow!("waiting for a pod on a node's network: {}", chain(&error)))?;
        match pod.as_ref().map(progress) {
            Some(Progress::Running { .. }) => Ok(()),
            other => {
                Err(anyhow::anyhow!("a pod on a node's network cannot start: {}", json!(format!("{other:?}"))).into())
            }
        }
    };
    let late = || Err(anyhow::anyhow!("a pod on a node's network does not run after {} s", PATIENCE.as_secs()).into());
    tokio::time::timeout(PATIENCE, making).await.unwrap_or_else(|_| late())
}
