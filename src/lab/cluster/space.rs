//! A namespace over the whole run: who has it now, and what is in it. Stages take turns, and find again what they share.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::OwnedMutexGuard;

use super::{apply::ObjectRef, pods::LivePod};
use crate::scenario::{Labels, ServiceSpec};

/// What is in a namespace.
#[derive(Debug, Default)]
pub(crate) struct Space {
    /// The labels that it was last given; none where it was not touched yet.
    pub(crate) labels: Option<Labels>,
    /// All its labels, as the API server has them.
    pub(crate) all_labels: Labels,
    /// Its pods.
    pub(crate) pods: BTreeMap<String, LivePod>,
    /// Its Services. They stay when a stage needs them no more: a name that changes its address is remembered by DNS.
    pub(crate) services: Vec<ServiceSpec>,
    /// The objects that scenarios applied while they had it, wherever those are.
    pub(crate) applied: Vec<ObjectRef>,
}

/// A namespace that a stage has for itself, until this is dropped.
pub(crate) type Lease = OwnedMutexGuard<Space>;

/// All namespaces of a run, by their names in the cluster.
#[derive(Debug, Default)]
pub(crate) struct Spaces(Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<Space>>>>);

impl Spaces {
    /// Waits for a namespace. Whoever needs several takes them in the order of their names.
    pub(crate) async fn lease(&self, name: &str) -> Lease {
        let space =
            Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default());
        space.lock_owned().await
    }

    /// The names that were ever leased.
    pub(crate) fn names(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}
