//! What a scenario says about the cloud's metadata server: how it is set up, where it is, how it is asked.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::metadata::{Category, Imds};

/// How the metadata server is set up, and where it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MetadataServerSpec {
    /// Where it is.
    #[serde(default)]
    pub topology: Topology,
    /// AWS, Alibaba: whether a session token is asked for.
    #[serde(default)]
    pub imds: Imds,
    /// AWS: how many hops the answer with a session token may take, counted as on AWS: 1 reaches the node, and a pod behind
    /// it needs 2. No limit where nothing is said.
    #[serde(default, rename = "hopLimit", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub hop_limit: Option<u8>,
    /// Whether the old ways are open too: Google's paths that need no header, Oracle's version 1.
    #[serde(default)]
    pub legacy: bool,
}

impl MetadataServerSpec {
    /// Whether there is nothing to say about it.
    #[must_use]
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// Where the metadata server is. A policy that holds in one place may do nothing in another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[derive(clap::ValueEnum)]
pub enum Topology {
    /// Off the nodes: they forward to it, as on most clouds.
    #[default]
    Routed,
    /// At an address of the node itself, as EKS Pod Identity's agent.
    OnNode,
    /// Off the nodes, and a rule of each node leads its pods to an agent of the node instead, as kiam and GKE do.
    Dnat,
}

impl Topology {
    /// As files write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Routed => "routed",
            Self::OnNode => "on-node",
            Self::Dnat => "dnat",
        }
    }
}

/// An HTTP method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// To read.
    #[default]
    Get,
    /// To ask for a session token, among others.
    Put,
    /// To change something.
    Post,
}

impl Method {
    /// As it is sent.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Post => "POST",
        }
    }

    /// Whether it is the usual one.
    #[must_use]
    pub fn is_get(&self) -> bool {
        *self == Self::Get
    }
}

/// How the metadata server is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MetadataTarget {
    /// The path; where nothing is said, a harmless one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Instead of a path: what the cloud has in this category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    /// By address (the default) or by the cloud's host name, which needs DNS.
    #[serde(default)]
    pub by: By,
    /// Another one of the cloud's addresses than the usual one, such as Azure's 168.63.129.16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The pod with a `relay` that passes the request on. The server sees that pod, whoever asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// By the name of a Service of the type `ExternalName` (`name` in `default`, or `namespace/name`) that a step applies and
    /// that stands for the cloud's host name. Only DNS knows of it: the packets are the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Another spelling of the same IPv4 address. The packets are the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spelling: Option<Spelling>,
}

/// A spelling of an IPv4 address that many programs take, and that filters of text may not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Spelling {
    /// One decimal number: `2852039166`.
    Decimal,
    /// One hexadecimal number: `0xa9fea9fe`.
    Hexadecimal,
    /// Four octal numbers: `0251.0376.0251.0376`.
    Octal,
    /// Three numbers: `169.254.43518`.
    Short,
    /// An IPv6 address that stands for it: `::ffff:169.254.169.254`.
    Mapped,
}

impl Spelling {
    /// The address, spelt so. An IPv6 address has only one spelling here.
    #[must_use]
    pub fn of(self, address: IpAddr) -> String {
        let IpAddr::V4(v4) = address else { return address.to_string() };
        let ([a, b, c, d], bits) = (v4.octets(), v4.to_bits());
        match self {
            Self::Decimal => bits.to_string(),
            Self::Hexadecimal => format!("{bits:#x}"),
            Self::Octal => format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
            Self::Short => format!("{a}.{b}.{}", bits & 0xffff),
            Self::Mapped => v4.to_ipv6_mapped().to_string(),
        }
    }

    /// As files write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Decimal => "decimal",
            Self::Hexadecimal => "hexadecimal",
            Self::Octal => "octal",
            Self::Short => "short",
            Self::Mapped => "mapped",
        }
    }
}

/// How a destination is named in the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// By its address.
    #[default]
    Address,
    /// By its host name.
    Name,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_are_those_of_the_same_address() {
        let spelt = |spelling: Spelling, address: [u8; 4]| spelling.of(IpAddr::from(address));
        assert_eq!(spelt(Spelling::Decimal, [169, 254, 169, 254]), "2852039166");
        assert_eq!(spelt(Spelling::Hexadecimal, [100, 100, 100, 200]), "0x646464c8");
        assert_eq!(spelt(Spelling::Octal, [169, 254, 169, 254]), "0251.0376.0251.0376");
        assert_eq!(spelt(Spelling::Octal, [169, 254, 170, 2]), "0251.0376.0252.02");
        assert_eq!(spelt(Spelling::Short, [169, 254, 169, 254]), "169.254.43518");
        assert_eq!(spelt(Spelling::Mapped, [169, 254, 169, 254]), "::ffff:169.254.169.254");
    }
}
