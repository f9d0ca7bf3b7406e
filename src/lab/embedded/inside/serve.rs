//! What answers in the lab: the one place that knows the servers of [`crate::http`] and [`crate::metadata`].

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use tokio::{
    net::{TcpListener, UdpSocket},
    task::JoinSet,
};

use super::topo;
use crate::{
    http::{self, Echo, Handler, Server},
    metadata::{Cloud, Options},
    scenario::{MetadataServerSpec, Topology},
    udp,
};

pub(super) use crate::{
    http::{Log, packets},
    metadata::{guarded_prefixes, is_metadata_address},
};

/// A cloud's addresses, as far as the lab can have them, the usual one first.
pub(super) fn addresses(cloud: Cloud) -> Vec<IpAddr> {
    cloud.definition().addresses().into_iter().filter(|address| topo::has_family_of(*address)).collect()
}

/// Where a cloud's server listens, as far as the lab can have it.
pub(super) fn endpoints(cloud: Cloud) -> Vec<SocketAddr> {
    let all = cloud.definition().endpoints.iter().copied();
    all.filter(|endpoint| topo::has_family_of(endpoint.ip())).collect()
}

/// The ports that a cloud's server listens on, each once.
pub(super) fn ports(cloud: Cloud) -> Vec<u16> {
    endpoints(cloud).iter().map(SocketAddr::port).collect::<BTreeSet<_>>().into_iter().collect()
}

/// What a cloud's server says that it is.
pub(super) fn metadata_identity(cloud: Cloud, run: &str) -> String {
    format!("metadata/{cloud}/{run}")
}

/// What a pod, a node or a host outside answers: its identity.
pub(super) fn echo(identity: &str) -> Arc<dyn Handler> {
    Arc::new(Echo::new(identity))
}

/// What a cloud's server answers, with secrets that name the run.
pub(super) fn metadata(cloud: Cloud, spec: &MetadataServerSpec, run: &str) -> Arc<dyn Handler> {
    // The router in between is the lab's own: on a cloud the server is beside the node.
    let hops = u8::from(spec.topology != Topology::OnNode);
    let options = Options {
        imds: spec.imds,
        hop_limit: spec.hop_limit.map(|limit| limit.saturating_add(hops)),
        legacy: spec.legacy,
        ..Options::seeded(run)
    };
    Arc::from((cloud.definition().server)(&options))
}

/// Serves on these listeners until the set is dropped.
pub(super) fn serve(
    servers: &mut JoinSet<()>,
    listeners: Vec<TcpListener>,
    identity: &str,
    handler: Arc<dyn Handler>,
    log: &Log,
) {
    let server = Arc::new(Server { identity: identity.to_owned(), handler, log: log.clone() });
    for listener in listeners {
        servers.spawn(server.clone().serve(listener));
    }
}

/// Puts first packets to metadata addresses into the log that no connection followed, until the set is dropped.
pub(super) fn watch(servers: &mut JoinSet<()>, packets: std::net::UdpSocket, log: &Log) {
    let watching = http::watch(packets, log.clone(), |local| is_metadata_address(local.ip()));
    // A socket that fails takes no verdict with it: those go by nonces.
    servers.spawn(async { drop(watching.await) });
}

/// Answers questions over UDP on these sockets until the set is dropped.
pub(super) fn answer(servers: &mut JoinSet<()>, sockets: Vec<UdpSocket>, identity: &str, log: &Log) {
    for socket in sockets {
        servers.spawn(udp::serve(socket, identity.to_owned(), log.clone()));
    }
}
