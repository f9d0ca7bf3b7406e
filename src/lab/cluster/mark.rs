//! What tells a cluster from others. Whose cluster it is, and whether that matters, is left to those who ask.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use kube::Config;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

/// What tells a cluster from others, for whoever may read nothing but its nodes: how it is reached, and by whose word it is
/// known there. The same cluster may have several.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterMark {
    /// The URL of its API server.
    pub server: String,
    /// A hash of the certificates of its authorities; empty where they are those of the system.
    pub authority: String,
}

impl ClusterMark {
    pub(crate) fn of(config: &Config) -> Self {
        let hash = |certificates: &Vec<Vec<u8>>| {
            let mut hash = Context::new(&SHA256);
            for certificate in certificates {
                hash.update(certificate);
            }
            BASE64_URL_SAFE_NO_PAD.encode(hash.finish())
        };
        let authority = config.root_cert.as_ref().map(hash).unwrap_or_default();
        Self { server: config.cluster_url.to_string(), authority }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_are_told_apart_by_address_and_authority() {
        let mark = |url: &str, certificates: Option<&[&[u8]]>| {
            let mut config = Config::new(url.parse().expect("it is a URL"));
            config.root_cert = certificates.map(|all| all.iter().map(|bytes| bytes.to_vec()).collect());
            ClusterMark::of(&config)
        };
        let one = mark("https://a:6443", Some(&[b"x"]));
        assert_eq!(one, mark("https://a:6443", Some(&[b"x"])));
        assert!(one != mark("https://b:6443", Some(&[b"x"])) && one != mark("https://a:6443", Some(&[b"y"])));
        assert_eq!(mark("https://a", None).authority, "");
    }
}
