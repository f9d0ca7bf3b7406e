//! The agent's command line, read by hand: a parser for people would be larger than the rest of the program.

use std::{
    fmt::Display,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use anyhow::{Result, anyhow, bail, ensure};
use policyprobe::metadata::{Alone, Cloud, Options, is_metadata_address};

/// What `--help` would say.
pub(crate) const USAGE: &str = "\
usage: policyprobe-agent serve --identity ID [--listen ADDR:PORT]... [--udp ADDR:PORT]... [--control ADDR:PORT]
                               [--address ADDR --in-container] [--relay ADDR:PORT=ADDR:PORT]
       policyprobe-agent probe [--from ADDR]
       policyprobe-agent route --in-container --way ADDR=GATEWAY...
       policyprobe-agent wait
       policyprobe-agent metadata --cloud CLOUD... --identity ID --in-container [--listen ADDR:PORT]...
                                  [--control ADDR:PORT] [--seed SEED] [--imds v1|v2|disabled] [--hop-limit HOPS] [--legacy]
       policyprobe-agent alone JSON
       policyprobe-agent version";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Serve(Serve),
    Metadata(Metadata),
    /// Be the metadata server that `policyprobe metadata serve` was asked for.
    Alone(Alone),
    /// Make requests, as lines on the standard input say, from this address where one is given.
    Probe(Option<IpAddr>),
    /// Add routes: to these addresses by these gateways.
    Route(Vec<(IpAddr, IpAddr)>),
    /// Be there for others that are started beside it.
    Wait,
    Version,
}

/// Answer with an identity.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Serve {
    pub(crate) identity: String,
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) udp: Vec<SocketAddr>,
    pub(crate) control: Option<SocketAddr>,
    /// What to put on the loopback device first.
    pub(crate) address: Option<IpAddr>,
    /// Pass on what comes to one place to another.
    pub(crate) relay: Option<(SocketAddr, SocketAddr)>,
}

/// Be the metadata server of one cloud or of several, at their addresses.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) clouds: Vec<Cloud>,
    pub(crate) identity: String,
    pub(crate) options: Options,
    /// Where to listen; where nothing is said, at the clouds' addresses, which are taken first.
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) control: Option<SocketAddr>,
}

/// Reads the arguments behind the program's name.
pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Command> {
    let command = arguments.next().ok_or_else(|| anyhow!("no command"))?;
    if command == "alone" {
        let server = arguments.next().ok_or_else(|| anyhow!("`alone` needs to know what to serve"))?;
        return Ok(Command::Alone(serde_json::from_str(&server)?));
    }
    let (mut identity, mut control, mut seed) = (None, None, None);
    let (mut clouds, mut options) = (Vec::<Cloud>::new(), Options::default());
    let (mut listen, mut udp) = (Vec::<SocketAddr>::new(), Vec::<SocketAddr>::new());
    let (mut address, mut from, mut ways, mut relay) = (None, None, Vec::new(), None);
    let mut in_container = false;
    while let Some(flag) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| anyhow!("`{flag}` needs a value"));
        match (command.as_str(), flag.as_str()) {
            ("serve" | "metadata", "--identity") => identity = Some(value()?),
            ("serve" | "metadata", "--control") => control = Some(read(&flag, &value()?)?),
            ("serve" | "metadata", "--listen") => listen.push(read(&flag, &value()?)?),
            ("serve", "--udp") => udp.push(read(&flag, &value()?)?),
            ("metadata", "--cloud") => clouds.push(read(&flag, &value()?)?),
            ("metadata", "--imds") => options.imds = read(&flag, &value()?)?,
            ("metadata", "--hop-limit") => options.hop_limit = Some(read(&flag, &value()?)?),
            ("metadata", "--legacy") => options.legacy = true,
            ("metadata", "--seed") => seed = Some(value()?),
            ("serve", "--relay") => relay = Some(relay_of(&flag, &value()?)?),
            ("serve", "--address") => address = Some(read(&flag, &value()?)?),
            ("probe", "--from") => from = Some(read(&flag, &value()?)?),
            ("route", "--way") => ways.push(way(&flag, &value()?)?),
            ("metadata" | "serve" | "route", "--in-container") => in_container = true,
            _ => bail!("`{command}` has no `{flag}`"),
        }
    }
    let identity = || identity.ok_or_else(|| anyhow!("`--identity` is missing"));
    match command.as_str() {
        "serve" => {
            let is_something = !listen.is_empty() || !udp.is_empty() || address.is_some() || relay.is_some();
            ensure!(is_something, "`--listen`, `--udp`, `--address` and `--relay` are missing");
            let guarded = listen.iter().chain(&udp).find(|address| is_metadata_address(address.ip()));
            ensure!(guarded.is_none(), "`serve` does not listen on a metadata address; `metadata` does");
            let taken = address.iter().find(|address| is_metadata_address(**address));
            ensure!(taken.is_none(), "`serve` does not take a metadata address; `metadata` does");
            ensure!(address.is_none() || in_container, "{ONLY_IN_CONTAINER}");
            Ok(Command::Serve(Serve { identity: identity()?, listen, udp, control, address, relay }))
        }
        "metadata" => {
            ensure!(in_container, "{ONLY_IN_CONTAINER}");
            ensure!(!clouds.is_empty(), "`--cloud` is missing");
            let identity = identity()?;
            options.seed = seed.unwrap_or_else(|| identity.replace('/', "-"));
            Ok(Command::Metadata(Metadata { clouds, identity, options, listen, control }))
        }
        "probe" => Ok(Command::Probe(from)),
        "route" => {
            ensure!(in_container, "{ONLY_IN_CONTAINER}");
            ensure!(!ways.is_empty(), "`--way` is missing");
            Ok(Command::Route(ways))
        }
        "wait" => Ok(Command::Wait),
        "version" | "--version" => Ok(Command::Version),
        _ => bail!("there is no command `{command}`"),
    }
}

const ONLY_IN_CONTAINER: &str = "this changes addresses and routes in a way that only a container's own network survives: \
                                 say `--in-container` if it runs in one";

/// An address and the gateway to it, of one family. There is no other way to a metadata address than to have it.
fn way(flag: &str, value: &str) -> Result<(IpAddr, IpAddr)> {
    let (to, by) = value.split_once('=').ok_or_else(|| anyhow!("`{flag} {value}`: no `=`"))?;
    let (to, by): (IpAddr, IpAddr) = (read(flag, to)?, read(flag, by)?);
    ensure!(to.is_ipv4() == by.is_ipv4(), "`{flag} {value}`: the addresses are of two families");
    ensure!(!is_metadata_address(to), "`{flag} {value}`: there is no way to a metadata address");
    Ok((to, by))
}

/// Where to listen, and what for.
fn relay_of(flag: &str, value: &str) -> Result<(SocketAddr, SocketAddr)> {
    let (at, to) = value.split_once('=').ok_or_else(|| anyhow!("`{flag} {value}`: no `=`"))?;
    Ok((read(flag, at)?, read(flag, to)?))
}

fn read<T: FromStr<Err: Display>>(flag: &str, value: &str) -> Result<T> {
    value.parse().map_err(|error| anyhow!("`{flag} {value}`: {error}"))
}
