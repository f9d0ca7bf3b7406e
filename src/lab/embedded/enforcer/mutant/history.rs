//! Faults about changes: what a mutant believes of the cluster, given all that it has seen since its stage began.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::networking::v1::NetworkPolicy;

use super::{super::Cluster, Mutant};
use crate::scenario::Labels;

/// A namespace and a name.
type Key = (String, String);

/// What a mutant has seen. Each call of [`Memory::believe`] is one look at the cluster.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Memory {
    looks: u64,
    /// Every policy as it was when it was last seen, with the look at which it became so.
    policies: BTreeMap<Key, (u64, NetworkPolicy)>,
    /// Every policy as it was when it was first seen.
    first_policies: BTreeMap<Key, NetworkPolicy>,
    /// Those that are gone although nobody deleted them.
    lost: BTreeSet<Key>,
    /// Those that were there at the last look.
    present: BTreeSet<Key>,
    /// Every pod as it was when it was first seen, with that look.
    pods: BTreeMap<Key, (u64, super::super::Pod)>,
    /// Every label that a pod ever had.
    labels: BTreeMap<Key, Labels>,
    namespaces: BTreeMap<String, Labels>,
}

impl Memory {
    /// What a mutant takes the cluster to be.
    pub(in super::super) fn believe(&mut self, mutant: Mutant, real: &Cluster) -> Cluster {
        self.look(real);
        let mut cluster = real.clone();
        match mutant {
            Mutant::ForgetsDeletion => cluster.policies = self.policies.values().map(|(_, it)| it.clone()).collect(),
            Mutant::ForgetsUpdate => cluster.policies.iter_mut().for_each(|policy| {
                if let Some(first) = self.first_policies.get(&key_of(policy)) {
                    policy.clone_from(first);
                }
            }),
            Mutant::EqualPoliciesGoTogether => cluster.policies.retain(|policy| !self.lost.contains(&key_of(policy))),
            Mutant::SameNameReplaces => self.newest(&mut cluster, |one, other| one.1 == other.1),
            Mutant::NewestPolicyOnly => self.newest(&mut cluster, |one, other| one.0 == other.0),
            Mutant::IgnoresNamespaceRelabelling => cluster.namespaces.extend(self.namespaces.clone()),
            _ => self.pods(mutant, &mut cluster),
        }
        cluster
    }

    fn pods(&self, mutant: Mutant, cluster: &mut Cluster) {
        for pod in &mut cluster.pods {
            let key = (pod.namespace.clone(), pod.name.clone());
            let Some((since, first)) = self.pods.get(&key) else { continue };
            match mutant {
                Mutant::IgnoresPodRelabelling => pod.labels.clone_from(&first.labels),
                Mutant::KeepsRemovedLabels => {
                    let mut labels = self.labels.get(&key).cloned().unwrap_or_default();
                    labels.extend(pod.labels.clone());
                    pod.labels = labels;
                }
                Mutant::KeepsOldAddress => pod.addresses.clone_from(&first.addresses),
                // In no namespace that any policy or selector knows.
                Mutant::LaterPodsUnknown if *since > 1 => {
                    pod.namespace.clear();
                    pod.addresses.clear();
                }
                _ => {}
            }
        }
    }

    /// How often the cluster was looked at.
    pub(super) fn looks(&self) -> u32 {
        u32::try_from(self.looks).unwrap_or(u32::MAX)
    }

    /// Whether a pod was not there at the start.
    pub(super) fn is_later(&self, namespace: &str, name: &str) -> bool {
        self.pods.get(&(namespace.to_owned(), name.to_owned())).is_some_and(|(since, _)| *since > 1)
    }

    /// Whether a pod was not there at the start, and is seen for the first time.
    pub(super) fn is_new(&self, namespace: &str, name: &str) -> bool {
        let since = self.pods.get(&(namespace.to_owned(), name.to_owned())).map(|(since, _)| *since);
        self.looks > 1 && since == Some(self.looks)
    }

    fn look(&mut self, real: &Cluster) {
        self.looks += 1;
        let present: BTreeSet<Key> = real.policies.iter().map(key_of).collect();
        for gone in self.present.difference(&present) {
            let Some((_, gone_policy)) = self.policies.get(gone) else { continue };
            let equal = |key: &&Key| {
                let other = self.policies.get(key).map(|(_, policy)| policy);
                key.0 == gone.0 && other.is_some_and(|other| other.spec == gone_policy.spec)
            };
            self.lost.extend(present.iter().filter(equal).cloned());
        }
        for policy in &real.policies {
            let key = key_of(policy);
            let is_same = self.policies.get(&key).is_some_and(|(_, before)| before.spec == policy.spec);
            if !is_same || !self.present.contains(&key) {
                self.lost.remove(&key);
                self.policies.insert(key.clone(), (self.looks, policy.clone()));
            }
            if !self.present.contains(&key) {
                self.first_policies.insert(key, policy.clone());
            }
        }
        self.present = present;
        for pod in &real.pods {
            let key = (pod.namespace.clone(), pod.name.clone());
            self.labels.entry(key.clone()).or_default().extend(pod.labels.clone());
            self.pods.entry(key).or_insert_with(|| (self.looks, pod.clone()));
        }
        for (name, labels) in &real.namespaces {
            self.namespaces.entry(name.clone()).or_insert_with(|| labels.clone());
        }
    }

    /// Leaves of those that are alike only the newest; of those that came together, the last by name.
    fn newest(&self, cluster: &mut Cluster, alike: impl Fn(&Key, &Key) -> bool) {
        let since = |key: &Key| self.policies.get(key).map_or(0, |(since, _)| *since);
        // Also one that was deleted has replaced those before it.
        let replaced = |key: &Key| {
            self.policies.keys().any(|other| alike(key, other) && (since(other), other) > (since(key), key))
        };
        cluster.policies.retain(|policy| !replaced(&key_of(policy)));
    }
}

fn key_of(policy: &NetworkPolicy) -> Key {
    let metadata = &policy.metadata;
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}
