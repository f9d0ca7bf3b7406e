//! The counts of a watch, served to Prometheus. What is counted is left to [`crate::node::metrics`].

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    cli::output::note,
    http::{Log, Server},
    node::metrics::Metrics,
};

/// Serves the counts until the handle is dropped.
pub(super) async fn serve(address: Option<SocketAddr>, metrics: &Metrics) -> anyhow::Result<JoinSet<()>> {
    let mut tasks = JoinSet::new();
    if let Some(address) = address {
        let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
        note(&format!("metrics: http://{}/metrics", listener.local_addr()?));
        let handler = Arc::new(metrics.clone());
        let server = Server { identity: "policyprobe-node-watch".to_owned(), handler, log: Log::default() };
        tasks.spawn(Arc::new(server).serve(listener));
    }
    Ok(tasks)
}
