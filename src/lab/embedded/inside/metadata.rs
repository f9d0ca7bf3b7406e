//! The metadata server of a stage: above the router, on the nodes, or behind a rule of theirs.

use std::{net::IpAddr, sync::Arc};

use tokio::{net::TcpListener, sync::Mutex, task::JoinSet};

use super::{
    net::{Host, Way},
    plumbing::{self, Backbone},
    serve::{self, Log},
    topo,
};
use crate::{
    http::Handler,
    lab::{WorldMetadata, embedded::enforcer},
    scenario::{Cloud, LabSpec, MetadataServerSpec, NodeName, Topology},
};

/// The metadata server, or one on each node.
pub(super) struct Metadata {
    cloud: Cloud,
    spec: MetadataServerSpec,
    identity: String,
    /// Its addresses, the usual one first.
    pub(super) addresses: Vec<IpAddr>,
    pub(super) log: Log,
    /// Where it is when it is above the router.
    host: Option<Host>,
    servers: Mutex<JoinSet<()>>,
}

impl Metadata {
    /// Starts the server that a stage asks for, if it does.
    pub(super) async fn start(lab: &LabSpec, run: &str, backbone: &Backbone) -> anyhow::Result<Option<Self>> {
        let Some(cloud) = lab.metadata else { return Ok(None) };
        let (spec, addresses) = (lab.metadata_server.clone(), serve::addresses(cloud));
        let host = if spec.topology == Topology::OnNode { None } else { Some(above(&addresses, backbone).await?) };
        let identity = serve::metadata_identity(cloud, run);
        let made = Self { cloud, spec, identity, addresses, log: Log::default(), host, servers: Mutex::default() };
        for node in &backbone.nodes {
            match made.spec.topology {
                Topology::Routed => {}
                Topology::OnNode => {
                    for address in &made.addresses {
                        node.host.address("lo", topo::alone(*address)).await?;
                    }
                }
                Topology::Dnat => {
                    let agents: Vec<_> = node.plans().map(|plan| plan.gateway).collect();
                    let (from, port) = (serve::endpoints(cloud), topo::METADATA_AGENT_PORT);
                    enforcer::redirect(node.host.nft(), topo::POD_DEVICES, &from, (&agents, port)).await?;
                }
            }
        }
        made.serve(|identity| (identity.to_owned(), serve::metadata(cloud, &made.spec, run)), backbone).await?;
        Ok(Some(made))
    }

    /// Serves in all places, in each as who is named for it.
    async fn serve(
        &self,
        server: impl Fn(&str) -> (String, Arc<dyn Handler>),
        backbone: &Backbone,
    ) -> anyhow::Result<()> {
        let mut servers = self.servers.lock().await;
        let ports = serve::ports(self.cloud);
        if let Some(host) = &self.host {
            let (identity, handler) = server(&self.identity);
            serve::serve(&mut servers, listeners(host, &ports).await?, &identity, handler, &self.log);
            // Google's and Azure's are name servers too.
            serve::answer(&mut servers, vec![host.datagrams(53).await?], &identity, &self.log);
            // Only here: on a node a packet would be seen that the node's own rules drop right after.
            serve::watch(&mut servers, host.packets().await?, &self.log);
        }
        for node in &backbone.nodes {
            let ports = match self.spec.topology {
                Topology::Routed => continue,
                Topology::OnNode => ports.clone(),
                Topology::Dnat => vec![topo::METADATA_AGENT_PORT],
            };
            let (identity, handler) = server(&self.identity_on(node.name));
            serve::serve(&mut servers, listeners(&node.host, &ports).await?, &identity, handler, &self.log);
        }
        Ok(())
    }

    /// Stops the server; with an identity, one that says this takes its place.
    pub(super) async fn replace(&self, identity: Option<&str>, backbone: &Backbone) -> anyhow::Result<()> {
        self.servers.lock().await.shutdown().await;
        let Some(identity) = identity else { return Ok(()) };
        self.serve(|_| (identity.to_owned(), serve::echo(identity)), backbone).await
    }

    /// What the server says that it is to a node.
    pub(super) fn identity_for(&self, node: NodeName) -> String {
        self.world().identity_for(node, false)
    }

    fn identity_on(&self, node: NodeName) -> String {
        self.world().identity_for(node, true)
    }

    /// Where it is.
    pub(super) fn topology(&self) -> Topology {
        self.spec.topology
    }

    pub(super) fn world(&self) -> WorldMetadata {
        WorldMetadata {
            cloud: self.cloud,
            addresses: self.addresses.clone(),
            identity: self.identity.clone(),
            topology: self.spec.topology,
        }
    }
}

/// A namespace above the router with these addresses, and the ways to it.
async fn above(addresses: &[IpAddr], backbone: &Backbone) -> anyhow::Result<Host> {
    let host = plumbing::closed().await?;
    plumbing::hang(&host, addresses, &backbone.hub(), topo::METADATA_DEVICE).await?;
    for address in addresses {
        for node in &backbone.nodes {
            let router = node.plan(topo::family_of(*address)).router;
            let way = Way { to: topo::alone(*address), via: Some(router), dev: topo::ROUTER_DEVICE };
            node.host.route(way, None).await?;
        }
    }
    Ok(host)
}

async fn listeners(host: &Host, ports: &[u16]) -> anyhow::Result<Vec<TcpListener>> {
    let mut all = Vec::new();
    for port in ports {
        all.push(host.listen(*port).await?);
    }
    Ok(all)
}
