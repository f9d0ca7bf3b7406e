//! A namespace over the whole run: who has it now, and what is in it. Stages take turns, and find again what they share.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::OwnedMutexGuard;

use super::{apply::ObjectRef, pods::LivePod};
use crate::scenario::{Labels, PodSpec, ServiceSpec};

/// What is in a namespace.
#[derive(Debug, Default)]
pub(crate) struct Space {
    /// The labels that it was last given; none where it was not touched yet.
    pub(crate) labels: Option<Labels>,
    /// All its labels, as the API server has them.
    pub(crate) all_labels: Labels,
    /// Its pods, by their names in scenarios.
    pub(crate) pods: BTreeMap<String, LivePod>,
    /// Pods that an earlier stage had and this one has no use for. They have no labels by which anybody selects them.
    pub(crate) aside: BTreeMap<String, LivePod>,
    /// Its Services. They stay when a stage needs them no more: a name that changes its address is remembered by DNS.
    pub(crate) services: Vec<ServiceSpec>,
    /// The objects that scenarios applied while they had it, wherever those are.
    pub(crate) applied: Vec<ObjectRef>,
}

/// Pods that are put aside in a namespace, at most.
const ASIDE: usize = 12;

impl Space {
    /// Sorts the pods into those that are wanted, as far as their labels go not yet with those that they should have, and
    /// those that are put aside; what is left is of no use to anybody.
    pub(crate) fn sort_out(
        &mut self,
        wanted: &BTreeMap<&str, &PodSpec>,
        running: &BTreeSet<String>,
        relays_to: Option<SocketAddr>,
    ) -> Vec<LivePod> {
        let mut useless = Vec::new();
        let all = std::mem::take(&mut self.pods).into_iter().chain(std::mem::take(&mut self.aside));
        for (name, live) in all {
            let is_same = |spec: &PodSpec| PodSpec { labels: live.spec.labels.clone(), ..spec.clone() } == live.spec;
            match wanted.get(&*name) {
                _ if !running.contains(&live.uid) => useless.push(live),
                _ if live.relays_to.is_some() && live.relays_to != relays_to => useless.push(live),
                Some(spec) if is_same(spec) => drop(self.pods.insert(name, live)),
                // A pod in its node's network would keep the node's ports from others.
                None if self.aside.len() < ASIDE && !live.spec.host_network => drop(self.aside.insert(name, live)),
                _ => useless.push(live),
            }
        }
        useless
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::NodeName;

    fn pod(name: &str, node: NodeName) -> PodSpec {
        let (name, namespace) = (name.to_owned(), "x".to_owned());
        PodSpec {
            name,
            namespace,
            labels: Labels::new(),
            node,
            ports: Vec::new(),
            host_network: false,
            relay: None,
            owner: None,
            service_account: None,
        }
    }

    #[test]
    fn a_pod_in_its_nodes_network_is_not_put_aside() {
        let host = PodSpec { host_network: true, ..pod("host", NodeName::Master) };
        let mut space = Space { pods: [live(host)].into(), ..Space::default() };
        let useless = space.sort_out(&BTreeMap::new(), &["uid-host".to_owned()].into(), None);
        assert_eq!((useless.len(), space.aside.len()), (1, 0));
    }

    fn live(spec: PodSpec) -> (String, LivePod) {
        let (name, namespace) = (spec.name.clone(), "lane-x".to_owned());
        let (uid, template, addresses) = (format!("uid-{name}"), Labels::new(), Vec::new());
        (name.clone(), LivePod { spec, namespace, name, template, uid, addresses, relays_to: None })
    }

    #[test]
    fn a_pod_that_passes_connections_on_is_used_again_where_they_go_to_the_same_place() {
        let spec = PodSpec { relay: Some(3128), ..pod("proxy", NodeName::Master) };
        let wanted = [("proxy", &spec)].into();
        let there = |host: u8| Some(SocketAddr::from(([192, 0, 2, host], 80)));
        let useless = |relays_to| {
            let (name, relay) = live(spec.clone());
            let mut space =
                Space { pods: [(name, LivePod { relays_to: there(1), ..relay })].into(), ..Space::default() };
            space.sort_out(&wanted, &["uid-proxy".to_owned()].into(), relays_to).len()
        };
        assert_eq!([there(1), there(2), None].map(useless), [0, 1, 1]);
    }

    #[test]
    fn a_pod_is_used_again_put_aside_or_useless() {
        let (a, b, c, d) = ("a", "b", "c", "d");
        let mut space = Space {
            pods: [a, b, c].map(|name| live(pod(name, NodeName::Master))).into(),
            aside: [live(pod(d, NodeName::Master))].into(),
            ..Space::default()
        };
        let labels = [("app".to_owned(), "d".to_owned())].into();
        let wanted = [pod(b, NodeName::Worker), PodSpec { labels, ..pod(d, NodeName::Master) }];
        let wanted = wanted.iter().map(|spec| (&*spec.name, spec)).collect();
        let running = ["uid-a", "uid-b", "uid-d"].map(str::to_owned).into();
        let useless = space.sort_out(&wanted, &running, None);
        assert_eq!(space.pods.keys().collect::<Vec<_>>(), [d], "it differs in labels alone");
        assert_eq!(space.aside.keys().collect::<Vec<_>>(), [a], "nobody wants it now");
        let useless: Vec<_> = useless.iter().map(|live| &*live.name).collect();
        assert_eq!(useless, [b, c], "one belongs on another node, one has ended");
    }
}
