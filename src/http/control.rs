//! The control endpoint of a server: its log and its identity, for the harness and never for what is being tested.

use std::{net::SocketAddr, sync::Arc};

use super::{Handler, Log, Reply, Request, Response, Server};
use crate::metadata::is_metadata_address;

/// A server that tells what another one has seen: `/log` as a JSON array of [`super::Entry`], `/nonces` one a line,
/// `/identity`. It never answers at a metadata address, not even when it listens on every address.
#[must_use]
pub fn control(identity: &str, log: &Log) -> Server {
    let handler = Control { identity: identity.to_owned(), log: log.clone() };
    Server { identity: format!("control/{identity}"), handler: Arc::new(handler), log: Log::default() }
}

struct Control {
    identity: String,
    log: Log,
}

impl Handler for Control {
    fn answer(&self, request: &Request) -> Reply {
        let response = match (request.method.as_str(), request.path.as_str()) {
            ("GET" | "HEAD", "/log") => match serde_json::to_vec(&self.log.entries()) {
                Ok(json) => Response::new(200, "application/json", json),
                Err(error) => Response::text(500, format!("{error}\n")),
            },
            ("GET" | "HEAD", "/nonces") => {
                Response::text(200, self.log.nonces().into_iter().map(|nonce| nonce + "\n").collect::<String>())
            }
            ("GET" | "HEAD", "/identity") => Response::text(200, format!("{}\n", self.identity)),
            ("GET" | "HEAD", _) => Response::text(404, "Not found. There are /log, /nonces and /identity.\n"),
            _ => Response::text(405, "Only GET is answered.\n"),
        };
        response.into()
    }

    fn serves(&self, local: SocketAddr) -> bool {
        !is_metadata_address(local.ip())
    }
}
