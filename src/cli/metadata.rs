//! `policyprobe metadata`: an emulated metadata server by itself, for a look at it and for tests of one's own.

use std::{
    io::{ErrorKind, Write as _},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};

use super::{Global, audit};
use crate::{
    engine::{OK, USAGE},
    http::{self, Entry, Event, Log, Server, control_of},
    metadata::{Cloud, Imds, METADATA_ADDRESSES, Options, is_metadata_address},
    probe::direct,
};

/// The emulated metadata servers.
#[derive(Args, Debug)]
pub struct MetadataArgs {
    #[command(subcommand)]
    command: MetadataCommand,
}

impl MetadataArgs {
    /// Whether this does nothing but serve.
    #[must_use]
    pub fn is_server(&self) -> bool {
        matches!(self.command, MetadataCommand::Serve(_))
    }
}

#[derive(Debug, Subcommand)]
enum MetadataCommand {
    /// Serve a cloud's metadata, with made-up values, until interrupted
    #[command(after_help = "\
Examples:
  policyprobe metadata serve --cloud aws --imds v2 --hop-limit 1 --listen 127.0.0.1:8080 --log
  policyprobe metadata serve --cloud azure --listen 127.0.0.1:8080 --listen '[::1]:8080' --control 127.0.0.1:8081")]
    Serve(ServeArgs),
    Audit(Box<audit::Args>),
}

#[expect(clippy::struct_excessive_bools, reason = "independent switches of the command line")]
#[derive(Args, Debug)]
struct ServeArgs {
    /// The cloud.
    #[arg(long, value_enum)]
    cloud: Cloud,
    /// Where to serve, such as 127.0.0.1:8080. It may be given several times. A metadata address is refused.
    #[arg(long, required = true, value_name = "ADDR")]
    listen: Vec<SocketAddr>,
    /// Where to serve the log of requests: /log, /nonces, /identity; PUT PATH changes a value of Google's, or Azure's events.
    #[arg(long, value_name = "ADDR")]
    control: Option<SocketAddr>,
    /// What the server says that it is, to requests with a nonce [default: metadata/CLOUD].
    #[arg(long, value_name = "NAME", value_parser = identity)]
    identity: Option<String>,
    /// AWS, Alibaba: whether a session token is needed: v1 (not), v2 (always), disabled (nothing is served)
    #[arg(long, value_enum, default_value = "v1")]
    imds: Imds,
    /// AWS: how many hops the answer with a session token may take [default: the system's]
    #[arg(long, value_name = "HOPS", value_parser = clap::value_parser!(u8).range(1..=64))]
    hop_limit: Option<u8>,
    /// Serve the old ways too: Google's paths that need no header, AWS' answers of Xen hosts, Oracle's version 1
    #[arg(long)]
    legacy: bool,
    /// A machine that was given nothing: no role or identity, keys, tags or user data (AWS, Azure, Hetzner)
    #[arg(long)]
    bare: bool,
    /// Keep connections open where the real server closes each, to measure the server and not the connections
    #[arg(long)]
    keep_alive: bool,
    /// Print a line for each request, each connection without one, and whatever else arrives
    #[arg(long)]
    log: bool,
    /// A word in each made-up secret, by which a leaked one is recognised.
    #[arg(long, value_name = "WORD", default_value = "local", value_parser = identity)]
    seed: String,
}

/// An identity travels in a header.
fn identity(text: &str) -> Result<String, String> {
    let valid = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    valid.then(|| text.to_owned()).ok_or_else(|| "it must be made of visible ASCII characters".to_owned())
}

/// Runs the subcommand; the exit code.
pub async fn run(args: MetadataArgs, global: Global) -> anyhow::Result<u8> {
    match args.command {
        MetadataCommand::Serve(args) => serve(args).await,
        MetadataCommand::Audit(args) => audit::run(&args, global).await,
    }
}

