//! What answers in the lab: the one place that knows the servers of [`crate::http`] and [`crate::metadata`].

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use anyhow::Context;
use tokio::{
    net::{TcpListener, UdpSocket},
    task::JoinSet,
};

use crate::{
    http::{Echo, Handler, Server},
    metadata::{Cloud, Options},
    udp,
};

pub(super) use crate::{
    http::Log,
    metadata::{guarded_prefixes, is_metadata_address},
};

/// A cloud's metadata address: the one for IPv4.
pub(super) fn address(cloud: Cloud) -> anyhow::Result<Ipv4Addr> {
    let v4 = cloud.definition().addresses().into_iter().find_map(|address| match address {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    });
    v4.with_context(|| format!("the metadata server of {cloud} has no IPv4 address"))
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
pub(super) fn metadata(cloud: Cloud, run: &str) -> Arc<dyn Handler> {
    Arc::from((cloud.definition().server)(&Options::seeded(run)))
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

/// Answers questions over UDP on these sockets until the set is dropped.
pub(super) fn answer(servers: &mut JoinSet<()>, sockets: Vec<UdpSocket>, identity: &str, log: &Log) {
    for socket in sockets {
        servers.spawn(udp::serve(socket, identity.to_owned(), log.clone()));
    }
}
