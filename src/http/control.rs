//! The control endpoint of a server: its log and its identity, for the harness and never for what is being tested.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

use super::{Handler, Log, Reply, Request, Response, Server};
use crate::metadata::is_metadata_address;

/// A server that tells what another one has seen: `/log` as a JSON array of [`super::Entry`], `/nonces` one a line (of a
/// POST with some, one a line, those that are known), `/identity`. It never answers at a metadata address, not even when
/// it listens on every address.
#[must_use]
pub fn control(identity: &str, log: &Log) -> Server {
    let handler = Control { identity: identity.to_owned(), log: log.clone(), of: None };
    Server { identity: format!("control/{identity}"), handler: Arc::new(handler), log: Log::default() }
}

/// The same, and `PUT PATH` with a value as its body changes what the server answers at that path, where it can.
#[must_use]
pub fn control_of(server: &Server) -> Server {
    let (identity, log, of) = (server.identity.clone(), server.log.clone(), Some(Arc::clone(&server.handler)));
    Server {
        identity: format!("control/{identity}"),
        handler: Arc::new(Control { identity, log, of }),
        log: Log::default(),
    }
}

fn lines(nonces: BTreeSet<String>) -> Response {
    Response::text(200, nonces.into_iter().map(|nonce| nonce + "\n").collect::<String>())
}

struct Control {
    identity: String,
    log: Log,
    /// What can be changed.
    of: Option<Arc<dyn Handler>>,
}

impl Handler for Control {
    fn answer(&self, request: &Request) -> Reply {
        let response = match (request.method.as_str(), request.path.as_str()) {
            ("GET" | "HEAD", "/log") => match serde_json::to_vec(&self.log.entries()) {
                Ok(json) => Response::new(200, "application/json", json),
                Err(error) => Response::text(500, format!("{error}\n")),
            },
            ("GET" | "HEAD", "/nonces") => lines(self.log.nonces()),
            ("POST", "/nonces") => {
                let wanted = String::from_utf8_lossy(&request.body).lines().map(str::to_owned).collect();
                lines(self.log.known(&wanted))
            }
            ("GET" | "HEAD", "/identity") => Response::text(200, format!("{}\n", self.identity)),
            ("PUT", path) if self.of.is_some() => {
                let set = |of: &Arc<dyn Handler>| of.set(path, &String::from_utf8_lossy(&request.body));
                match self.of.as_ref().map(set) {
                    Some(Err(error)) => Response::text(409, format!("{error}\n")),
                    _ => Response::new(204, "text/plain", ""),
                }
            }
            ("GET" | "HEAD", _) => Response::text(404, "Not found. There are /log, /nonces and /identity.\n"),
            _ => Response::text(405, "Only GET is answered.\n"),
        };
        response.into()
    }

    fn serves(&self, local: SocketAddr) -> bool {
        !is_metadata_address(local.ip())
    }
}
