//! What can be chosen about an emulated metadata server, as a cloud's customer chooses it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The settings of one server. A cloud looks at those that it has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Options {
    /// A word in each secret that is handed out, by which a leaked one names its run.
    pub seed: String,
    /// AWS, Alibaba: whether a session token is asked for.
    pub imds: Imds,
    /// AWS: how many hops the packets that carry a session token may take; the system's default where nothing is said.
    pub hop_limit: Option<u8>,
    /// Whether the old ways are open too: on Google the paths that need no header, on AWS the answers of Xen hosts, on
    /// Oracle version 1.
    pub legacy: bool,
    /// Whether the machine was given nothing: no role or identity, no keys, no tags, no user data. AWS, Azure and Hetzner,
    /// of which it is known how they say so.
    pub bare: bool,
    /// Whether connections stay open for further requests where the real server closes each: for measuring.
    pub keep_alive: bool,
}

impl Options {
    /// The usual settings, with this seed.
    #[must_use]
    pub fn seeded(seed: &str) -> Self {
        Self { seed: seed.to_owned(), ..Self::default() }
    }
}

/// The access to AWS' instance metadata service (`HttpTokens` and `HttpEndpoint` of its API).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "harness", derive(schemars::JsonSchema, clap::ValueEnum))]
pub enum Imds {
    /// With a session token or without (`HttpTokens=optional`).
    #[default]
    V1,
    /// Only with a session token (`HttpTokens=required`).
    V2,
    /// Not at all (`HttpEndpoint=disabled`).
    Disabled,
}

impl fmt::Display for Imds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::Disabled => "disabled",
        })
    }
}

impl FromStr for Imds {
    type Err = UnknownImds;

    fn from_str(name: &str) -> Result<Self, UnknownImds> {
        let found = [Self::V1, Self::V2, Self::Disabled].into_iter().find(|imds| imds.to_string() == name);
        found.ok_or_else(|| UnknownImds(name.to_owned()))
    }
}

/// A word that is no access to the service.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is none of v1, v2, disabled")]
pub struct UnknownImds(String);
