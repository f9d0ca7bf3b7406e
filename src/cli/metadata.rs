//! `policyprobe metadata`: an emulated metadata server by itself, for a look at it and for tests of one's own.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
};
#[cfg(target_os = "linux")]
use std::{
    fs::File,
    io::Write as _,
    os::{fd::AsRawFd as _, unix::process::CommandExt as _},
    process,
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
#[cfg(target_os = "linux")]
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::{Problem, audit};
use crate::{
    engine::OK,
    lab::agent,
    metadata::{Alone, Cloud, Imds, METADATA_ADDRESSES, Options, is_metadata_address, serve_alone},
};

/// The emulated metadata servers.
#[derive(Args, Debug)]
pub struct MetadataArgs {
    /// What to do with them.
    #[command(subcommand)]
    pub command: MetadataCommand,
}

/// What to do with them.
#[derive(Debug, Subcommand)]
pub enum MetadataCommand {
    /// Serve a cloud's metadata, with made-up values, until interrupted
    #[command(after_help = "\
Examples:
  policyprobe metadata serve --cloud aws --imds v2 --hop-limit 1 --listen 127.0.0.1:8080 --log
  policyprobe metadata serve --cloud azure --listen 127.0.0.1:8080 --listen '[::1]:8080' --control 127.0.0.1:8081")]
    Serve(ServeArgs),
    #[expect(missing_docs, reason = "its own documentation is its help")]
    Audit(Box<audit::Args>),
}

#[expect(clippy::struct_excessive_bools, reason = "independent switches of the command line")]
/// What to serve, and where.
#[derive(Args, Debug)]
pub struct ServeArgs {
    /// The cloud.
    #[arg(long, value_enum)]
    cloud: Cloud,
    /// Where to serve, such as 127.0.0.1:8080. It may be given several times. A metadata address is refused.
    #[arg(long, required = true, value_name = "ADDR", value_parser = address)]
    listen: Vec<SocketAddr>,
    /// Where to serve the log of requests: /log, /nonces, /identity; PUT PATH changes a value of Google's, or Azure's events.
    #[arg(long, value_name = "ADDR", value_parser = address)]
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

/// An address and a port. Names are not looked up: what they mean may change from one call to the next.
fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "write an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080".to_owned())
}

/// An identity travels in a header.
fn identity(text: &str) -> Result<String, String> {
    let valid = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    valid.then(|| text.to_owned()).ok_or_else(|| "it must be made of visible ASCII characters".to_owned())
}

/// The clouds that have session tokens.
pub(super) const IMDS: &[Cloud] = &[Cloud::Aws, Cloud::Alibaba];
/// The cloud whose answers may be bound to a number of hops.
pub(super) const HOPS: &[Cloud] = &[Cloud::Aws];
/// Those with old ways that can be closed.
const LEGACY: &[Cloud] = &[Cloud::Aws, Cloud::Gcp, Cloud::Oracle];
/// Those of which it is known what a machine is told that was given nothing.
const BARE: &[Cloud] = &[Cloud::Aws, Cloud::Azure, Cloud::Hetzner];

/// Refuses flags that none of these clouds would heed: each with whether it is given, and the clouds that have it.
pub(super) fn check_flags(clouds: &[Cloud], flags: &[(&str, bool, &[Cloud])]) -> Result<(), Problem> {
    let names = |clouds: &[Cloud]| clouds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match flags.iter().find(|(_, given, have)| *given && !clouds.iter().any(|cloud| have.contains(cloud))) {
        Some((flag, _, have)) => {
            let message = format!("`{flag}` has no meaning with `--cloud {}`", names(clouds));
            Err(Problem::usage(message).hint(format!("it goes with {}", names(have))))
        }
        None => Ok(()),
    }
}

/// Serves; the exit code.
pub fn serve(args: ServeArgs) -> anyhow::Result<u8> {
    let flags: [(&str, bool, &[Cloud]); 4] = [
        ("--imds", args.imds != Imds::V1, IMDS),
        ("--hop-limit", args.hop_limit.is_some(), HOPS),
        ("--legacy", args.legacy, LEGACY),
        ("--bare", args.bare, BARE),
    ];
    check_flags(&[args.cloud], &flags)?;
    let mut addresses: Vec<_> = args.listen.iter().chain(&args.control).filter(|it| it.port() != 0).collect();
    addresses.sort();
    if let Some([twice, _]) = addresses.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Problem::usage(format!("{twice} is to be listened on twice"))
            .hint("leave one of the two out, or choose another port")
            .into());
    }
    let own = own_addresses()?;
    for address in args.listen.iter().chain(&args.control) {
        if let Some(refusal) = refusal(address.ip(), &own) {
            return Err(Problem::usage(format!("refused to listen on {address}: {refusal}"))
                .hint("choose an address such as 127.0.0.1:8080; only a lab puts a server at a metadata address")
                .into());
        }
    }
    let alone = Alone {
        cloud: args.cloud,
        listen: args.listen,
        control: args.control,
        identity: args.identity.unwrap_or_else(|| format!("metadata/{}", args.cloud)),
        options: Options {
            seed: args.seed,
            imds: args.imds,
            hop_limit: args.hop_limit,
            legacy: args.legacy,
            bare: args.bare,
            keep_alive: args.keep_alive,
        },
        log: args.log,
    };
    // Where that is not possible, this program is a server as good, and only a larger one.
    let _ = become_agent(&alone);
    // A server of its own needs one thread, and is measured on one core.
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve_alone(alone))?;
    Ok(OK)
}

/// What the process is called.
const NAME: &str = "policyprobe";

/// Becomes the static agent that this program carries, which is the same server in a small part of the memory: most of
/// what a process has is its program's text. Returns only with the reason why it could not. It must not be called when
/// there are threads, which would end.
#[cfg(target_os = "linux")]
fn become_agent(alone: &Alone) -> anyhow::Result<Infallible> {
    let agent = agent::built().context("there is none")?;
    // A file without a name: nothing is left behind, however this ends.
    let mut file = File::from(memfd_create(NAME, MFdFlags::MFD_CLOEXEC)?);
    file.write_all(agent)?;
    let program = format!("/proc/self/fd/{}", file.as_raw_fd());
    Err(process::Command::new(program).arg0(NAME).args(["alone", &serde_json::to_string(alone)?]).exec().into())
}

#[cfg(not(target_os = "linux"))]
fn become_agent(_: &Alone) -> anyhow::Result<Infallible> {
    anyhow::bail!("the agent is for Linux")
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
