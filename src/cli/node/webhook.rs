//! API audit events as the API server posts them: an HTTP server for the audit backend `webhook`.

use std::{net::SocketAddr, path::Path, sync::Arc};

use anyhow::Context as _;
use ring::digest::{SHA256, digest};
use tokio::{
    net::TcpListener,
    sync::mpsc::{Receiver, Sender, channel},
    task::JoinSet,
};

use crate::{
    cli::{Problem, output::note},
    http::{Handler, Log, Reply, Request, Response, Server},
    input,
};

/// How many batches wait to be read; the API server waits with the next.
const WAITING: usize = 16;

/// The longest batch, in bytes: by default API servers put 400 events into one, with a node of some 20 KiB in each.
const BATCH: usize = 64 << 20;

/// The longest token, in bytes: it has to go into a header.
const TOKEN: u64 = 8 << 10;

/// Takes batches from the API server, until the tasks are dropped. `token` is a file with what it must send, as a bearer
/// token or as the path: an event says who somebody is, so that nobody else may post one.
///
/// # Errors
/// Where it would be open to others without a token, and where it cannot listen.
pub(super) async fn listen(
    address: SocketAddr,
    token: Option<&Path>,
) -> anyhow::Result<(Receiver<String>, JoinSet<()>)> {
    let token = match token {
        Some(path) => {
            let text = input::text(path, TOKEN).map_err(|error| Problem::input("the token", path, &error))?;
            let text = text.trim().to_owned();
            anyhow::ensure!(!text.is_empty(), "{} holds no token", path.display());
            Some(text)
        }
        None if address.ip().is_loopback() => None,
        None => {
            return Err(Problem::usage(format!("whoever reaches {address} could post audit events of anybody"))
                .hint("give `--audit-token FILE`, and in the webhook's kubeconfig `server: http://ADDRESS/TOKEN`")
                .into());
        }
    };
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    note(&format!("audit events: http://{}/", listener.local_addr()?));
    let (sender, receiver) = channel(WAITING);
    let handler = Arc::new(Webhook { token, sender });
    let server = Server { identity: "policyprobe-node-watch".to_owned(), handler, log: Log::default() };
    let mut tasks = JoinSet::new();
    tasks.spawn(Arc::new(server).serve(listener));
    Ok((receiver, tasks))
}

struct Webhook {
    token: Option<String>,
    sender: Sender<String>,
}

impl Webhook {
    /// API servers send a user's token over TLS alone, without a word; over plain HTTP it can only be in the path.
    fn knows(&self, request: &Request) -> bool {
        let Some(token) = &self.token else { return true };
        let header = request.header("Authorization").and_then(|value| value.strip_prefix("Bearer "));
        let mut given = header.into_iter().chain(request.path.strip_prefix('/'));
        // How long the comparison of hashes takes tells nothing of the token.
        let hash = |text: &str| digest(&SHA256, text.as_bytes());
        given.any(|given| hash(given).as_ref() == hash(token).as_ref())
    }
}

impl Handler for Webhook {
    fn answer(&self, request: &Request) -> Reply {
        if !self.knows(request) {
            return Response::text(401, "audit events are taken from the API server alone\n").into();
        }
        if request.method != "POST" {
            return Response::with(405, &[("Allow", "POST")], "an audit webhook is posted to\n").into();
        }
        let Ok(batch) = String::from_utf8(request.body.clone()) else {
            return Response::text(400, "this is no text\n").into();
        };
        let sender = self.sender.clone();
        Reply::Later(Box::pin(async move {
            match sender.send(batch).await {
                Ok(()) => Response::text(200, ""),
                Err(_) => Response::text(503, "the watch has ended\n"),
            }
        }))
    }

    fn longest_body(&self) -> usize {
        BATCH
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    fn request(method: &str, headers: &[(&str, &str)]) -> Request {
        Request {
            method: method.to_owned(),
            path: "/".to_owned(),
            query: String::new(),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            body: b"{}".to_vec(),
            peer: ANY,
            local: ANY,
        }
    }

    async fn status(webhook: &Webhook, request: &Request) -> u16 {
        match webhook.answer(request) {
            Reply::Now(response) => response.status,
            Reply::Later(response) => response.await.status,
        }
    }

    #[tokio::test]
    async fn only_who_has_the_token_may_post() {
        let (sender, mut receiver) = channel(2);
        let webhook = Webhook { token: Some("secret".to_owned()), sender };
        for headers in [&[][..], &[("Authorization", "Bearer wrong")], &[("Authorization", "secret")]] {
            assert_eq!(status(&webhook, &request("POST", headers)).await, 401);
        }
        let right = [("authorization", "Bearer secret")];
        assert_eq!(status(&webhook, &request("GET", &right)).await, 405);
        assert!(receiver.try_recv().is_err());
        assert_eq!(status(&webhook, &request("POST", &right)).await, 200);
        assert_eq!(receiver.recv().await.unwrap(), "{}");
        let post = |path: &str| Request { path: path.to_owned(), ..request("POST", &[]) };
        assert_eq!(status(&webhook, &post("/secrets")).await, 401);
        assert_eq!(status(&webhook, &post("/secret")).await, 200);
        drop(receiver);
        assert_eq!(status(&webhook, &request("POST", &right)).await, 503);
    }

    #[tokio::test]
    async fn without_a_token_it_listens_to_this_machine_alone() {
        let all = SocketAddr::from(([0, 0, 0, 0], 0));
        assert!(listen(all, None).await.unwrap_err().to_string().contains("could post audit events of anybody"));
        let (_receiver, tasks) = listen(ANY, None).await.unwrap();
        assert_eq!(tasks.len(), 1);
    }
}
