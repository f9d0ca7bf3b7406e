//! A session over an agent at the other end of a stream, which may be lost.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::{FutureExt, StreamExt};
use tokio::{
    io::{AsyncWriteExt, duplex},
    net::UdpSocket,
    sync::mpsc::UnboundedSender,
    task::JoinHandle,
};

use super::{
    AgentLink, Answer, CurlHost, Enter, Linked, Means, Mixed, Outcome, Request, Session, Target, Wire,
    direct::{Here, Prober, serve},
};
use crate::{http::Log, scenario::Family, udp};

/// A place that starts agents in tasks, and can cut their streams.
#[derive(Clone, Default)]
struct Agents {
    started: Arc<AtomicUsize>,
    running: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Agents {
    fn enter(&self) -> Enter {
        let agents = self.clone();
        Box::new(move || {
            let agents = agents.clone();
            async move {
                agents.started.fetch_add(1, Ordering::SeqCst);
                let ((input, theirs), (output, ours)) = (duplex(1 << 16), duplex(1 << 16));
                let serving = async move { drop(serve(theirs, output, &Prober::new(4096), Here).await) };
                agents.running.lock().unwrap().push(tokio::spawn(serving));
                let ended = Box::pin(std::future::pending());
                Ok(Wire { input: Box::new(input), output: Box::new(ours), ended, holder: Box::new(()) })
            }
            .boxed()
        })
    }

    fn cut(&self) {
        self.running.lock().unwrap().drain(..).for_each(|agent| agent.abort());
    }
}

/// A curl that says what it was asked to do, and does nothing.
#[derive(Clone, Default)]
struct Curl(Arc<Mutex<Vec<String>>>);

#[async_trait]
impl CurlHost for Curl {
    async fn curl(&mut self, config: &str, lines: UnboundedSender<String>) -> Result<i32, String> {
        self.0.lock().unwrap().push(config.to_owned());
        // As of a curl that was refused at once, whichever request it is.
        for line in config.lines().filter_map(|line| line.split_once("policyprobe|")) {
            let index = line.1.split('|').next().unwrap();
            let _ = lines.send(format!("policyprobe|{index}|7|000|0|0.00001|0.000000|0.001|||||refused"));
        }
        Ok(7)
    }

    fn prefix(&self) -> String {
        "in a pod".to_owned()
    }
}

fn session(agents: &Agents, prefer: Means) -> (Mixed<Linked, Curl>, Curl) {
    let link = Arc::new(AgentLink::new(agents.enter()));
    let curl = Curl::default();
    (Mixed::new(Linked { link, prefix: "in a pod".to_owned() }, curl.clone(), prefer), curl)
}

fn request(target: Target, nonce: &str) -> Request {
    let limit = Duration::from_secs(2);
    let (nonce, server) = (nonce.to_owned(), "pod/a/b".to_owned());
    Request { resolve_limit: limit, ..Request::new(target, nonce, server, limit) }
}

fn udp(to: SocketAddr) -> Target {
    Target::Udp { host: to.ip().to_string(), port: to.port(), family: Family::Ipv4 }
}

fn http(to: SocketAddr, tls: bool) -> Target {
    Target::Http {
        method: crate::scenario::Method::Get,
        tls,
        host: to.ip().to_string(),
        port: to.port(),
        path: "/".to_owned(),
        headers: Vec::new(),
        family: Family::Ipv4,
        proof: super::Proof::default(),
        credential: None,
        patch: None,
    }
}

/// A server of datagrams, for the length of a test.
async fn server() -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(udp::serve(socket, "pod/a/b".to_owned(), Log::default()));
    address
}

async fn outcomes(session: &mut dyn Session, batch: &[Request]) -> Vec<Outcome> {
    let mut answers: Vec<Answer> = session.probe(batch).collect().await;
    answers.sort_by_key(|answer| answer.index);
    assert!(answers.iter().map(|answer| answer.index).eq(0..batch.len()), "one answer a request: {answers:?}");
    answers.into_iter().map(|answer| answer.observation.outcome).collect()
}