async fn serve(args: ServeArgs) -> anyhow::Result<u8> {
    let own = own_addresses()?;
    for address in args.listen.iter().chain(&args.control) {
        if let Some(refusal) = refusal(address.ip(), &own) {
            eprintln!("error: refused to listen on {address}: {refusal}");
            eprintln!("hint: choose an address such as 127.0.0.1:8080; only a lab puts a server at a metadata address");
            return Ok(USAGE);
        }
    }
    // A connection needs a descriptor, and a shell's usual limit is for a thousand.
    let _ = direct::raise_file_limit();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let identity = args.identity.unwrap_or_else(|| format!("metadata/{}", args.cloud));
    let definition = args.cloud.definition();
    let options = Options {
        seed: args.seed,
        imds: args.imds,
        hop_limit: args.hop_limit,
        legacy: args.legacy,
        bare: args.bare,
        keep_alive: args.keep_alive,
    };
    let log = if args.log { Log::observed(print) } else { Log::default() };
    let server = Server { identity, handler: Arc::from((definition.server)(&options)), log };
    let mut tasks = JoinSet::new();
    if let Some(address) = args.control {
        let listener = bind(address).await?;
        eprintln!("request log: http://{}/log", listener.local_addr()?);
        tasks.spawn(Arc::new(control_of(&server)).serve(listener));
    }
    let server = Arc::new(server);
    let mut bound = Vec::new();
    for address in args.listen {
        let listener = bind(address).await?;
        bound.push(listener.local_addr()?);
        let headers = definition.headers.iter().flat_map(|(name, value)| [" -H '", name, ": ", value, "'"]);
        let headers = headers.collect::<String>();
        eprintln!("{}: http://{}{}{headers}", args.cloud, listener.local_addr()?, definition.path);
        tasks.spawn(Arc::clone(&server).serve(listener));
    }
    if args.log {
        watch(&mut tasks, &server.log, bound);
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(OK)
}

/// Has the log tell of first packets too that no connection followed, where this may see them.
fn watch(tasks: &mut JoinSet<()>, log: &Log, bound: Vec<SocketAddr>) {
    match http::packets() {
        Ok(packets) => {
            let is_ours = move |local: SocketAddr| {
                let is_at =
                    |at: &SocketAddr| at.port() == local.port() && (at.ip().is_unspecified() || at.ip() == local.ip());
                bound.iter().any(is_at)
            };
            let watching = http::watch(packets, log.clone(), is_ours);
            tasks.spawn(async { drop(watching.await) });
        }
        Err(error) => eprintln!("first packets that no connection follows are not seen here: {error}"),
    }
}

/// A line of the log: when, from where, what, and the answer's status.
fn print(entry: &Entry) {
    let Entry { event, at, peer, method, path, status, .. } = entry;
    let what = match event {
        Event::Request => format!("{method} {path}"),
        Event::Broken => "what is no request".to_owned(),
        Event::Connection => "a connection without a request".to_owned(),
        Event::Syn => "a first packet without a connection".to_owned(),
    };
    let status = status.map_or_else(|| "-".to_owned(), |status| status.to_string());
    // A reader that went away is no reason to stop serving.
    let _ = writeln!(std::io::stdout(), "{}.{:03} {peer} {status} {what}", at / 1000, at % 1000);
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::AddrInUse => "; another program listens there: choose another port",
            ErrorKind::PermissionDenied => "; ports below 1024 need privileges: choose a higher one",
            ErrorKind::AddrNotAvailable => "; this machine does not have that address",
            _ => "",
        };
        anyhow!("cannot listen on {address}: {error}{hint}")
    })
}

/// Why this address must not be listened on, if so.
fn refusal(address: IpAddr, own: &[IpAddr]) -> Option<String> {
    let is_known = |address: &IpAddr| METADATA_ADDRESSES.iter().any(|known| known.address == *address);
    if is_metadata_address(address) {
        return Some(
            "it is a metadata address: programs on this machine would take the emulator for their cloud".to_owned(),
        );
    }
    let included = own.iter().find(|own| address.is_unspecified() && is_known(own))?;
    Some(format!("every address includes {included}, a metadata address that this machine has"))
}

/// The addresses of this machine's interfaces.
fn own_addresses() -> anyhow::Result<Vec<IpAddr>> {
    let interfaces = nix::ifaddrs::getifaddrs().context("cannot list this machine's addresses")?;
    let addresses = interfaces.filter_map(|interface| interface.address);
    let ip = |address: nix::sys::socket::SockaddrStorage| {
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    };
    Ok(addresses.filter_map(ip).collect())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn metadata_addresses_are_refused_and_others_are_not() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for address in ["169.254.169.254", "::ffff:169.254.169.254", "168.63.129.16", "fd20:ce::254"] {
            assert!(refusal(ip(address), &[]).is_some(), "{address}");
        }
        assert_eq!(refusal(ip("127.0.0.1"), &[ip("169.254.169.254")]), None);
        assert_eq!(refusal(ip("0.0.0.0"), &[ip("10.0.0.1"), ip("169.254.7.7")]), None);
        assert!(refusal(ip("0.0.0.0"), &[ip("169.254.169.254")]).unwrap().contains("169.254.169.254"));
        assert!(own_addresses().unwrap().contains(&ip("127.0.0.1")));
    }
}
