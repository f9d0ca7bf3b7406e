//! The metadata servers of a lab: the usual one off the nodes, for all scenarios that ask for nothing special, and those
//! that a scenario asks for instead: set up otherwise, on the nodes, or behind a rule of theirs.
//!
//! A node has each address once, so that stages that ask for different servers take turns: whoever comes waits until all
//! who have another one are done. What a turn has changed is undone by the next that needs something else, and at the end.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use futures::future::{join_all, try_join_all};
use tokio::{
    sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock},
    time::timeout,
};

use super::{
    emulator::{CLOUDS, Emulator},
    node::NodePlace,
    on_node::{self, NodeServer, Plan},
    routes,
};
use crate::{
    lab::{
        LabError, WorldMetadata,
        cluster::{MetadataLease, Shell},
    },
    metadata::Imds,
    scenario::{Cloud, MetadataServerSpec, NodeName, Topology},
};

/// How long the end of the run waits for a stage that still has its turn.
const PATIENCE: Duration = Duration::from_secs(30);

/// The servers of a run. Clones share them.
#[derive(Clone)]
pub(crate) struct MetadataServers(Arc<Inner>);

struct Inner {
    run: String,
    network: String,
    /// The containers of all nodes.
    nodes: Vec<String>,
    /// Those that pods are on.
    roles: BTreeMap<NodeName, String>,
    now: Arc<RwLock<Now>>,
}

/// What there is now.
struct Now {
    /// The usual emulator.
    usual: Arc<Emulator>,
    /// What is there in its place.
    special: Option<Special>,
    /// Whether that is there as a whole, and nothing else.
    is_settled: bool,
    off: Option<Emulator>,
    on: Vec<NodeServer>,
}

/// What the usual emulator is not.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Special {
    cloud: Cloud,
    spec: MetadataServerSpec,
}

impl Special {
    fn of(cloud: Cloud, spec: &MetadataServerSpec) -> Option<Self> {
        // What its cloud does not have makes no other server: there is the less to wait for.
        let has = |clouds: &[Cloud]| clouds.contains(&cloud);
        let spec = MetadataServerSpec {
            imds: if has(&[Cloud::Aws, Cloud::Alibaba]) { spec.imds } else { Imds::default() },
            hop_limit: spec.hop_limit.filter(|_| has(&[Cloud::Aws])),
            ..spec.clone()
        };
        (!spec.is_usual() || !has(CLOUDS)).then_some(Self { cloud, spec })
    }

    /// Whether it needs an emulator of its own off the nodes.
    fn is_off(&self) -> bool {
        let rest = MetadataServerSpec { topology: Topology::Routed, ..self.spec.clone() };
        self.spec.topology != Topology::OnNode && Self::of(self.cloud, &rest).is_some()
    }

    fn is_on(&self) -> bool {
        self.spec.topology != Topology::Routed
    }
}

impl Now {
    fn is(&self, wanted: Option<&Special>) -> bool {
        self.is_settled && self.special.as_ref() == wanted
    }

    /// The server, as a stage sees it.
    fn world(&self, cloud: Cloud) -> WorldMetadata {
        let mut addresses = cloud.definition().addresses();
        addresses.retain(|address| self.emulator().way(*address).is_some());
        let topology = self.special.as_ref().map(|special| special.spec.topology).unwrap_or_default();
        WorldMetadata { cloud, addresses, identity: self.emulator().identity.clone(), topology }
    }

    /// The emulator to which the nodes' routes lead.
    fn emulator(&self) -> &Emulator {
        self.off.as_ref().unwrap_or(&self.usual)
    }
}

impl MetadataServers {
    /// The usual emulator alone, to which the nodes' routes lead.
    pub(super) fn new(
        run: &str,
        network: String,
        nodes: Vec<String>,
        roles: BTreeMap<NodeName, String>,
        usual: Arc<Emulator>,
    ) -> Self {
        let now = Now { usual, special: None, is_settled: true, off: None, on: Vec::new() };
        Self(Arc::new(Inner { run: run.to_owned(), network, nodes, roles, now: Arc::new(RwLock::new(now)) }))
    }

    /// The server that is asked for, as soon as nobody has another one.
    pub(super) async fn lease(&self, cloud: Cloud, spec: &MetadataServerSpec) -> Result<MetadataLease, LabError> {
        let (inner, wanted) = (Arc::clone(&self.0), Special::of(cloud, spec));
        // In a task of its own: what is given up half-way would leave containers that nobody knows of.
        let turn = tokio::spawn(async move { inner.turn(wanted).await });
        let turn = turn.await.map_err(|error| LabError::from(anyhow::Error::new(error)))??;
        let world = turn.world(cloud);
        let mut controls = Vec::new();
        if world.topology != Topology::OnNode {
            controls.push((NodeName::Master, turn.emulator().control()));
        }
        if world.topology != Topology::Routed {
            controls.extend(self.0.roles.keys().map(|node| (*node, NodeServer::control())));
        }
        Ok(MetadataLease { world, controls, _turn: Box::new(turn) })
    }

