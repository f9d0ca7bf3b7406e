//! The metadata server's container on kind's network: an image of nothing but the static agent.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use anyhow::Context;
use testcontainers::{
    ContainerAsync, GenericBuildableImage, GenericImage, ImageExt,
    core::WaitFor,
    runners::{AsyncBuilder, AsyncRunner},
};

use crate::{
    lab::{LabError, state::RUN_LABEL},
    metadata::{self, Cloud},
};

/// The name of the image of a run; its tag is the run.
pub(super) const IMAGE: &str = "policyprobe-metadata";

/// Where the emulator's log is read, on the container's own address.
pub(crate) const CONTROL_PORT: u16 = 61_081;

/// The clouds that the emulator is, all at once: their paths differ. Google Kubernetes Engine's own server has Google's
/// paths, and is left out.
pub(crate) const CLOUDS: &[Cloud] = &[
    Cloud::Gcp,
    Cloud::Aws,
    Cloud::Azure,
    Cloud::Oracle,
    Cloud::Alibaba,
    Cloud::Digitalocean,
    Cloud::Openstack,
    Cloud::Hetzner,
    Cloud::Ecs,
    Cloud::EksPodIdentity,
];

/// The emulator's IPv4 addresses, to which nodes get routes.
pub(crate) fn addresses() -> Vec<Ipv4Addr> {
    let v4 = |address| match address {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    };
    metadata::addresses(CLOUDS).into_iter().filter_map(v4).collect()
}

/// A port at which the emulator listens at one of its addresses.
pub(crate) fn port(address: Ipv4Addr) -> u16 {
    let endpoints = metadata::endpoints(CLOUDS);
    endpoints.iter().find(|endpoint| endpoint.ip() == address).map_or(80, std::net::SocketAddr::port)
}

/// The names by which machines know their metadata server at the address that most clouds have.
pub(crate) fn names() -> String {
    let first = |cloud: &Cloud| cloud.definition().hosts.first().copied();
    CLOUDS.iter().filter_map(first).collect::<Vec<_>>().join(" ")
}

/// A running emulator.
pub(crate) struct Emulator {
    container: ContainerAsync<GenericImage>,
    /// Its address on kind's network.
    pub(crate) address: Ipv4Addr,
}

/// Builds the image of a run. Nothing is pulled.
pub(crate) async fn image(run: &str, agent: &[u8]) -> Result<GenericImage, LabError> {
    let dockerfile = format!(
        "FROM scratch\nLABEL {RUN_LABEL}={run}\nSTOPSIGNAL SIGKILL\nCOPY --chmod=0755 agent /agent\nENTRYPOINT [\"/agent\"]\n"
    );
    let image = GenericBuildableImage::new(IMAGE, run).with_dockerfile_string(dockerfile);
    let built = image.with_data(agent, "agent").build_image().await;
    built.context("cannot build the metadata server's image").map_err(|error| hinted(&error))
}

/// Starts the emulator on a network that exists.
pub(crate) async fn start(image: GenericImage, run: &str, identity: &str, network: &str) -> Result<Emulator, LabError> {
    let control = format!("0.0.0.0:{CONTROL_PORT}");
    let clouds = CLOUDS.iter().flat_map(|cloud| ["--cloud", cloud.definition().name]);
    let rest = ["--identity", identity, "--control", &control, "--in-container"];
    let container = image
        .with_wait_for(WaitFor::message_on_stdout("ready"))
        .with_cmd(["metadata"].into_iter().chain(clouds).chain(rest))
        .with_container_name(format!("pp-{run}-metadata"))
        .with_network(network)
        .with_cap_add("NET_ADMIN")
        .with_label(RUN_LABEL, run)
        .with_startup_timeout(Duration::from_secs(20))
        .start()
        .await
        .context("cannot start the metadata server's container")
        .map_err(|error| hinted(&error))?;
    let address = container.get_bridge_ip_address().await.context("cannot read the metadata server's address");
    match address {
        Ok(std::net::IpAddr::V4(address)) => Ok(Emulator { container, address }),
        other => {
            let _ = container.rm().await;
            Err(anyhow::anyhow!("the metadata server has no IPv4 address: {other:?}").into())
        }
    }
}

fn hinted(error: &anyhow::Error) -> LabError {
    LabError::with_hint(
        format!("{error:#}"),
        "see that Docker runs and that you may use it (`docker info`; DOCKER_HOST)",
    )
}

impl Emulator {
    /// Ends and removes the container.
    pub(crate) async fn remove(self) -> Result<(), LabError> {
        self.container.rm().await.context("cannot remove the metadata server's container").map_err(LabError::from)
    }
}
