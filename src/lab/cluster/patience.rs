//! Requests that outlast an API server's restart: what cannot have arrived, and what may arrive twice, is sent again for a
//! while. When that was necessary is remembered, because the CNI's agents have lost the API server as well.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::{Method, Request, Response, header::UPGRADE};
use hyper_util::client::legacy;
use kube::client::{Body, retry::RetryPolicy};
use tokio::time::{Instant, Sleep, sleep};
use tower::{BoxError, retry::Policy};

/// How long a request is sent again: a static pod of an API server is back in less.
const LIMIT: Duration = Duration::from_secs(60);
/// From one try to the next.
const PAUSE: Duration = Duration::from_millis(250);
/// How long an API server may be up without having read its roles and its quotas.
const STARTING: Duration = Duration::from_secs(30);
/// What it says until then.
const NOT_YET: [u16; 5] = [401, 403, 429, 500, 503];
/// How long the CNI's agents may take to find an API server again that is back: their clients wait for up to 30 s.
const FINDING: Duration = Duration::from_secs(40);

/// When the API server was away.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outages(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    /// Whether it ever answered: before, waiting is no use.
    answered: bool,
    last: Option<Instant>,
}

impl Outages {
    /// Whether policies may have been late since then because the API server was away.
    pub(crate) fn since(&self, start: Instant) -> bool {
        self.lock().last.is_some_and(|last| last + FINDING >= start)
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends requests again.
#[derive(Clone)]
pub(crate) struct Patience {
    outages: Outages,
    /// The first failure of this request.
    since: Option<Instant>,
    /// For nothing but its copies of requests.
    copies: RetryPolicy,
}

impl Patience {
    /// Patience that remembers when it was needed.
    pub(crate) fn new(outages: Outages) -> Self {
        Self { outages, since: None, copies: RetryPolicy::default() }
    }
}

impl<B> Policy<Request<Body>, Response<B>, BoxError> for Patience {
    type Future = Sleep;

    fn retry(&mut self, request: &mut Request<Body>, result: &mut Result<Response<B>, BoxError>) -> Option<Sleep> {
        let mut seen = self.outages.lock();
        let again = match result {
            Ok(response) => {
                seen.answered = true;
                let starting = seen.last.is_some_and(|last| last.elapsed() < STARTING);
                starting && NOT_YET.contains(&response.status().as_u16())
            }
            Err(error) => {
                let again = seen.answered && may_come_again(request, &**error);
                if again {
                    seen.last = Some(Instant::now());
                }
                again
            }
        };
        let since = *self.since.get_or_insert_with(Instant::now);
        (again && since.elapsed() < LIMIT).then(|| sleep(PAUSE))
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        Policy::<_, Response<B>, BoxError>::clone_request(&mut self.copies, request)
    }
}

/// Whether a request may be sent once more: it was never sent, or to send it twice changes nothing.
fn may_come_again(request: &Request<Body>, error: &(dyn std::error::Error + 'static)) -> bool {
    let repeatable = request.method() != Method::POST && !request.headers().contains_key(UPGRADE);
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    let failed = causes.find_map(|cause| cause.downcast_ref::<legacy::Error>());
    failed.is_some_and(|failed| failed.is_connect() || repeatable)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::net::SocketAddr;

    use kube::{Client, Config};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpSocket},
        task::JoinHandle,
    };

    use super::{super::access::client, *};

    /// Answers so many requests, each on a connection of its own, with this status; none means that it hangs up.
    fn serve(at: SocketAddr, statuses: Vec<Option<u16>>) -> (SocketAddr, JoinHandle<usize>) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(at).unwrap();
        let listener: TcpListener = socket.listen(8).unwrap();
        let at = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let mut requests = 0;
            for status in statuses {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut text = [0; 4096];
                requests += usize::from(stream.read(&mut text).await.unwrap_or_default() > 0);
                let Some(status) = status else { continue };
                let head = format!("HTTP/1.1 {status} Status\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}");
                let _ = stream.write_all(head.as_bytes()).await;
            }
            requests
        });
        (at, serving)
    }

    async fn patient(at: SocketAddr) -> (Client, Outages) {
        let outages = Outages::default();
        let config = Config::new(format!("http://{at}").parse().unwrap());
        (client(config, Some(Patience::new(outages.clone()))).await.unwrap(), outages)
    }

    fn request(method: &str) -> http::Request<Vec<u8>> {
        http::Request::builder().method(method).uri("/api/v1/pods").body(Vec::new()).unwrap()
    }

    fn anywhere() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    #[tokio::test]
    async fn a_server_that_never_answered_is_not_waited_for() {
        let (at, ended) = serve(anywhere(), Vec::new());
        ended.await.unwrap();
        let (client, outages) = patient(at).await;
        assert!(client.request_text(request("GET")).await.is_err());
        assert!(!outages.since(Instant::now()));
    }

    #[tokio::test]
    async fn a_restart_is_outlasted_and_remembered() {
        let (at, ended) = serve(anywhere(), vec![Some(200)]);
        let (client, outages) = patient(at).await;
        assert_eq!(client.request_text(request("GET")).await.unwrap(), "{}");
        assert!(!outages.since(Instant::now()));
        ended.await.unwrap();
        let again = tokio::spawn({
            let client = client.clone();
            async move { client.request_text(request("POST")).await }
        });
        tokio::time::sleep(Duration::from_millis(600)).await;
        // Right after its start it has not read its roles yet.
        let (_, ended) = serve(at, vec![Some(403), Some(200)]);
        assert_eq!(again.await.unwrap().unwrap(), "{}");
        assert_eq!(ended.await.unwrap(), 2);
        assert!(outages.since(Instant::now()));
        assert!(!outages.since(Instant::now() + FINDING + STARTING));
    }

    #[tokio::test]
    async fn what_may_have_arrived_is_sent_again_only_where_that_changes_nothing() {
        let (at, ended) = serve(anywhere(), vec![Some(200), None, Some(200), None]);
        let (client, _) = patient(at).await;
        client.request_text(request("GET")).await.unwrap();
        assert_eq!(client.request_text(request("DELETE")).await.unwrap(), "{}");
        assert!(client.request_text(request("POST")).await.is_err());
        assert_eq!(ended.await.unwrap(), 4);
    }
}
