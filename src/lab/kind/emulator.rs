//! The metadata server's container on kind's network: an image of nothing but the static agent.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::Context;
use testcontainers::{
    ContainerAsync, GenericBuildableImage, GenericImage, ImageExt,
    core::WaitFor,
    runners::{AsyncBuilder, AsyncRunner},
};

use crate::lab::{LabError, state::RUN_LABEL};

/// Where the emulator's log is read, on the container's own address.
pub(crate) const CONTROL_PORT: u16 = 61_081;

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
    let image = GenericBuildableImage::new("policyprobe-metadata", run).with_dockerfile_string(dockerfile);
    let built = image.with_data(agent, "agent").build_image().await;
    built.context("cannot build the metadata server's image").map_err(hinted)
}

/// Starts the emulator on a network that exists.
pub(crate) async fn start(image: GenericImage, run: &str, identity: &str, network: &str) -> Result<Emulator, LabError> {
    let control = format!("0.0.0.0:{CONTROL_PORT}");
    let container = image
        .with_wait_for(WaitFor::message_on_stdout("ready"))
        .with_cmd(["metadata", "--cloud", "gcp", "--identity", identity, "--control", &control, "--in-container"])
        .with_container_name(format!("pp-{run}-metadata"))
        .with_network(network)
        .with_cap_add("NET_ADMIN")
        .with_label(RUN_LABEL, run)
        .with_startup_timeout(Duration::from_secs(20))
        .start()
        .await
        .context("cannot start the metadata server's container")
        .map_err(hinted)?;
    let address = container.get_bridge_ip_address().await.context("cannot read the metadata server's address");
    match address {
        Ok(std::net::IpAddr::V4(address)) => Ok(Emulator { container, address }),
        other => {
            let _ = container.rm().await;
            Err(anyhow::anyhow!("the metadata server has no IPv4 address: {other:?}").into())
        }
    }
}

fn hinted(error: anyhow::Error) -> LabError {
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
