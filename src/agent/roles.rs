//! What the agent does: it serves an identity, or a cloud's metadata, until a signal ends it; or it probes, until its
//! input ends.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsFd,
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, Result, ensure};
use policyprobe::{
    http::{Echo, Log, Server, control_of, packets, relay, watch},
    metadata::{Alone, addresses, endpoints, is_metadata_address, serve_alone, servers},
    probe::direct::{self, Here, HereFrom, Prober},
    udp,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UdpSocket, unix::pipe},
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};

use crate::arguments::{Metadata, Serve};

/// Answers with the identity on every address; one of them may have to be taken first.
pub(crate) async fn serve(Serve { identity, listen, udp, control: at, address, relay }: Serve) -> Result<()> {
    if let Some(address) = address {
        ensure!(take(&[address])? == [address], "there is no IPv6 to take {address}");
    }
    let mut relays = JoinSet::new();
    if let Some((from, to)) = relay {
        let connect = move || async move { Ok(TcpStream::connect(to).await?) };
        relays.spawn(self::relay(listen_on(from).await?, connect));
    }
    let handler = Arc::new(Echo::new(&identity));
    run(Server { identity, handler, log: Log::default() }, &listen, &udp, at).await
}

/// Answers as the clouds do: at their metadata addresses, which are taken first, or at those that are named.
pub(crate) async fn metadata(metadata: Metadata) -> Result<()> {
    let Metadata { clouds, identity, options, mut listen, control: at } = metadata;
    let (mut datagrams, log) = (Vec::new(), Log::default());
    // On somebody's node the addresses are that somebody's affair, and so are the packets that the node's rules drop.
    if listen.is_empty() {
        let taken = take(&addresses(&clouds))?;
        listen.extend(endpoints(&clouds).into_iter().filter(|endpoint| taken.contains(&endpoint.ip())));
        // Google's and Azure's are name servers too; here, what they answer over UDP is the probe's own question.
        datagrams.extend(taken.iter().map(|address| SocketAddr::new(*address, 53)));
        // A container may have been denied it; then the log has what the kernel lets through, as anywhere else.
        if let Ok(packets) = packets() {
            tokio::spawn(watch(packets, log.clone(), |local| is_metadata_address(local.ip())));
        }
    }
    let handler = Arc::from(servers(&clouds, &options));
    run(Server { identity, handler, log }, &listen, &datagrams, at).await
}

/// Is what `policyprobe metadata serve` was asked for, and looks like it: its name, its messages, its exit codes.
pub(crate) async fn alone(alone: Alone) -> ExitCode {
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_name(c"policyprobe");
    match serve_alone(alone).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Makes the requests that lines on the standard input ask for, until it ends.
pub(crate) async fn probe(from: Option<IpAddr>) -> Result<()> {
    let (input, output, prober) = (stdin(), stdout(), Prober::new(direct::raise_file_limit()));
    match from {
        Some(address) => direct::serve(input, output, &prober, HereFrom(address)).await?,
        None => direct::serve(input, output, &prober, Here).await?,
    }
    Ok(())
}

/// The standard input. Where it is no pipe, a thread waits for each piece of it, which has to be woken, and to wake others.
fn stdin() -> Box<dyn AsyncRead + Unpin> {
    match io::stdin().as_fd().try_clone_to_owned().and_then(pipe::Receiver::from_owned_fd) {
        Ok(pipe) => Box::new(pipe),
        Err(_) => Box::new(tokio::io::stdin()),
    }
}

/// The standard output, in the same way.
fn stdout() -> Box<dyn AsyncWrite + Unpin> {
    match io::stdout().as_fd().try_clone_to_owned().and_then(pipe::Sender::from_owned_fd) {
        Ok(pipe) => Box::new(pipe),
        Err(_) => Box::new(tokio::io::stdout()),
    }
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
    let mut sockets = Vec::new();
    for address in datagrams {
        let bound = bind(*address, UdpSocket::bind).await.and_then(UdpSocket::into_std);
        sockets.push(bound.with_context(|| format!("cannot listen on {address} over UDP"))?);
    }
    answer(sockets, &server)?;
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

/// Answers datagrams, on a thread of their own: behind a crowd of connections they would make their path look slow.
fn answer(sockets: Vec<std::net::UdpSocket>, server: &Server) -> Result<()> {
    if sockets.is_empty() {
        return Ok(());
    }
    let (identity, log) = (server.identity.clone(), server.log.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let answering = async move {
        let mut tasks = JoinSet::new();
        for socket in sockets.into_iter().filter_map(|socket| UdpSocket::from_std(socket).ok()) {
            tasks.spawn(udp::serve(socket, identity.clone(), log.clone()));
        }
        while tasks.join_next().await.is_some() {}
    };
    std::thread::Builder::new().name("datagrams".to_owned()).spawn(move || runtime.block_on(answering))?;
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
