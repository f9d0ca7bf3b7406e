//! What the agent does: it serves an identity, or a cloud's metadata, until a signal ends it; or it probes, until its
//! input ends.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use anyhow::{Context, Result, ensure};
use policyprobe::{
    http::{Echo, Log, Server, control_of, packets, watch},
    metadata::{addresses, endpoints, is_metadata_address, servers},
    probe::direct::{self, Here, HereFrom, Prober},
    udp,
};
use tokio::{
    net::{TcpListener, UdpSocket},
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};

use crate::arguments::{Metadata, Serve};

/// Answers with the identity on every address; one of them may have to be taken first.
pub(crate) async fn serve(Serve { identity, listen, udp, control: at, address }: Serve) -> Result<()> {
    if let Some(address) = address {
        ensure!(take(&[address])? == [address], "there is no IPv6 to take {address}");
    }
    let handler = Arc::new(Echo::new(&identity));
    run(Server { identity, handler, log: Log::default() }, &listen, &udp, at).await
}

/// Takes the clouds' metadata addresses and answers there.
pub(crate) async fn metadata(Metadata { clouds, identity, options, control: at }: Metadata) -> Result<()> {
    let endpoints = endpoints(&clouds);
    let taken = take(&addresses(&clouds))?;
    let listen: Vec<_> = endpoints.into_iter().filter(|endpoint| taken.contains(&endpoint.ip())).collect();
    // Google's and Azure's are name servers too; here, what they answer over UDP is the probe's own question.
    let datagrams: Vec<_> = taken.iter().map(|address| SocketAddr::new(*address, 53)).collect();
    let handler = Arc::from(servers(&clouds, &options));
    let log = Log::default();
    // A container may have been denied it; then the log has what the kernel lets through, as anywhere else.
    if let Ok(packets) = packets() {
        tokio::spawn(watch(packets, log.clone(), |local| is_metadata_address(local.ip())));
    }
    run(Server { identity, handler, log }, &listen, &datagrams, at).await
}

/// Makes the requests that lines on the standard input ask for, until it ends.
pub(crate) async fn probe(from: Option<IpAddr>) -> Result<()> {
    let (input, output, prober) = (tokio::io::stdin(), tokio::io::stdout(), Prober::new(direct::raise_file_limit()));
    match from {
        Some(address) => direct::serve(input, output, &prober, HereFrom(address)).await?,
        None => direct::serve(input, output, &prober, Here).await?,
    }
    Ok(())
}

/// Does nothing until a signal ends it.
pub(crate) async fn wait() -> Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    println!("ready");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

#[cfg(target_os = "linux")]
pub(crate) use crate::loopback::{route, take};

#[cfg(not(target_os = "linux"))]
fn take(_: &[IpAddr]) -> Result<Vec<IpAddr>> {
    anyhow::bail!("only Linux has containers to do this in")
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn route(_: &[(IpAddr, IpAddr)]) -> Result<()> {
    anyhow::bail!("only Linux has containers to do this in")
}

/// Serves on all addresses, says `ready` on standard output when every one is bound, and ends with a signal.
async fn run(server: Server, listen: &[SocketAddr], datagrams: &[SocketAddr], at: Option<SocketAddr>) -> Result<()> {
    let _ = direct::raise_file_limit();
    // Before anything is said: process 1 has no default actions for signals.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut tasks = JoinSet::new();
    if let Some(at) = at {
        tasks.spawn(Arc::new(control_of(&server)).serve(listen_on(at).await?));
    }
    for address in datagrams {
        let socket =
            bind(*address, UdpSocket::bind).await.with_context(|| format!("cannot listen on {address} over UDP"))?;
        tasks.spawn(udp::serve(socket, server.identity.clone(), server.log.clone()));
    }
    let server = Arc::new(server);
    for address in listen {
        tasks.spawn(Arc::clone(&server).serve(listen_on(*address).await?));
    }
    println!("ready");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

async fn listen_on(address: SocketAddr) -> Result<TcpListener> {
    bind(address, TcpListener::bind).await.with_context(|| format!("cannot listen on {address}"))
}

/// Binds an address. All addresses of both families are those of IPv4 where the kernel has no IPv6.
async fn bind<T, F: Future<Output = std::io::Result<T>>>(
    address: SocketAddr,
    bind: impl Fn(SocketAddr) -> F,
) -> std::io::Result<T> {
    match bind(address).await {
        Err(_) if address.ip() == Ipv6Addr::UNSPECIFIED => bind((Ipv4Addr::UNSPECIFIED, address.port()).into()).await,
        bound => bound,
    }
}
