//! The metadata servers' containers: an image of nothing but the static agent.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context;
use testcontainers::{
    ContainerAsync, GenericBuildableImage, GenericImage, ImageExt,
    core::WaitFor,
    runners::{AsyncBuilder, AsyncRunner},
};

use super::command::run;
use crate::{
    lab::{LabError, state::RUN_LABEL},
    metadata::{self, Cloud},
    scenario::MetadataServerSpec,
};

/// The name of the image of a run; its tag is the run.
const IMAGE: &str = "policyprobe-metadata";

/// What stands before the name of another container, to be in its network.
pub(super) const CONTAINER_NETWORK: &str = "container:";

/// How long a container may take to say that it is ready.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where a server's log is read: on its container's own address, or on its node's loopback device.
pub(super) const CONTROL_PORT: u16 = 61_081;

/// The clouds that the usual emulator is, all at once: their paths differ. Google Kubernetes Engine's own server has
/// Google's paths, and is left out.
pub(super) const CLOUDS: &[Cloud] = &[
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

/// The names by which machines know their metadata server at the address that most clouds have.
pub(super) fn names() -> String {
    let first = |cloud: &Cloud| cloud.definition().hosts.first().copied();
    CLOUDS.iter().filter_map(first).collect::<Vec<_>>().join(" ")
}

/// A running emulator, off the nodes.
pub(crate) struct Emulator {
    /// None once it is removed, or to stay.
    container: Mutex<Option<ContainerAsync<GenericImage>>>,
    /// What it says that it is.
    pub(super) identity: String,
    /// Where these clouds have servers, it is.
    pub(super) clouds: Vec<Cloud>,
    /// Its own addresses, on kind's network.
    own: Vec<IpAddr>,
}

/// Builds the image of a run. Nothing is pulled.
pub(super) async fn build(run: &str, agent: &[u8]) -> Result<(), LabError> {
    let dockerfile = format!(
        "FROM scratch\nLABEL {RUN_LABEL}={run}\nSTOPSIGNAL SIGKILL\nCOPY --chmod=0755 agent /agent\nENTRYPOINT [\"/agent\"]\n"
    );
    let image = GenericBuildableImage::new(IMAGE, run).with_dockerfile_string(dockerfile);
    let built = image.with_data(agent, "agent").build_image().await;
    built.map(drop).context("cannot build the metadata server's image").map_err(|error| hinted(&error))
}

/// Starts a container of a run's image on a network that exists, or in the network of another container, and waits until
/// it says that it is ready.
pub(super) async fn start(
    run: &str,
    name: &str,
    network: &str,
    command: Vec<String>,
) -> Result<ContainerAsync<GenericImage>, LabError> {
    let request = GenericImage::new(IMAGE, run)
        .with_wait_for(WaitFor::message_on_stdout("ready"))
        .with_cmd(command)
        .with_container_name(name)
        .with_cap_add("NET_ADMIN")
        .with_label(RUN_LABEL, run)
        .with_startup_timeout(PATIENCE);
    let request = if network.starts_with(CONTAINER_NETWORK) {
        let network = network.to_owned();
        // `with_network` would make a network of that name.
        request.with_host_config_modifier(move |host| {
            (host.network_mode, host.publish_all_ports, host.port_bindings) = (Some(network.clone()), None, None);
        })
    } else {
        request.with_network(network)
    };
    request.start().await.with_context(|| format!("cannot start the container {name}")).map_err(|error| hinted(&error))
}

/// What a container's agent is started with to be these clouds' server, set up like this.
pub(super) fn command(clouds: &[Cloud], identity: &str, spec: &MetadataServerSpec, control: SocketAddr) -> Vec<String> {
    let mut command = ["metadata", "--in-container", "--identity", identity].map(str::to_owned).to_vec();
    let clouds = clouds.iter().map(|cloud| ("--cloud", cloud.to_string()));
    let settings = [("--control", control.to_string()), ("--imds", spec.imds.to_string())];
    // The server is beside the nodes, as on a cloud: its hops are the cloud's.
    let hops = spec.hop_limit.map(|hops| ("--hop-limit", hops.to_string()));
    command.extend(clouds.chain(settings).chain(hops).flat_map(|(flag, value)| [flag.to_owned(), value]));
    command.extend(spec.legacy.then(|| "--legacy".to_owned()));
    command
}

/// A container's addresses on kind's network, IPv4 first.
pub(super) async fn own_addresses(name: &str) -> Result<Vec<IpAddr>, LabError> {
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.GlobalIPv6Address}}{{end}}";
    let text = run("docker", &["inspect", "-f", format, name], None).await?;
    let own: Vec<IpAddr> = text.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect();
    if own.is_empty() {
        return Err(anyhow::anyhow!("the container {name} has no address: {}", text.trim()).into());
    }
    Ok(own)
}

fn hinted(error: &anyhow::Error) -> LabError {
    LabError::with_hint(
        format!("{error:#}"),
        "see that Docker runs and that you may use it (`docker info`; DOCKER_HOST)",
    )
}

impl Emulator {
    /// Starts one on a network that exists, of the image that was built.
    pub(super) async fn start(
        run: &str,
        name: &str,
        network: &str,
        (clouds, identity, spec): (Vec<Cloud>, String, &MetadataServerSpec),
    ) -> Result<Self, LabError> {
        let control = SocketAddr::from(([0, 0, 0, 0], CONTROL_PORT));
        let container = start(run, name, network, command(&clouds, &identity, spec, control)).await?;
        match own_addresses(name).await {
            Ok(own) => Ok(Self { container: Mutex::new(Some(container)), identity, clouds, own }),
            Err(error) => {
                let _ = container.rm().await;
                Err(error)
            }
        }
    }

    /// Its own address of the family of this one.
    pub(super) fn way(&self, to: IpAddr) -> Option<IpAddr> {
        self.own.iter().copied().find(|own| own.is_ipv4() == to.is_ipv4())
    }

    /// Where it serves: the addresses of its clouds to which there is a way, each with a port at which somebody listens.
    pub(super) fn places(&self) -> Vec<SocketAddr> {
        let mut places = metadata::endpoints(&self.clouds);
        places.retain(|place| self.way(place.ip()).is_some());
        places.dedup_by_key(|place| place.ip());
        places
    }

    /// The URL of its control endpoint.
    pub(super) fn control(&self) -> String {
        let own = self.own.first().map(|own| SocketAddr::new(*own, CONTROL_PORT));
        own.map(|own| format!("http://{own}")).unwrap_or_default()
    }

    fn take(&self) -> Option<ContainerAsync<GenericImage>> {
        self.container.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Ends and removes the container.
    pub(super) async fn remove(&self) -> Result<(), LabError> {
        let Some(container) = self.take() else { return Ok(()) };
        container.rm().await.context("cannot remove the metadata server's container").map_err(LabError::from)
    }

    /// Lets the container be there when this process has ended.
    pub(super) fn leave(&self) {
        // Dropping it would remove the container.
        std::mem::forget(self.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Imds;

    #[test]
    fn a_server_is_started_as_a_scenario_asks_for_it() {
        let spec = MetadataServerSpec { imds: Imds::V2, hop_limit: Some(1), ..MetadataServerSpec::default() };
        let command = command(&[Cloud::Aws], "metadata/r", &spec, SocketAddr::from(([0, 0, 0, 0], 1)));
        assert_eq!(
            command.join(" "),
            "metadata --in-container --identity metadata/r --cloud aws --control 0.0.0.0:1 --imds v2 --hop-limit 1"
        );
    }
}
