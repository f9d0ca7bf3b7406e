//! How a cloud is described. A new one is a variant here and a file beside this one that holds its [`Definition`].

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use super::{Options, alibaba, aws, azure, digitalocean, ecs, eks_pod_identity, gcp, gke, hetzner, openstack, oracle};
use crate::http::Handler;

/// A cloud, or a part of one, whose metadata server can be emulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "harness", derive(schemars::JsonSchema, clap::ValueEnum))]
pub enum Cloud {
    /// AWS EC2's instance metadata service (IMDS).
    Aws,
    /// Google Compute Engine.
    Gcp,
    /// Google Kubernetes Engine's own server in front of Google's, with Workload Identity.
    Gke,
    /// Azure's instance metadata service, and the `WireServer`.
    Azure,
    /// Oracle Cloud.
    Oracle,
    /// Alibaba Cloud.
    Alibaba,
    /// DigitalOcean.
    Digitalocean,
    /// `OpenStack`.
    Openstack,
    /// Hetzner Cloud.
    Hetzner,
    /// AWS ECS' credentials and metadata of tasks.
    Ecs,
    /// AWS EKS Pod Identity's agent.
    EksPodIdentity,
}

/// What distinguishes one cloud's metadata server.
pub struct Definition {
    /// The cloud's name in scenario files and on the command line.
    pub name: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// The names by which machines of that cloud know the server, the usual one first.
    pub hosts: &'static [&'static str],
    /// Where it listens: the usual place first, IPv4 before IPv6.
    pub endpoints: &'static [SocketAddr],
    /// Headers without which it refuses.
    pub headers: &'static [(&'static str, &'static str)],
    /// A path that exists and holds no secret.
    pub path: &'static str,
    /// Makes the server's answers. The seed goes into each secret that it hands out: a leaked one names its run.
    pub server: fn(&Options) -> Box<dyn Handler>,
}

impl Definition {
    /// Its addresses, the usual one first, each once.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        let mut all = Vec::new();
        for endpoint in self.endpoints {
            if !all.contains(&endpoint.ip()) {
                all.push(endpoint.ip());
            }
        }
        all
    }

    /// The ports that it listens on at one of its addresses.
    pub fn ports(&self, address: IpAddr) -> impl Iterator<Item = u16> + '_ {
        self.endpoints.iter().filter(move |endpoint| endpoint.ip() == address).map(SocketAddr::port)
    }
}

impl Cloud {
    /// Every cloud.
    pub const ALL: &'static [Self] = &[
        Self::Aws,
        Self::Gcp,
        Self::Gke,
        Self::Azure,
        Self::Oracle,
        Self::Alibaba,
        Self::Digitalocean,
        Self::Openstack,
        Self::Hetzner,
        Self::Ecs,
        Self::EksPodIdentity,
    ];

    /// Its description.
    #[must_use]
    pub fn definition(self) -> &'static Definition {
        match self {
            Self::Aws => &aws::DEFINITION,
            Self::Gcp => &gcp::DEFINITION,
            Self::Gke => &gke::DEFINITION,
            Self::Azure => &azure::DEFINITION,
            Self::Oracle => &oracle::DEFINITION,
            Self::Alibaba => &alibaba::DEFINITION,
            Self::Digitalocean => &digitalocean::DEFINITION,
            Self::Openstack => &openstack::DEFINITION,
            Self::Hetzner => &hetzner::DEFINITION,
            Self::Ecs => &ecs::DEFINITION,
            Self::EksPodIdentity => &eks_pod_identity::DEFINITION,
        }
    }
}

/// An endpoint, in constants.
pub(super) const fn on(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address, port)
}

impl fmt::Display for Cloud {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.definition().name)
    }
}

impl FromStr for Cloud {
    type Err = UnknownCloud;

    fn from_str(name: &str) -> Result<Self, UnknownCloud> {
        let found = Self::ALL.iter().find(|cloud| cloud.definition().name == name);
        found.copied().ok_or_else(|| UnknownCloud(name.to_owned()))
    }
}

/// A name that is no cloud's.
#[derive(Debug, thiserror::Error)]
#[error("there is no cloud `{0}`; there is: {all}", all = Cloud::ALL.iter().map(Cloud::to_string).collect::<Vec<_>>().join(", "))]
pub struct UnknownCloud(String);

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::metadata::{METADATA_ADDRESSES, is_metadata_address};

    #[test]
    fn definitions_are_consistent() {
        for cloud in Cloud::ALL {
            let definition = cloud.definition();
            assert_eq!(definition.name.parse::<Cloud>().unwrap(), *cloud);
            assert_eq!(serde_json::to_value(cloud).unwrap(), definition.name);
            assert!(definition.endpoints[0].is_ipv4());
            for address in definition.addresses() {
                assert!(is_metadata_address(address), "{address}");
                assert!(METADATA_ADDRESSES.iter().any(|known| known.address == address), "{address} is not guarded");
                assert!(definition.ports(address).count() > 0);
            }
            assert!(definition.path.starts_with('/'));
        }
        let unknown = "nimbus".parse::<Cloud>().unwrap_err().to_string();
        assert!(unknown.starts_with("there is no cloud `nimbus`; there is: aws, gcp, gke, azure,"), "{unknown}");
    }
}
