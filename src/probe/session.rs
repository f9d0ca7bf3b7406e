//! A session that makes its requests with real `curl` processes, over whatever can start one in the source.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures::{StreamExt, future, stream, stream::BoxStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::{
    Answer, Failures, Line, MAX_BATCH, Observation, Outcome, Proof, Request, Session, Target, curl, netexec, output,
};

/// A place in which `curl` can be started again and again: a pod, a node, a namespace.
#[async_trait]
pub trait CurlHost: Send {
    /// Starts `curl -q --config -` with this configuration on its input, in a cleared environment (`PATH` alone), and
    /// sends each line of its output and of its errors as it comes. Returns the exit code; an error means that nothing is known about
    /// the process (the stream was cut, the pod is gone), never that it failed. Cancel safe: dropping the future gives
    /// the process up, and the next call must not see its output.
    async fn curl(&mut self, config: &str, lines: UnboundedSender<String>) -> Result<i32, String>;

    /// How a person gets a shell or a command into this source: `kubectl exec -n default app1 --`, empty on the
    /// embedded backend.
    fn prefix(&self) -> String;
}

/// A session over a host: one `curl` a batch.
pub struct CurlSession<H>(H);

impl<H: CurlHost> CurlSession<H> {
    /// A session in this host.
    pub fn new(host: H) -> Self {
        Self(host)
    }
}

/// What a running batch has to say next.
enum Said {
    Line(String),
    Over(Result<i32, String>),
}

/// The lines of one `curl`, and how it ended.
fn run<H: CurlHost>(host: &mut H, config: String) -> BoxStream<'_, Said> {
    let (sender, receiver) = unbounded_channel();
    let lines =
        stream::unfold(receiver, |mut lines| async { lines.recv().await.map(|line| (Said::Line(line), lines)) });
    let over = stream::once(async move { Said::Over(host.curl(&config, sender).await) });
    // The channel ends when the host drops its sender, so the end of both is the end of the process.
    stream::select(lines, over).boxed()
}

/// Reads lines into answers for the requests of one `curl`.
#[derive(Default)]
struct Reader {
    failures: Failures,
    /// Identities that bodies proved, by nonce. A body comes before its transfer's line.
    proofs: HashMap<String, String>,
}

impl Reader {
    fn read(&mut self, batch: &[Request], mut line: &str) -> Option<Answer> {
        while let Some((nonce, identity, rest)) = netexec::take(line) {
            self.proofs.insert(nonce.to_owned(), identity.to_owned());
            line = rest;
        }
        match output::read(line) {
            Line::Failed(address, port, reason) => {
                self.failures.insert((address, port), reason);
                None
            }
            Line::Done(index, mut fields) => {
                let request = batch.get(index)?;
                if matches!(&request.target, Target::Http { proof: Proof::Netexec, .. })
                    && let Some(identity) = self.proofs.remove(&request.nonce)
                {
                    fields.prove(&request.nonce, identity);
                }
                let observation = output::observe(request, &fields, &self.failures);
                Some(Answer { index, at: Instant::now(), observation })
            }
            Line::Other => None,
        }
    }
}

/// The answers of one `curl` to requests of this batch, as they come.
fn answers<'a, H: CurlHost>(host: &'a mut H, config: String, batch: &'a [Request]) -> BoxStream<'a, Answer> {
    let mut reader = Reader::default();
    let answer = move |said| {
        future::ready(match said {
            Said::Line(line) => reader.read(batch, &line),
            Said::Over(_) => None,
        })
    };
    run(host, config).filter_map(answer).boxed()
}

#[async_trait]
impl<H: CurlHost> Session for CurlSession<H> {
    fn probe<'a>(&'a mut self, batch: &'a [Request]) -> BoxStream<'a, Answer> {
        // One host runs one process at a time, so a long batch is a chain of processes.
        let answers = async_stream::stream! {
            for (n, part) in batch.chunks(MAX_BATCH).enumerate() {
                let mut answers = answers(&mut self.0, curl::config(part, n * MAX_BATCH), batch);
                while let Some(answer) = answers.next().await {
                    yield answer;
                }
            }
        };
        answers.boxed()
    }

