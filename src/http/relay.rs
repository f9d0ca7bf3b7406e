//! Passing connections on, as a proxy does that others share: the server sees who passes them on, whoever asked.

use std::{future::Future, time::Duration};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

/// How long accepting pauses when the system has no resources for another connection.
const PAUSE: Duration = Duration::from_millis(50);

/// Passes on what comes to a listener, each connection by one of its own, until the future is dropped. What ends the one
/// ends the other too.
pub async fn relay<F>(listener: TcpListener, connect: impl Fn() -> F)
where
    F: Future<Output = anyhow::Result<TcpStream>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((mut client, _)) = listener.accept().await else {
            let _ = timeout(PAUSE, connections.join_next()).await;
            continue;
        };
        let connecting = connect();
        connections.spawn(async move {
            let mut server = connecting.await?;
            copy_bidirectional(&mut client, &mut server).await?;
            anyhow::Ok(())
        });
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::{
        io,
        net::{Ipv4Addr, SocketAddr},
    };

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn what_is_asked_and_what_is_answered_passes_and_a_closed_server_closes_the_client() {
        let ((server, to), (front, at)) = (listener().await, listener().await);
        let mut tasks = JoinSet::new();
        tasks.spawn(relay(front, move || async move { Ok(TcpStream::connect(to).await?) }));
        let serving = tasks.spawn(async move {
            let (mut stream, _) = server.accept().await.unwrap();
            let mut asked = [0; 4];
            stream.read_exact(&mut asked).await.unwrap();
            stream.write_all(&asked).await.unwrap();
        });
        let mut client = TcpStream::connect(at).await.unwrap();
        client.write_all(b"ping").await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"ping");
        drop(serving);
        // The server is gone now.
        let mut client = TcpStream::connect(at).await.unwrap();
        let read = client.read_to_end(&mut answer).await;
        assert!(read.is_ok() || read.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset));
        assert_eq!(answer, b"ping");
    }
}
