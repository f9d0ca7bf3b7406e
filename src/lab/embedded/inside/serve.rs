//! What answers in the lab: the one place that knows the servers of [`crate::http`] and [`crate::metadata`].

use std::{net::Ipv4Addr, sync::Arc};

use tokio::{io::{AsyncReadExt, AsyncWriteExt}, net::TcpListener, task::JoinSet};

use crate::{http::{NONCE, SERVER}, scenario::Cloud};

/// The nonces that a server has seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Log(Arc<std::sync::Mutex<std::collections::BTreeSet<String>>>);

impl Log {
    pub(super) fn nonces(&self) -> std::collections::BTreeSet<String> {
        self.0.lock().expect("never poisoned").clone()
    }
}

/// The networks that lead to a real metadata server somewhere.
pub(super) fn guarded_prefixes() -> impl Iterator<Item = (std::net::IpAddr, u8)> {
    [(std::net::IpAddr::V4(Ipv4Addr::new(169, 254, 0, 0)), 16), (Ipv4Addr::new(169, 254, 169, 254).into(), 32)].into_iter()
}

/// The names of a cloud's metadata server.
pub(super) fn hosts(cloud: Cloud) -> &'static [&'static str] {
    match cloud {
        Cloud::Gcp => &["metadata.google.internal"],
    }
}

/// A cloud's metadata address.
pub(super) fn address(cloud: Cloud) -> Ipv4Addr {
    match cloud {
        Cloud::Gcp => Ipv4Addr::new(169, 254, 169, 254),
    }
}

/// What a server serves.
#[derive(Clone, Copy)]
pub(super) enum Content {
    Echo,
    Metadata(Cloud),
}

/// Serves on these listeners until the set is dropped.
pub(super) fn serve(tasks: &mut JoinSet<()>, listeners: Vec<TcpListener>, identity: &str, content: Content, log: &Log) {
    for listener in listeners {
        let (log, identity) = (log.clone(), identity.to_owned());
        let _ = content;
        tasks.spawn(async move {
            loop {
                let Ok((mut stream, _)) = listener.accept().await else { continue };
                let (log, identity) = (log.clone(), identity.clone());
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = stream.read_u8().await else { return };
                        head.push(byte);
                    }
                    let head = String::from_utf8_lossy(&head).into_owned();
                    let nonce = head.lines().filter_map(|l| l.split_once(": ")).find(|(k, _)| k.eq_ignore_ascii_case(NONCE));
                    let nonce = nonce.map(|(_, v)| v.to_owned()).unwrap_or_default();
                    log.0.lock().expect("never poisoned").insert(nonce.clone());
                    let answer = format!("HTTP/1.1 200 OK\r\n{NONCE}: {nonce}\r\n{SERVER}: {identity}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{identity}\n", identity.len() + 1);
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
    }
}

/// Whether a real metadata server may be at an address.
pub(super) fn is_metadata_address(address: Ipv4Addr) -> bool {
    address.is_link_local()
}

/// What a cloud's server says that it is.
pub(super) fn metadata_identity(cloud: Cloud, run: &str) -> String {
    match cloud {
        Cloud::Gcp => format!("metadata/gcp/{run}"),
    }
}