#[tokio::test]
async fn each_request_is_made_by_what_can_make_it() {
    let (agents, to) = (Agents::default(), server().await);
    let name = Target::Resolve { name: "x".to_owned(), family: Family::Ipv4 };
    let batch = [
        request(http(to, true), "n0"),
        request(udp(to), "n1"),
        request(name, "n2"),
        // There is no TCP server at this port.
        request(http(to, false), "n3"),
    ];
    for (prefer, plain, configs) in [(Means::Agent, Means::Agent, 2), (Means::Curl, Means::Curl, 3)] {
        let (mut session, curl) = session(&agents, prefer);
        let found = outcomes(&mut session, &batch).await;
        assert_eq!((found[0], found[1], found[3]), (Outcome::Refused, Outcome::Reached, Outcome::Refused));
        let means: Vec<Means> = batch.iter().map(|request| session.means(request)).collect();
        assert_eq!(means, [Means::Curl, Means::Agent, Means::Curl, plain]);
        let asked = curl.0.lock().unwrap().concat();
        assert_eq!(asked.matches("url = ").count(), configs, "{asked}");
        assert!(!asked.contains("udp://"), "{asked}");
    }
}

#[tokio::test]
async fn what_only_the_agent_is_asked_starts_no_curl() {
    let (agents, to) = (Agents::default(), server().await);
    let (mut session, curl) = session(&agents, Means::Curl);
    assert_eq!(outcomes(&mut session, &[request(udp(to), "n1")]).await, [Outcome::Reached]);
    assert!(curl.0.lock().unwrap().is_empty());
    let typed = session.command(&request(udp(to), "n1"));
    assert!(typed.starts_with("in a pod sh -c \"echo 'policyprobe? ") && typed.contains("nc -u"), "{typed}");
}

#[tokio::test]
async fn a_stream_that_is_cut_loses_what_was_under_way_and_is_opened_again() {
    let (agents, to) = (Agents::default(), server().await);
    let (mut session, _) = session(&agents, Means::Agent);
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let forever =
        Request { connect_limit: Duration::from_secs(3600), ..request(udp(silent.local_addr().unwrap()), "n2") };
    let batch = [request(udp(to), "n1"), forever];
    let mut answers = session.probe(&batch);
    let first = answers.next().await.unwrap();
    assert_eq!((first.index, first.observation.outcome), (0, Outcome::Reached));
    agents.cut();
    let second = answers.next().await.unwrap();
    assert_eq!((second.index, second.observation.outcome), (1, Outcome::ProbeLost));
    assert!(second.observation.detail.is_some(), "the reason is told");
    assert!(answers.next().await.is_none());
    drop(answers);
    assert_eq!(outcomes(&mut session, &batch[..1]).await, [Outcome::Reached]);
    assert_eq!(agents.started.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn sessions_of_a_source_share_its_stream_and_a_call_given_up_does_not_end_it() {
    let (agents, to) = (Agents::default(), server().await);
    let link = Arc::new(AgentLink::new(agents.enter()));
    let linked = Linked { link, prefix: String::new() };
    let mut witness = Mixed::new(linked.clone(), Curl::default(), Means::Agent);
    let mut session = Mixed::new(linked, Curl::default(), Means::Agent);
    let watch: Vec<Request> = (0..100).map(|n| request(udp(to), &format!("w{n}"))).collect();
    let mut watching = witness.watch(&watch, Duration::from_millis(5));
    let seen = watching.next().await.unwrap();
    assert_eq!((seen.index, seen.observation.outcome), (0, Outcome::Reached));
    assert_eq!(outcomes(&mut session, &[request(udp(to), "n1")]).await, [Outcome::Reached]);
    let seen = watching.next().await.unwrap();
    assert_eq!((seen.index, seen.observation.outcome), (1, Outcome::Reached));
    drop(watching);
    assert_eq!(outcomes(&mut session, &[request(udp(to), "n2")]).await, [Outcome::Reached]);
    assert_eq!(agents.started.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_is_no_agent_is_lost_and_said() {
    let enter: Enter = Box::new(|| {
        async {
            let ((input, _theirs), (mut output, ours)) = (duplex(64), duplex(64));
            output.write_all(b"sh: not found\n").await.unwrap();
            let ended = Box::pin(std::future::pending());
            Ok(Wire { input: Box::new(input), output: Box::new(ours), ended, holder: Box::new(output) })
        }
        .boxed()
    });
    let link = Arc::new(AgentLink::new(enter));
    assert!(link.connect().await.unwrap_err().contains("sh: not found"));
    let mut session = Mixed::new(Linked { link, prefix: String::new() }, Curl::default(), Means::Agent);
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    assert_eq!(outcomes(&mut session, &[request(udp(to), "n1")]).await, [Outcome::ProbeLost]);
}