    fn watch<'a>(&'a mut self, batch: &'a [Request], every: Duration) -> BoxStream<'a, Answer> {
        answers(&mut self.0, curl::watch_config(batch, every), batch)
    }

    async fn fetch(&mut self, request: &Request) -> (Observation, String) {
        let batch = std::slice::from_ref(request);
        let (mut reader, mut body, mut found, mut end) = (Reader::default(), Vec::new(), None, None);
        let mut said = run(&mut self.0, curl::fetch_config(request));
        while let Some(said) = said.next().await {
            match said {
                Said::Line(line) => match reader.read(batch, &line) {
                    Some(answer) => found = Some(answer.observation),
                    None => body.push(line),
                },
                Said::Over(result) => end = Some(result),
            }
        }
        let observation = found.unwrap_or_else(|| Observation::lost(end.and_then(Result::err)));
        // Only a server that proved itself may have its body kept.
        let body =
            if observation.outcome == Outcome::Reached { body.join("\n").trim_end().to_owned() } else { String::new() };
        (observation, body)
    }

    fn command(&self, request: &Request) -> String {
        let prefix = self.0.prefix();
        let space = if prefix.is_empty() { "" } else { " " };
        format!("{prefix}{space}{}", curl::command(request))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::{net::SocketAddr, process::Stdio};

    use tokio::{
        io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
        net::{TcpListener, unix::pipe},
        process::Command,
    };

    use super::*;
    use crate::{http, scenario::Family};

    /// Curl on this machine, against servers on loopback.
    struct Here;

    #[async_trait]
    impl CurlHost for Here {
        async fn curl(&mut self, config: &str, lines: UnboundedSender<String>) -> Result<i32, String> {
            let mut curl = Command::new("curl");
            curl.args(["-q", "--config", "-"]).env_clear().env("PATH", "/usr/bin:/bin").kill_on_drop(true);
            let (out, both) = std::io::pipe().map_err(|e| e.to_string())?;
            curl.stdin(Stdio::piped()).stdout(both.try_clone().unwrap()).stderr(both);
            let mut child = curl.spawn().map_err(|e| e.to_string())?;
            drop(curl);
            child.stdin.take().unwrap().write_all(config.as_bytes()).await.map_err(|e| e.to_string())?;
            let mut out = BufReader::new(pipe::Receiver::from_owned_fd(out.into()).unwrap()).lines();
            while let Some(line) = out.next_line().await.map_err(|e| e.to_string())? {
                let _ = lines.send(line);
            }
            Ok(child.wait().await.map_err(|e| e.to_string())?.code().unwrap_or(-1))
        }

        fn prefix(&self) -> String {
            String::new()
        }
    }

    /// Answers each request with what `answer` makes of it: headers, each with its line's end, and a body.
    async fn answering(answer: impl Fn(&str) -> (String, String) + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut text = vec![0; 4096];
                let length = stream.read(&mut text).await.unwrap_or(0);
                let (headers, body) = answer(&String::from_utf8_lossy(&text[..length]));
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
                let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            }
        });
        address
    }

    /// Answers each request with `identity` and the nonce that it carried, and a body of two lines.
    async fn server(identity: &'static str) -> SocketAddr {
        let answer = move |text: &str| {
            let nonce = text.lines().find_map(|l| l.strip_prefix("Policyprobe-Nonce: ")).unwrap_or_default();
            (format!("{}: {nonce}\r\n{}: {identity}\r\n", http::NONCE, http::SERVER), "one\ntwo".to_owned())
        };
        answering(answer).await
    }

    fn request(address: SocketAddr, nonce: &str) -> Request {
        let target = Target::http(crate::scenario::Method::Get, &address.ip().to_string(), address.port(), "/", &[]);
        Request::new(target, nonce.to_owned(), "pod/default/one".to_owned(), Duration::from_secs(2))
    }

    #[tokio::test]
    async fn one_curl_tells_servers_refusals_and_names_apart() {
        let (one, two) = (server("pod/default/one").await, server("pod/default/two").await);
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let mut name = request(one, "n4");
        name.target = Target::Resolve { name: "localhost".to_owned(), family: Family::Ipv4 };
        let batch = [request(one, "n1"), request(two, "n2"), request(closed, "n3"), name];
        let mut session = CurlSession::new(Here);
        let mut answers: Vec<_> = session.probe(&batch).collect().await;
        answers.sort_by_key(|answer| answer.index);
        let outcomes: Vec<_> = answers.iter().map(|answer| answer.observation.outcome).collect();
        assert_eq!(
            outcomes,
            [Outcome::Reached, Outcome::WrongServer, Outcome::Refused, Outcome::Reached],
            "{answers:#?}"
        );
        assert!(answers[0].observation.connect.is_some());
    }

    /// Answers `/shell` as agnhost's netexec does whose environment holds this identity.
    async fn netexec(identity: &'static str) -> SocketAddr {
        let answer = move |text: &str| {
            let asked = text.split(' ').nth(1).unwrap_or_default().replace("%20", " ");
            let said = asked.trim_start_matches("/shell?cmd=echo ").replace("$POLICYPROBE_SERVER", identity);
            (String::new(), format!("{{\"output\":\"{said}\\n\"}}"))
        };
        answering(answer).await
    }

    #[tokio::test]
    async fn netexec_proves_itself_in_its_body_and_a_failure_behind_one_is_still_read() {
        let (one, two, agent) =
            (netexec("pod/default/one").await, netexec("pod/default/two").await, server("pod/default/one").await);
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let mut batch = Vec::new();
        for (n, address) in [one, two, agent, closed, one, one].into_iter().enumerate() {
            let mut request = request(address, &format!("n-{n}"));
            if let Target::Http { proof, .. } = &mut request.target {
                *proof = Proof::Netexec;
            }
            batch.push(request);
        }
        let mut session = CurlSession::new(Here);
        let mut answers: Vec<_> = session.probe(&batch).collect().await;
        answers.sort_by_key(|answer| answer.index);
        let outcomes: Vec<_> = answers.iter().map(|answer| answer.observation.outcome).collect();
        let (reached, wrong) = (Outcome::Reached, Outcome::WrongServer);
        assert_eq!(outcomes, [reached, wrong, reached, Outcome::Refused, reached, reached], "{answers:#?}");
        let watched: Vec<_> = session.watch(&batch[..2], Duration::from_millis(20)).collect().await;
        let watched: Vec<_> = watched.iter().map(|answer| answer.observation.outcome).collect();
        assert_eq!(watched, [reached, wrong]);
    }

    #[tokio::test]
    async fn a_batch_longer_than_one_curl_is_answered_whole() {
        let one = server("pod/default/one").await;
        let batch: Vec<_> = (0..MAX_BATCH + 3).map(|n| request(one, &format!("n{n}"))).collect();
        let mut session = CurlSession::new(Here);
        let answers: Vec<_> = session.probe(&batch).collect().await;
        let reached = answers.iter().filter(|a| a.observation.outcome == Outcome::Reached).count();
        assert_eq!((answers.len(), reached), (batch.len(), batch.len()));
    }

    #[tokio::test]
    async fn a_witness_asks_on_a_new_connection_each_time() {
        let one = server("pod/default/one").await;
        let batch: Vec<_> = (0..4).map(|n| request(one, &format!("n{n}"))).collect();
        let mut session = CurlSession::new(Here);
        let answers: Vec<_> = session.watch(&batch, Duration::from_millis(20)).collect().await;
        let reached = answers.iter().map(|answer| (answer.index, answer.observation.outcome));
        assert_eq!(reached.collect::<Vec<_>>(), [0, 1, 2, 3].map(|index| (index, Outcome::Reached)));
    }

    #[tokio::test]
    async fn a_body_is_kept_only_from_a_server_that_proved_itself() {
        let (one, two) = (server("pod/default/one").await, server("pod/default/two").await);
        let mut session = CurlSession::new(Here);
        assert_eq!(session.fetch(&request(one, "n1")).await.1, "one\ntwo");
        let (observation, body) = session.fetch(&request(two, "n2")).await;
        assert_eq!((observation.outcome, body.as_str()), (Outcome::WrongServer, ""));
    }
}
