//! Builds what [`super::topo`] draws: the router, the two nodes, and leaves below and above them.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{task::JoinSet, try_join};

use super::{
    net::{Host, Way},
    safe,
    serve::{self, Log},
    topo::{self, LEAF_DEVICE, NodePlan, PEER_DEVICE, ROUTER_DEVICE, alone, families, family_of, link_local, on_link},
};
use crate::{
    lab::{
        NODE_PORT,
        embedded::{
            DenyBy,
            enforcer::{self, Ruleset},
        },
    },
    scenario::{Family, NodeName},
};

/// A node: it forwards for its pods, judges their traffic, and serves on a port of its own.
pub(super) struct Node {
    pub(super) name: NodeName,
    /// Shared with the pods in its network.
    pub(super) host: Arc<Host>,
    pub(super) log: Log,
    has_rules: AtomicBool,
    servers: JoinSet<()>,
}

impl Node {
    /// What its server says that it is.
    pub(super) fn identity(&self) -> String {
        format!("node/{}", self.name.as_str())
    }

    /// Its side of the plan.
    pub(super) fn plan(&self, family: Family) -> NodePlan {
        topo::node(self.name, family)
    }

    /// Its side of the plan in each family.
    pub(super) fn plans(&self) -> impl Iterator<Item = NodePlan> {
        families().iter().map(|family| self.plan(*family))
    }

    /// Where its pods hang.
    pub(super) fn hub(&self) -> Hub<'_> {
        Hub { host: &self.host, gateways: self.plans().map(|plan| plan.gateway).collect() }
    }

    /// Enforces a ruleset instead of the one before.
    pub(super) async fn enforce(&self, ruleset: &Ruleset, deny_by: DenyBy) -> anyhow::Result<()> {
        let replace = self.has_rules.load(Ordering::Acquire);
        enforcer::load(self.host.nft(), ruleset, topo::NODE_DEVICES, deny_by, replace).await?;
        self.has_rules.store(true, Ordering::Release);
        Ok(())
    }
}

/// What leaves hang on: it forwards for them, and has an address in each family as their gateway.
pub(super) struct Hub<'a> {
    host: &'a Host,
    gateways: Vec<IpAddr>,
}

/// The nodes and the router, joined.
pub(super) struct Backbone {
    pub(super) router: Host,
    pub(super) nodes: [Node; 2],
}

impl Backbone {
    /// Builds it. Nothing has a way to a metadata address before anything is connected.
    pub(super) async fn new() -> anyhow::Result<Self> {
        let [master, worker] = NodeName::ALL;
        let (router, master, worker) = try_join!(closed(), node(master), node(worker))?;
        let backbone = Self { router, nodes: [master, worker] };
        backbone.connect().await?;
        Ok(backbone)
    }

    pub(super) fn node(&self, name: NodeName) -> &Node {
        match name {
            NodeName::Master => &self.nodes[0],
            NodeName::Worker => &self.nodes[1],
        }
    }

    /// Where what is above the router hangs.
    pub(super) fn hub(&self) -> Hub<'_> {
        Hub { host: &self.router, gateways: families().iter().map(|family| topo::router(*family)).collect() }
    }

    async fn connect(&self) -> anyhow::Result<()> {
        let [master, worker] = &self.nodes;
        master.host.cable(PEER_DEVICE, &worker.host, PEER_DEVICE).await?;
        for node in &self.nodes {
            node.host.cable(ROUTER_DEVICE, &self.router, node.name.as_str()).await?;
        }
        for family in families() {
            self.connect_over(*family).await?;
        }
        Ok(())
    }

    async fn connect_over(&self, family: Family) -> anyhow::Result<()> {
        self.router.address("lo", alone(topo::router(family))).await?;
        for node in &self.nodes {
            let NodePlan { address, uplink, router, gateway, pods } = node.plan(family);
            let below = node.name.as_str();
            let (router_host, host) = (&self.router, &*node.host);
            for (host, device, own) in
                [(router_host, below, router), (host, PEER_DEVICE, address), (host, ROUTER_DEVICE, uplink)]
            {
                host.address(device, on_link(own)).await?;
                if let Some(beside) = link_local(own) {
                    host.address(device, alone(beside)).await?;
                }
            }
            node.host.address("lo", alone(gateway)).await?;
            for to in [pods, alone(address), alone(gateway)] {
                self.router.route(Way { to, via: Some(uplink), dev: below }, None).await?;
            }
        }
        for node in &self.nodes {
            let (own, peer) = (node.plan(family), topo::node(topo::other(node.name), family));
            node.host.route(Way { to: peer.pods, via: Some(peer.address), dev: PEER_DEVICE }, None).await?;
            node.host.route(Way { to: alone(peer.uplink), via: Some(peer.address), dev: PEER_DEVICE }, None).await?;
            let up = Way { to: topo::anywhere(family), via: Some(own.router), dev: ROUTER_DEVICE };
            node.host.route(up, None).await?;
            // Addresses of pods that are gone must not go round in circles.
            node.host.unreachable(own.pods).await?;
        }
        Ok(())
    }
}

/// A namespace from which no metadata address can be reached.
pub(super) async fn closed() -> anyhow::Result<Host> {
    let host = Host::new().await?;
    safe::fail_closed(&host).await?;
    Ok(host)
}

async fn node(name: NodeName) -> anyhow::Result<Node> {
    let host = Arc::new(closed().await?);
    let log = Log::default();
    let listener = host.listen(NODE_PORT).await?;
    let servers = JoinSet::new();
    let mut node = Node { name, host, log, has_rules: AtomicBool::new(false), servers };
    let identity = node.identity();
    serve::serve(&mut node.servers, vec![listener], &identity, serve::echo(&identity), &node.log);
    Ok(node)
}

/// Hangs a namespace on a hub, by a link without a subnet: all that it sends goes to the gateway.
pub(super) async fn hang(leaf: &Host, addresses: &[IpAddr], hub: &Hub<'_>, device: &str) -> anyhow::Result<()> {
    hub.host.cable(device, leaf, LEAF_DEVICE).await?;
    for gateway in &hub.gateways {
        let family = family_of(*gateway);
        let own: Vec<IpAddr> = addresses.iter().copied().filter(|address| family_of(*address) == family).collect();
        if own.is_empty() {
            continue;
        }
        let next = if let Some(on_this_link) = link_local(*gateway) {
            hub.host.address(device, alone(on_this_link)).await?;
            on_this_link
        } else {
            leaf.route(Way { to: alone(*gateway), via: None, dev: LEAF_DEVICE }, None).await?;
            *gateway
        };
        for address in own {
            leaf.address(LEAF_DEVICE, alone(address)).await?;
            hub.host.route(Way { to: alone(address), via: None, dev: device }, Some(*gateway)).await?;
        }
        leaf.route(Way { to: topo::anywhere(family), via: Some(next), dev: LEAF_DEVICE }, None).await?;
    }
    Ok(())
}