    /// Takes back what was changed on nodes that stay, and ends what is there beside the usual emulator.
    pub(super) async fn end(&self, nodes_stay: bool) -> Result<(), LabError> {
        let waited = timeout(PATIENCE, Arc::clone(&self.0.now).write_owned()).await;
        let mut now = waited.context("a stage still uses the metadata server")?;
        if nodes_stay && !now.is(None) { self.0.restore(&mut now).await } else { now.remove().await }
    }
}

impl Now {
    /// Ends what is there beside the usual emulator.
    async fn remove(&mut self) -> Result<(), LabError> {
        let on = join_all(std::mem::take(&mut self.on).into_iter().map(NodeServer::remove)).await;
        let off = match self.off.take() {
            Some(emulator) => emulator.remove().await,
            None => Ok(()),
        };
        on.into_iter().chain([off]).collect()
    }
}

impl Inner {
    /// Waits until there is what is wanted, or until it can be made.
    async fn turn(&self, wanted: Option<Special>) -> Result<OwnedRwLockReadGuard<Now>, LabError> {
        let now = Arc::clone(&self.now).read_owned().await;
        if now.is(wanted.as_ref()) {
            return Ok(now);
        }
        drop(now);
        let mut now = Arc::clone(&self.now).write_owned().await;
        // Somebody who wants the same may have been before.
        if !now.is(wanted.as_ref()) {
            self.restore(&mut now).await?;
            if let Some(special) = wanted {
                self.make(&mut now, special).await?;
            }
        }
        Ok(OwnedRwLockWriteGuard::downgrade(now))
    }

    /// Makes what is wanted in place of the usual. Where this fails, what is there is undone by the next turn.
    async fn make(&self, now: &mut Now, special: Special) -> Result<(), LabError> {
        now.is_settled = false;
        let mut identity = now.usual.identity.clone();
        if special.is_off() {
            identity = format!("{identity}/{}", special.cloud);
            let name = format!("pp-{}-metadata-{}", self.run, special.cloud);
            let server = (vec![special.cloud], identity.clone(), &special.spec);
            let emulator = Emulator::start(&self.run, &name, &self.network, server).await?;
            let emulator = now.off.insert(emulator);
            self.open(emulator).await?;
        }
        if special.is_on() {
            let starting = self.roles.iter().map(|(node, container)| {
                let identity = format!("{identity}/{}", node.as_str());
                Plan { run: &self.run, node: container, identity, cloud: special.cloud, spec: &special.spec }.start()
            });
            let mut failed = None;
            for started in join_all(starting).await {
                match started {
                    Ok(server) => now.on.push(server),
                    Err(error) => failed = Some(error),
                }
            }
            if let Some(error) = failed {
                return Err(error);
            }
        }
        now.special = Some(special);
        now.is_settled = true;
        Ok(())
    }

    /// Undoes whatever was made, and leads everybody to the usual emulator again.
    async fn restore(&self, now: &mut Now) -> Result<(), LabError> {
        now.is_settled = false;
        try_join_all(self.nodes.iter().map(|node| on_node::clear(node))).await?;
        if let Some(off) = &now.off {
            let (places, kept) = (off.places(), now.usual.places());
            let is_kept = |address: IpAddr| kept.iter().any(|place| place.ip() == address);
            let stale: Vec<IpAddr> = places.iter().map(SocketAddr::ip).filter(|own| !is_kept(*own)).collect();
            try_join_all(self.nodes.iter().map(|node| async {
                let mut shell = Shell::new(Arc::new(NodePlace { container: node.clone() }));
                routes::forget(node, &mut shell, &stale).await
            }))
            .await?;
            self.open(&now.usual).await?;
        }
        now.remove().await?;
        (now.special, now.is_settled) = (None, true);
        Ok(())
    }

    /// Leads all nodes to an emulator.
    async fn open(&self, emulator: &Emulator) -> Result<(), LabError> {
        let opening = self.nodes.iter().map(|node| async {
            let mut shell = Shell::new(Arc::new(NodePlace { container: node.clone() }));
            routes::open(node, &mut shell, emulator).await
        });
        try_join_all(opening).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_usual_emulator_is_not_needs_another_one() {
        let of = |cloud, topology, hop_limit| {
            let spec = MetadataServerSpec { topology, hop_limit, ..MetadataServerSpec::default() };
            Special::of(cloud, &spec).map(|special| (special.is_off(), special.is_on()))
        };
        assert_eq!(of(Cloud::Aws, Topology::Routed, None), None);
        assert_eq!(of(Cloud::Aws, Topology::Routed, Some(1)), Some((true, false)));
        assert_eq!(of(Cloud::Gke, Topology::Routed, None), Some((true, false)));
        assert_eq!(of(Cloud::Aws, Topology::OnNode, Some(1)), Some((false, true)));
        assert_eq!(of(Cloud::Aws, Topology::Dnat, None), Some((false, true)));
        assert_eq!(of(Cloud::Gke, Topology::Dnat, None), Some((true, true)));
        let token = MetadataServerSpec { imds: Imds::V2, ..MetadataServerSpec::default() };
        assert_eq!(of(Cloud::Azure, Topology::Routed, Some(1)), None, "it has no such setting");
        assert_ne!(Special::of(Cloud::Aws, &token), Special::of(Cloud::Alibaba, &token));
    }
}
