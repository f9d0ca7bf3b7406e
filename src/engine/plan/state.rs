//! What a scenario's steps make of a world: policies, labels, pods.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::api::networking::v1::NetworkPolicy;

use super::{PlanError, addressed, cluster, error::Fault, reference::short, world};
use crate::{
    lab::{World, WorldPod},
    policy::{Cluster, literalise},
    scenario::{LabelAction, Labels, LoadedScenario, Manifest, PodSpec, Scenario, Step},
};

/// The state of a cluster between two steps, as it must be if everything works.
#[derive(Clone, Debug)]
pub struct ClusterState {
    world: World,
    /// By namespace and name, both literal.
    policies: BTreeMap<(String, String), Arc<NetworkPolicy>>,
    /// Objects that are applied and not modelled, by kind, namespace and name.
    unmodelled: BTreeSet<(String, String, String)>,
    /// How many pods were made after the start, for their made-up addresses.
    made: usize,
}

impl ClusterState {
    /// The state before the first step.
    #[must_use]
    pub fn new(world: World) -> Self {
        Self { world, policies: BTreeMap::new(), unmodelled: BTreeSet::new(), made: 0 }
    }

    /// The world as it is now. Pods that steps made have made-up addresses.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }

    /// What the simulator judges.
    #[must_use]
    pub fn cluster(&self) -> Cluster {
        cluster(&self.world, self.policies.values().cloned().collect())
    }

    /// Whether everything that is applied now is modelled by the simulator.
    #[must_use]
    pub fn is_modelled(&self) -> bool {
        self.unmodelled.is_empty()
    }

    /// Takes a step's actions, in their order: apply, delete, label, create, recreate. Applying an object again
    /// replaces it, as a server-side apply by one owner does.
    pub fn advance(&mut self, loaded: &LoadedScenario, step: &Step) -> Result<(), PlanError> {
        self.act(loaded, step).map_err(|fault| fault.in_step(&step.name))
    }

    fn act(&mut self, loaded: &LoadedScenario, step: &Step) -> Result<(), Fault> {
        for file in &step.apply {
            for manifest in manifests(loaded, file)? {
                let manifest = addressed(&loaded.scenario, manifest, &self.world)?;
                self.apply(&manifest);
            }
        }
        for file in &step.delete {
            manifests(loaded, file)?.iter().for_each(|manifest| self.delete(manifest));
        }
        for action in &step.label {
            relabel(self.labels(&loaded.scenario, action)?, action);
        }
        for spec in &step.create {
            if self.world.pods.iter().any(|pod| is(pod, &spec.namespace, &spec.name)) {
                return Err(Fault::new(format!("the pod `{}` is already there", short(&spec.namespace, &spec.name))));
            }
            let pod = self.make(spec);
            self.world.pods.push(pod);
        }
        for word in &step.recreate {
            let index = self.position(&loaded.scenario, word)?;
            let mut spec = self.world.pods[index].spec.clone();
            if spec.owner.is_some() {
                // Its owner makes it as it was made before.
                spec.labels.clone_from(&loaded.scenario.pod(word)?.labels);
            }
            self.world.pods[index] = self.make(&spec);
        }
        Ok(())
    }

    fn apply(&mut self, manifest: &Manifest) {
        let raw = literalise(manifest.raw.clone(), &self.world.namespaces);
        let policy = manifest.policy.as_ref().and_then(|_| serde_json::from_value::<NetworkPolicy>(raw).ok());
        match policy {
            Some(policy) => _ = self.policies.insert(self.key(manifest), Arc::new(policy)),
            None if manifest.is_inert() => {}
            None => _ = self.unmodelled.insert(object(manifest)),
        }
    }

    fn delete(&mut self, manifest: &Manifest) {
        self.policies.remove(&self.key(manifest));
        self.unmodelled.remove(&object(manifest));
    }

    fn key(&self, manifest: &Manifest) -> (String, String) {
        let namespace = self.world.namespaces.get(&manifest.namespace);
        let literal = namespace.map_or(&manifest.namespace, |namespace| &namespace.literal);
        (literal.clone(), manifest.name.clone())
    }

    fn labels(&mut self, scenario: &Scenario, action: &LabelAction) -> Result<&mut Labels, Fault> {
        match (&action.pod, &action.namespace) {
            (Some(word), None) => {
                let hint =
                    "labels are changed before pods are created: create it with them, or change them a step later";
                let index = self.position(scenario, word).map_err(|fault| fault.hint(hint))?;
                Ok(&mut self.world.pods[index].spec.labels)
            }
            (None, Some(name)) => self
                .world
                .namespaces
                .get_mut(name)
                .map(|namespace| &mut namespace.labels)
                .ok_or_else(|| Fault::new(format!("there is no namespace `{name}`"))),
            _ => Err(Fault::new("a `label` action names either a `pod` or a `namespace`")),
        }
    }

    fn position(&self, scenario: &Scenario, word: &str) -> Result<usize, Fault> {
        let PodSpec { namespace, name, .. } = scenario.pod(word)?;
        self.world
            .pods
            .iter()
            .position(|pod| is(pod, namespace, name))
            .ok_or_else(|| Fault::new(format!("the pod `{word}` is not there in this step")))
    }

    fn make(&mut self, spec: &PodSpec) -> WorldPod {
        self.made += 1;
        // Beyond the addresses of the pods that were there from the start.
        world::pod(spec, 2000 + self.made)
    }
}

fn manifests<'a>(loaded: &'a LoadedScenario, file: &str) -> Result<&'a [Arc<Manifest>], Fault> {
    loaded.manifests.get(file).map(Vec::as_slice).ok_or_else(|| Fault::new(format!("there is no manifest `{file}`")))
}

fn object(manifest: &Manifest) -> (String, String, String) {
    (manifest.kind.clone(), manifest.namespace.clone(), manifest.name.clone())
}

fn is(pod: &WorldPod, namespace: &str, name: &str) -> bool {
    pod.spec.namespace == namespace && pod.spec.name == name
}

fn relabel(labels: &mut Labels, action: &LabelAction) {
    labels.extend(action.set.clone());
    labels.retain(|key, _| !action.remove.contains(key));
}
