//! A pod that passes connections on, as a proxy does that others share: the server sees the pod, whoever asked.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
};

use super::namespace::Namespace;

/// Passes on to a server what comes to a listener, until the future is dropped.
pub(super) async fn serve(listener: TcpListener, namespace: Arc<Namespace>, to: SocketAddr) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((client, _)) = listener.accept().await else { return };
        connections.spawn(pass(client, namespace.clone(), to));
    }
}

/// What ends the connection to the server ends the client's too.
async fn pass(mut client: TcpStream, namespace: Arc<Namespace>, to: SocketAddr) -> anyhow::Result<()> {
    let mut server = namespace.run(TcpSocket::new_v4).await??.connect(to).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
