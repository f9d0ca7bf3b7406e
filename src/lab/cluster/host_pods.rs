//! Pods in their nodes' networks. The ports of a node are there once for all lanes: stages that have such pods, or find
//! some, take turns.

use std::sync::{Arc, PoisonError};

use futures::future::try_join_all;
use tokio::sync::OwnedMutexGuard;

use super::{
    objects::PRIVILEGED,
    pods::LivePod,
    stage::{ClusterStage, Leases},
};
use crate::{
    lab::LabError,
    scenario::{LabSpec, Labels, PodSpec},
};

/// All such pods of the run that are there, whichever stage made them.
#[derive(Debug, Default)]
pub(crate) struct HostPods(Arc<tokio::sync::Mutex<Vec<LivePod>>>);

/// The nodes' ports are one stage's alone, until this is dropped.
pub(crate) type Turn = OwnedMutexGuard<Vec<LivePod>>;

impl HostPods {
    async fn turn(&self) -> Turn {
        Arc::clone(&self.0).lock_owned().await
    }
}

/// The labels of a scenario's namespace: those that it names, and what admits its pods.
pub(super) fn namespace_labels(spec: &LabSpec, logical: &str) -> Labels {
    let labels = spec.namespaces.get(logical).map(|namespace| namespace.labels.clone()).unwrap_or_default();
    admitting(&labels, spec.pods.iter().filter(|pod| pod.namespace == logical))
}

/// The labels of a namespace that has these pods: what admits them is added, unless the scenario sets the level itself.
pub(super) fn admitting<'p>(labels: &Labels, mut pods: impl Iterator<Item = &'p PodSpec>) -> Labels {
    let mut labels = labels.clone();
    if pods.any(|pod| pod.host_network) {
        let (key, level) = PRIVILEGED;
        labels.entry(key.to_owned()).or_insert_with(|| level.to_owned());
    }
    labels
}

impl ClusterStage {
    /// Waits for the nodes' ports, unless the stage has them, and removes what an earlier stage of another lane left on
    /// them.
    pub(super) async fn take_host_ports(&self) -> Result<(), LabError> {
        if self.host_turn.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            return Ok(());
        }
        // Whoever has them waits for nothing that this stage holds: lanes share no namespace.
        let mut turn = self.shared.host_pods.turn().await;
        let (own, others): (Vec<LivePod>, Vec<LivePod>) =
            turn.drain(..).partition(|live| live.namespace == self.literal(&live.spec.namespace));
        *turn = own;
        for live in &others {
            self.shared.forget(live);
        }
        let removing = others.iter().map(|live| self.maker.remove(&live.namespace, &live.spec));
        let removed = try_join_all(removing).await;
        if removed.is_err() {
            turn.extend(others);
        }
        *self.host_turn.lock().unwrap_or_else(PoisonError::into_inner) = Some(turn);
        removed.map(drop)
    }

    /// Notes which pods of the stage are on the nodes' ports now. Where it has none and wants none, others may have them.
    pub(super) fn note_host_pods(&self, leases: &Leases) {
        let mut taken = self.host_turn.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = &mut *taken {
            let live = leases.values().flat_map(|space| space.pods.values());
            **turn = live.filter(|live| live.spec.host_network).cloned().collect();
        }
        if !self.has_host_pods(leases) {
            *taken = None;
        }
    }

    /// Whether the stage has to do with pods in their nodes' networks: its own, or some that an earlier one left to it.
    pub(super) fn has_host_pods(&self, leases: &Leases) -> bool {
        let live = leases.values().flat_map(|space| space.pods.values().map(|live| &live.spec));
        self.spec.pods.iter().chain(live).any(|pod| pod.host_network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::NodeName;

    #[test]
    fn a_namespace_admits_what_is_in_it_unless_the_scenario_knows_better() {
        let pod = |host_network| PodSpec {
            name: "a".to_owned(),
            namespace: "x".to_owned(),
            labels: Labels::new(),
            node: NodeName::Worker,
            ports: Vec::new(),
            host_network,
            owner: None,
            relay: None,
            service_account: None,
        };
        let (own, team) = (Labels::new(), Labels::from([("team".to_owned(), "a".to_owned())]));
        assert_eq!(admitting(&team, [pod(false)].iter()), team);
        assert_eq!(admitting(&own, [pod(false), pod(true)].iter())[PRIVILEGED.0], "privileged");
        let strict = Labels::from([(PRIVILEGED.0.to_owned(), "restricted".to_owned())]);
        assert_eq!(admitting(&strict, [pod(true)].iter()), strict);
    }
}
