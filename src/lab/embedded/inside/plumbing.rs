//! Builds what [`super::topo`] draws: the router, the two nodes, and leaves below and above them.

use std::{
    net::Ipv4Addr,
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
    topo::{self, LEAF_DEVICE, LINK_LENGTH, NodePlan, PEER_DEVICE, ROUTER_DEVICE},
};
use crate::{
    lab::{
        NODE_PORT,
        embedded::{
            DenyBy,
            enforcer::{self, Ruleset},
        },
    },
    scenario::NodeName,
};

/// A node: it forwards for its pods, judges their traffic, and serves on a port of its own.
pub(super) struct Node {
    pub(super) name: NodeName,
    /// Shared with the pods in its network.
    pub(super) host: Arc<Host>,
    pub(super) plan: NodePlan,
    pub(super) log: Log,
    has_rules: AtomicBool,
    servers: JoinSet<()>,
}

impl Node {
    /// What its server says that it is.
    pub(super) fn identity(&self) -> String {
        format!("node/{}", self.name.as_str())
    }

    /// Enforces a ruleset instead of the one before.
    pub(super) async fn enforce(&self, ruleset: &Ruleset, deny_by: DenyBy) -> anyhow::Result<()> {
        let replace = self.has_rules.load(Ordering::Acquire);
        enforcer::load(self.host.nft(), ruleset, topo::NODE_DEVICES, deny_by, replace).await?;
        self.has_rules.store(true, Ordering::Release);
        Ok(())
    }
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

    async fn connect(&self) -> anyhow::Result<()> {
        let [master, worker] = &self.nodes;
        master.host.cable(PEER_DEVICE, &worker.host, PEER_DEVICE).await?;
        self.router.address("lo", topo::ROUTER, 32).await?;
        for node in &self.nodes {
            let NodePlan { address, uplink, router, gateway, pods, .. } = node.plan;
            let below = node.name.as_str();
            node.host.cable(ROUTER_DEVICE, &self.router, below).await?;
            self.router.address(below, router, LINK_LENGTH).await?;
            node.host.address(PEER_DEVICE, address, LINK_LENGTH).await?;
            node.host.address(ROUTER_DEVICE, uplink, LINK_LENGTH).await?;
            node.host.address("lo", gateway, 32).await?;
            for to in [pods, (address, 32), (gateway, 32)] {
                self.router.route(Way { to, via: Some(uplink), dev: below }, None).await?;
            }
        }
        for node in &self.nodes {
            let peer = topo::node(topo::other(node.name));
            let (anywhere, up) = ((Ipv4Addr::UNSPECIFIED, 0), Some(node.plan.router));
            node.host.route(Way { to: peer.pods, via: Some(peer.address), dev: PEER_DEVICE }, None).await?;
            node.host.route(Way { to: (peer.uplink, 32), via: Some(peer.address), dev: PEER_DEVICE }, None).await?;
            node.host.route(Way { to: anywhere, via: up, dev: ROUTER_DEVICE }, None).await?;
            // Addresses of pods that are gone must not go round in circles.
            node.host.unreachable((node.plan.pods.0.into(), node.plan.pods.1)).await?;
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
    let plan = topo::node(name);
    let log = Log::default();
    let listener = host.listen(NODE_PORT).await?;
    let servers = JoinSet::new();
    let mut node = Node { name, host, plan, log, has_rules: AtomicBool::new(false), servers };
    let identity = node.identity();
    serve::serve(&mut node.servers, vec![listener], &identity, serve::echo(&identity), &node.log);
    Ok(node)
}

/// Hangs a namespace on a hub, by a link without a subnet: all that it sends goes to the gateway.
pub(super) async fn hang(
    leaf: &Host,
    address: Ipv4Addr,
    hub: &Host,
    device: &str,
    gateway: Ipv4Addr,
) -> anyhow::Result<()> {
    hub.cable(device, leaf, LEAF_DEVICE).await?;
    leaf.address(LEAF_DEVICE, address, 32).await?;
    leaf.route(Way { to: (gateway, 32), via: None, dev: LEAF_DEVICE }, None).await?;
    leaf.route(Way { to: (Ipv4Addr::UNSPECIFIED, 0), via: Some(gateway), dev: LEAF_DEVICE }, None).await?;
    hub.route(Way { to: (address, 32), via: None, dev: device }, Some(gateway)).await
}
