//! What a stage does before a scenario: it makes of the pods, Services and namespaces that are there what is wanted.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{join_all, try_join, try_join_all};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::{Api, ResourceExt, api::ListParams};

use super::{
    apply::{apply, broken},
    lab::STARTING,
    objects,
    pods::LivePod,
    progress::{Progress, progress},
    space::{Lease, Space},
    stage::{ClusterStage, Leases},
};
use crate::{
    lab::{LabError, state::RUN_LABEL},
    scenario::{Labels, PodSpec},
};

impl ClusterStage {
    /// Makes a namespace, and gives it these labels.
    pub(super) async fn prepare_namespace(
        &self,
        logical: &str,
        space: &mut Lease,
        labels: &Labels,
    ) -> Result<(), LabError> {
        if space.labels.as_ref() != Some(labels) {
            space.all_labels = self.shared.namespace(&self.literal(logical), labels).await?;
            space.labels = Some(labels.clone());
        }
        Ok(())
    }

    /// Which of the pods that were made still run as the same pods.
    async fn running(&self) -> Result<BTreeSet<String>, LabError> {
        let pods = Api::<Pod>::all(self.shared.access.client.clone());
        let ours = ListParams::default().labels(&format!("{RUN_LABEL}={}", self.maker.recipe.run));
        let found = pods.list(&ours).await.map_err(|error| broken("cannot list the lab's pods", &error))?;
        let running = found.items.iter().filter(|pod| matches!(progress(pod), Progress::Running { .. }));
        Ok(running.filter_map(ResourceExt::uid).collect())
    }

    /// Relabels what differs in labels alone, puts aside what is not wanted now, deletes what is of no use, and creates what
    /// is missing.
    pub(super) async fn prepare_pods(&self, leases: &mut Leases) -> Result<(), LabError> {
        let maker = &self.maker;
        let none = leases.values().all(|space| space.pods.is_empty() && space.aside.is_empty());
        let running = if none { BTreeSet::new() } else { self.running().await? };
        let mut gone = Vec::new();
        let mut relabelled = Vec::new();
        for (logical, space) in leases.iter_mut() {
            let wanted: BTreeMap<&str, &PodSpec> = self
                .spec
                .pods
                .iter()
                .filter(|spec| spec.namespace == *logical)
                .map(|spec| (&*spec.name, spec))
                .collect();
            gone.extend(space.sort_out(&wanted, &running, maker.recipe.relays_to));
            let Space { pods, aside, .. } = &mut **space;
            for live in aside.values_mut().filter(|live| !live.spec.labels.is_empty()) {
                relabelled.push((live, Labels::new()));
            }
            for (name, live) in pods {
                let labels = wanted.get(&**name).map(|spec| &spec.labels).filter(|labels| **labels != live.spec.labels);
                relabelled.extend(labels.map(|labels| (live, labels.clone())));
            }
        }
        for live in &gone {
            self.shared.forget(live);
        }
        let relabelling =
            relabelled.into_iter().map(|(live, labels)| async move { maker.relabel(live, &labels).await });
        let removing = gone.iter().map(|live| maker.remove(&live.namespace, &live.spec));
        try_join(try_join_all(relabelling), try_join_all(removing)).await?;
        let missing = self
            .spec
            .pods
            .iter()
            .filter(|spec| leases.get(&spec.namespace).is_some_and(|space| !space.pods.contains_key(&spec.name)));
        let missing: Vec<_> = missing.map(|spec| (self.literal(&spec.namespace), spec.clone())).collect();
        if !missing.is_empty() {
            self.shared.events.phase(format!("waiting for {} pods", missing.len()));
        }
        // Pods that start at the same time keep each other from it.
        let count = u32::try_from(missing.len()).unwrap_or(u32::MAX).min(STARTING);
        let _turn = self.shared.starting.acquire_many(count).await;
        match maker.make(&missing).await {
            Ok(made) => made.into_iter().for_each(|live| keep(leases, live)),
            Err(error) => {
                // A pod that got its agent and is not known would be taken for one that waits for it.
                join_all(missing.iter().map(|(namespace, spec)| maker.remove(namespace, spec))).await;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Makes the Services that are not there, or not as they are wanted.
    pub(super) async fn prepare_services(&self, leases: &mut Leases) -> Result<(), LabError> {
        let missing = self
            .spec
            .services
            .iter()
            .filter(|service| leases.get(&service.namespace).is_none_or(|space| !space.services.contains(service)));
        let making = missing.map(|service| async {
            let namespace = self.literal(&service.namespace);
            let body = objects::service(service, &namespace, &self.maker.recipe.run);
            let services = Api::<Service>::namespaced(self.shared.access.client.clone(), &namespace);
            let applied = apply(&services, &body).await;
            applied
                .map(|_| service.clone())
                .map_err(|error| broken(&format!("cannot make the Service `{namespace}/{}`", service.name), &error))
        });
        for made in try_join_all(making).await? {
            if let Some(space) = leases.get_mut(&made.namespace) {
                space.services.retain(|service| service.name != made.name);
                space.services.push(made);
            }
        }
        Ok(())
    }
}

/// Notes a pod that serves.
pub(super) fn keep(leases: &mut Leases, live: LivePod) {
    if let Some(space) = leases.get_mut(&live.spec.namespace) {
        space.pods.insert(live.spec.name.clone(), live);
    }
}
