//! Never the real metadata service: the routes that fail closed, and the proof that the emulator is what answers.
//!
//! The inner half's own namespaces lead nowhere to begin with, so all of this guards against the lab's own mistakes.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::{metadata::Metadata, net::Host, plumbing::Backbone, serve, topo};
use crate::{
    http::{IDENTITY_PATH, NONCE, SERVER},
    lab::LabError,
    scenario::Topology,
};

/// Before anything is connected: no metadata address of any cloud has a way out of this namespace.
pub(super) async fn fail_closed(host: &Host) -> anyhow::Result<()> {
    for prefix in serve::guarded_prefixes() {
        host.unreachable(prefix).await?;
    }
    Ok(())
}

/// After everything is connected: the ways to the emulator are those that the plan says, and the emulator answers.
pub(super) async fn prove(backbone: &Backbone, metadata: &Metadata) -> anyhow::Result<()> {
    for address in metadata.addresses.iter().copied() {
        if metadata.topology() != Topology::OnNode {
            let device = backbone.router.leaves_by(address).await?;
            ensure!(device == topo::METADATA_DEVICE, "the router would send packets for {address} by {device}");
        }
        for node in &backbone.nodes {
            if metadata.topology() == Topology::OnNode {
                node.host.keeps(address).await?;
            } else {
                let device = node.host.leaves_by(address).await?;
                ensure!(device == topo::ROUTER_DEVICE, "a node would send packets for {address} by {device}");
            }
            let nonce = format!("identity-{}", node.name.as_str());
            let answer = timeout(Duration::from_secs(2), ask(&node.host, address, &nonce)).await;
            let answer = answer.context("the metadata server does not answer")??;
            if !is_ours(&answer, &nonce, &metadata.identity_for(node.name)) {
                return Err(LabError::RealMetadata { address }.into());
            }
        }
    }
    Ok(())
}

/// The head of the answer to the one request that is harmless on a real server.
async fn ask(node: &Host, address: IpAddr, nonce: &str) -> anyhow::Result<String> {
    let to = SocketAddr::from((address, 80));
    let mut stream = node.connect(to).await?;
    let request =
        format!("GET {IDENTITY_PATH} HTTP/1.1\r\nHost: {to}\r\n{NONCE}: {nonce}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    stream.take(16 << 10).read_to_end(&mut head).await?;
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn is_ours(answer: &str, nonce: &str, identity: &str) -> bool {
    let head = answer.split("\r\n\r\n").next().unwrap_or_default();
    let has = |name: &str, value: &str| {
        head.lines()
            .filter_map(|line| line.split_once(':'))
            .any(|(key, found)| key.eq_ignore_ascii_case(name) && found.trim() == value)
    };
    has(NONCE, nonce) && has(SERVER, identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_emulators_answer_to_this_very_request_is_ours() {
        let answer = |nonce: &str, server: &str| {
            format!("HTTP/1.1 200 OK\r\npolicyprobe-nonce: {nonce}\r\n{SERVER}: {server}\r\n\r\nbody")
        };
        assert!(is_ours(&answer("n", "metadata/gcp/r"), "n", "metadata/gcp/r"));
        assert!(!is_ours(&answer("old", "metadata/gcp/r"), "n", "metadata/gcp/r"));
        assert!(!is_ours(&answer("n", "metadata/gcp/other"), "n", "metadata/gcp/r"));
        assert!(!is_ours("HTTP/1.1 404 Not Found\r\nMetadata-Flavor: Google\r\n\r\n", "n", "metadata/gcp/r"));
        assert!(!is_ours(&format!("HTTP/1.1 200 OK\r\n\r\n{}", answer("n", "i")), "n", "i"), "headers, not the body");
    }
}
