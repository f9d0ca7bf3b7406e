//! A pod that passes connections on.

use std::{net::SocketAddr, sync::Arc};

use tokio::net::TcpListener;

use super::{namespace::Namespace, net::stream_to};
use crate::http;

/// Passes on to a server what comes to a listener, as the pod whose namespace this is, until the future is dropped.
pub(super) async fn serve(listener: TcpListener, namespace: Arc<Namespace>, to: SocketAddr) {
    let connect = move || {
        let namespace = Arc::clone(&namespace);
        async move { Ok(namespace.run(move || stream_to(to)).await??.connect(to).await?) }
    };
    http::relay(listener, connect).await;
}
