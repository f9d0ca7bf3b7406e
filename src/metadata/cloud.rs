//! How a cloud is described. A new one is a variant here and a file beside this one that holds its [`Definition`].

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};

use super::gcp;
use crate::http::Handler;

/// A cloud whose metadata server can be emulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "harness", derive(schemars::JsonSchema, clap::ValueEnum))]
pub enum Cloud {
    /// Google Compute Engine.
    Gcp,
}

/// What distinguishes one cloud's metadata server.
pub struct Definition {
    /// The cloud's name in scenario files and on the command line.
    pub name: &'static str,
    /// The names by which machines of that cloud know the server, the usual one first.
    pub hosts: &'static [&'static str],
    /// Its addresses, IPv4 first.
    pub addresses: &'static [IpAddr],
    /// Headers without which it refuses.
    pub headers: &'static [(&'static str, &'static str)],
    /// A path that exists and holds no secret.
    pub path: &'static str,
    /// Makes the server's answers. The seed goes into each secret that it hands out: a leaked one names its run.
    pub server: fn(seed: &str) -> Box<dyn Handler>,
}

impl Cloud {
    /// Every cloud.
    pub const ALL: &'static [Self] = &[Self::Gcp];

    /// Its description.
    #[must_use]
    pub fn definition(self) -> &'static Definition {
        match self {
            Self::Gcp => &gcp::DEFINITION,
        }
    }
}

impl fmt::Display for Cloud {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.definition().name)
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
    use crate::metadata::is_metadata_address;

    #[test]
    fn definitions_are_consistent() {
        for cloud in Cloud::ALL {
            let definition = cloud.definition();
            assert_eq!(definition.name.parse::<Cloud>().unwrap(), *cloud);
            assert_eq!(serde_json::to_value(cloud).unwrap(), definition.name);
            assert!(definition.addresses[0].is_ipv4());
            assert!(definition.addresses.iter().all(|address| is_metadata_address(*address)));
            assert!(definition.path.starts_with('/') && !definition.hosts.is_empty());
        }
        assert_eq!("nimbus".parse::<Cloud>().unwrap_err().to_string(), "there is no cloud `nimbus`; there is: gcp");
    }
}
