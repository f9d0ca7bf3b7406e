//! Real sockets on loopback, and the stream of an agent.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex},
    net::{TcpListener, UdpSocket},
    sync::{mpsc::unbounded_channel, oneshot},
    task::JoinSet,
};

use super::{Ask, Command, Finding, Here, HereFrom, How, Keep, Prober, Report, Sockets, Work, serve};
use crate::{
    http::{Echo, Log, NONCE, Server, control},
    probe::Outcome,
    udp,
};

const LOOPBACK: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

/// What answers, and what must not; all of it ends with the test.
struct World {
    web: SocketAddr,
    /// Accepts connections and says nothing.
    mute: SocketAddr,
    closed: SocketAddr,
    udp: SocketAddr,
    udp_mute: SocketAddr,
    udp_closed: SocketAddr,
    log: Log,
    _mute: (TcpListener, UdpSocket),
    _servers: JoinSet<()>,
}

async fn world() -> World {
    let bound = || async { TcpListener::bind(LOOPBACK).await.unwrap() };
    let datagrams = || async { UdpSocket::bind(LOOPBACK).await.unwrap() };
    let (web, mute, udp, udp_mute) = (bound().await, bound().await, datagrams().await, datagrams().await);
    let (log, mut servers, identity) = (Log::default(), JoinSet::new(), "pod/a/b".to_owned());
    let server = Server { identity: identity.clone(), handler: Arc::new(Echo::new(&identity)), log: log.clone() };
    World {
        web: web.local_addr().unwrap(),
        mute: mute.local_addr().unwrap(),
        closed: bound().await.local_addr().unwrap(),
        udp: udp.local_addr().unwrap(),
        udp_mute: udp_mute.local_addr().unwrap(),
        udp_closed: datagrams().await.local_addr().unwrap(),
        log: log.clone(),
        _mute: (mute, udp_mute),
        _servers: {
            servers.spawn(Arc::new(server).serve(web));
            servers.spawn(udp::serve(udp, identity, log));
            servers
        },
    }
}

fn ask(index: usize, to: SocketAddr, how: How) -> Ask {
    let (nonce, server, host) = (format!("n{index}"), "pod/a/b".to_owned(), to.ip().to_string());
    Ask {
        index,
        nonce,
        server,
        limit_us: 2_000_000,
        answer_us: None,
        resolve_us: 2_000_000,
        host,
        port: to.port(),
        v6: false,
        source_port: None,
        keep: None,
        how,
    }
}

fn get() -> How {
    How::Http { path: "/".to_owned(), headers: Vec::new(), nonce_header: NONCE.to_owned() }
}

async fn run(work: Work) -> Vec<Finding> {
    run_from(work, &Here).await
}

async fn run_from<S: Sockets>(work: Work, sockets: &S) -> Vec<Finding> {
    run_by(&Prober::new(4096), work, sockets).await
}

async fn run_by<S: Sockets>(prober: &Prober, work: Work, sockets: &S) -> Vec<Finding> {
    let (sender, mut findings) = unbounded_channel();
    let answered = prober.run(work, sockets, move |finding| drop(sender.send(finding))).await;
    let mut found = Vec::new();
    while let Some(finding) = findings.recv().await {
        found.push(finding);
    }
    assert_eq!(answered, found.len());
    found.sort_by_key(|finding| finding.index);
    found
}

#[tokio::test]
async fn servers_refusals_silence_and_strangers_are_told_apart() {
    let world = world().await;
    let stranger = |ask: Ask| Ask { server: "pod/a/c".to_owned(), ..ask };
    let quick = |ask: Ask| Ask { limit_us: 60_000, ..ask };
    let asks = vec![
        ask(0, world.web, get()),
        stranger(ask(1, world.web, get())),
        ask(2, world.closed, get()),
        ask(3, world.udp, How::Udp),
        stranger(ask(4, world.udp, How::Udp)),
        ask(5, world.udp_closed, How::Udp),
        quick(ask(6, world.udp_mute, How::Udp)),
        Ask { host: "localhost".to_owned(), ..ask(7, world.web, get()) },
        Ask { host: "a..b".to_owned(), ..ask(8, world.web, get()) },
    ];
    let found = run(Work { asks, every_us: None }).await;
    let outcomes: Vec<_> = found.iter().map(|finding| finding.outcome).collect();
    assert_eq!(
        outcomes,
        [
            Outcome::Reached,
            Outcome::WrongServer,
            Outcome::Refused,
            Outcome::Reached,
            Outcome::WrongServer,
            Outcome::Refused,
            Outcome::TimedOut,
            Outcome::Reached,
            Outcome::NameNotResolved,
        ],
        "{found:#?}"
    );
    assert_eq!(found[6].resent, Some(2), "asked three times");
    assert_eq!((found[3].resent, found[3].connect_us.is_some()), (Some(0), true));
    assert_eq!((found[0].status, found[0].server.as_deref()), (Some(200), Some("pod/a/b")));
    let seen = world.log.nonces();
    assert!(["n0", "n3", "n7"].into_iter().all(|nonce| seen.contains(nonce)), "{seen:?}");
}

#[tokio::test]
async fn requests_come_from_the_address_that_is_asked_for_or_not_at_all() {
    let world = world().await;
    let from = HereFrom(Ipv4Addr::new(127, 0, 0, 77).into());
    let asks = vec![ask(0, world.web, get()), ask(1, world.udp, How::Udp)];
    let found = run_from(Work { asks, every_us: None }, &from).await;
    assert!(found.iter().all(|finding| finding.outcome == Outcome::Reached), "{found:?}");
    let clients: BTreeSet<_> = world.log.entries().into_iter().map(|entry| entry.peer.ip()).collect();
    assert_eq!(clients, BTreeSet::from([from.0]));
    let over_ipv6 = Ask { host: "::1".to_owned(), ..ask(0, world.web, get()) };
    let found = run_from(Work { asks: vec![over_ipv6], every_us: None }, &from).await;
    assert_eq!(found[0].outcome, Outcome::ProbeLost, "{found:?}");
}

#[tokio::test]
async fn who_completes_a_handshake_and_then_closes_is_somebody_else() {
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let address = listener.local_addr().unwrap();
    let closing = tokio::spawn(async move { drop(listener.accept().await) });
    let found = run(Work { asks: vec![ask(0, address, get())], every_us: None }).await;
    assert_eq!(found[0].outcome, Outcome::WrongServer, "{found:?}");
    closing.await.unwrap();
}

#[tokio::test]
async fn a_lost_datagram_is_sent_again_and_counted() {
    let socket = UdpSocket::bind(LOOPBACK).await.unwrap();
    let address = socket.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let mut buffer = [0; udp::LONGEST];
        // The first is as good as lost.
        socket.recv_from(&mut buffer).await.unwrap();
        udp::serve(socket, "pod/a/b".to_owned(), Log::default()).await;
    });
    let asks = vec![Ask { limit_us: 600_000, ..ask(0, address, How::Udp) }];
    let found = run(Work { asks, every_us: None }).await;
    assert_eq!((found[0].outcome, found[0].resent), (Outcome::Reached, Some(1)), "{found:?}");
    assert!(found[0].connect_us.is_some_and(|connect| connect < 200_000), "since it was sent again");
    server.abort();
}

#[tokio::test]
async fn a_watch_asks_in_turn() {
    let world = world().await;
    let asks = (0..4).map(|index| {
        ask(index, if index % 2 == 0 { world.web } else { world.udp }, if index % 2 == 0 { get() } else { How::Udp })
    });
    let (sender, mut findings) = unbounded_channel();
    let work = Work { asks: asks.collect(), every_us: Some(1000) };
    Prober::new(0).run(work, &Here, move |finding| drop(sender.send(finding))).await;
    let mut order = Vec::new();
    while let Some(finding) = findings.recv().await {
        order.push((finding.index, finding.outcome));
    }
    assert_eq!(order, [0, 1, 2, 3].map(|index| (index, Outcome::Reached)));
}

/// An agent, as it is behind a stream.
fn agent() -> (DuplexStream, tokio::io::Lines<BufReader<DuplexStream>>, tokio::task::JoinHandle<std::io::Result<()>>) {
    let ((input, theirs), (output, ours)) = (duplex(1 << 16), duplex(1 << 16));
    let serving = tokio::spawn(async move { serve(theirs, output, &Prober::new(4096), Here).await });
    (input, BufReader::new(ours).lines(), serving)
}

async fn send(input: &mut DuplexStream, command: &Command) {
    input.write_all((serde_json::to_string(command).unwrap() + "\n").as_bytes()).await.unwrap();
}

#[tokio::test]
async fn calls_share_a_stream_and_each_ends_with_its_sentinel() {
    let world = world().await;
    let (mut input, mut lines, serving) = agent();
    let mut next = async || serde_json::from_str::<Report>(&lines.next_line().await.unwrap().unwrap()).unwrap();
    assert!(matches!(next().await, Report::Ready { .. }));
    // The first never ends, and the third is answered all the same.
    let forever =
        Work { asks: vec![Ask { limit_us: u64::MAX / 4, ..ask(0, world.udp_mute, How::Udp) }], every_us: None };
    let mute = Work { asks: vec![ask(0, world.mute, get())], every_us: None };
    send(&mut input, &Command::Call { id: 1, work: forever }).await;
    send(&mut input, &Command::Call { id: 2, work: mute }).await;
    let both = Work { asks: vec![ask(5, world.web, get()), ask(6, world.udp, How::Udp)], every_us: None };
    send(&mut input, &Command::Call { id: 3, work: both }).await;
    for _ in 0..2 {
        let Report::Found { id: 3, finding } = next().await else { panic!("another call") };
        assert_eq!(finding.outcome, Outcome::Reached);
    }
    assert_eq!(next().await, Report::Done { id: 3, answered: 2 });
    send(&mut input, &Command::Cancel { id: 1 }).await;
    send(&mut input, &Command::Cancel { id: 2 }).await;
    send(&mut input, &Command::Call { id: 4, work: Work::default() }).await;
    assert_eq!(next().await, Report::Done { id: 4, answered: 0 });
    drop(input);
    tokio::time::timeout(Duration::from_secs(5), serving).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_server_beside_the_agent_says_what_it_has_seen() {
    let world = world().await;
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let at = listener.local_addr().unwrap();
    let _control = tokio::spawn(Arc::new(control("pod/a/b", &world.log)).serve(listener));
    let (mut input, mut lines, _serving) = agent();
    let mut next = async || serde_json::from_str::<Report>(&lines.next_line().await.unwrap().unwrap()).unwrap();
    assert!(matches!(next().await, Report::Ready { .. }));
    let work = Work { asks: vec![ask(5, world.web, get())], every_us: None };
    send(&mut input, &Command::Call { id: 1, work }).await;
    assert!(matches!(next().await, Report::Found { .. }));
    assert!(matches!(next().await, Report::Done { .. }));
    let nonces: BTreeSet<String> = ["n5", "n6"].map(str::to_owned).into();
    send(&mut input, &Command::Seen { id: 2, at, nonces: nonces.clone() }).await;
    assert_eq!(next().await, Report::Seen { id: 2, seen: Ok(["n5".to_owned()].into()) });
    for silent in [world.closed, world.web, world.mute] {
        send(&mut input, &Command::Seen { id: 3, at: silent, nonces: nonces.clone() }).await;
        let Report::Seen { id: 3, seen: Err(_) } = next().await else { panic!("{silent} keeps no log") };
    }
}

#[tokio::test]
async fn a_command_that_cannot_be_read_ends_the_agent() {
    let (mut input, _lines, serving) = agent();
    input.write_all(b"nonsense\n").await.unwrap();
    assert!(serving.await.unwrap().is_err());
}

#[test]
fn the_wire_is_one_short_line_a_document() {
    let work = Work { asks: vec![ask(1, SocketAddr::from(([10, 0, 0, 1], 53)), How::Udp)], every_us: Some(5) };
    let command = Command::Call { id: 7, work };
    let text = serde_json::to_string(&command).unwrap();
    assert_eq!(
        text,
        r#"{"call":{"id":7,"work":{"asks":[{"index":1,"nonce":"n1","server":"pod/a/b","limit_us":2000000,"resolve_us":2000000,"host":"10.0.0.1","port":53,"v6":false,"how":"udp"}],"every_us":5}}}"#
    );
    assert_eq!(serde_json::from_str::<Command>(&text).unwrap(), command);
    let report = Report::Found { id: 7, finding: Finding::of(1, Outcome::TimedOut, None) };
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(text, r#"{"found":{"id":7,"finding":{"index":1,"outcome":"timed_out","ended_us":0}}}"#);
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
}

/// A port that nobody has now.
async fn free_port() -> u16 {
    UdpSocket::bind(LOOPBACK).await.unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn requests_from_one_port_of_the_sources_own_wait_for_one_another() {
    let world = world().await;
    let port = Some(free_port().await);
    let from = |index, to, how| Ask { source_port: port, ..ask(index, to, how) };
    let asks = || Work {
        asks: (0..4).map(|n| from(n, world.web, get())).chain((4..8).map(|n| from(n, world.udp, How::Udp))).collect(),
        every_us: None,
    };
    // Two calls at once, as volleys that overlap are, and of two probers, as of two agents.
    let (one, other) = tokio::join!(run(asks()), run(asks()));
    for found in one.iter().chain(&other) {
        assert_eq!(found.outcome, Outcome::Reached, "{found:?}");
    }
    assert_eq!((one.len(), other.len()), (8, 8));
}

#[tokio::test]
async fn the_server_sees_the_port_that_was_asked_from() {
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let (to, port) = (listener.local_addr().unwrap(), free_port().await);
    let work = Work { asks: vec![Ask { source_port: Some(port), ..ask(0, to, get()) }], every_us: None };
    let (accepted, _) = tokio::join!(async { listener.accept().await.unwrap().1 }, async {
        tokio::time::timeout(Duration::from_millis(200), run(work)).await
    });
    assert_eq!(accepted.port(), port);
}

#[tokio::test]
async fn a_port_that_somebody_else_keeps_is_no_deny() {
    let world = world().await;
    let holder = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
    let port = holder.local_addr().unwrap().port();
    tokio::time::pause();
    let asks = vec![Ask { source_port: Some(port), ..ask(0, world.udp, How::Udp) }];
    let found = run(Work { asks, every_us: None }).await;
    assert_eq!(found[0].outcome, Outcome::ProbeLost);
    assert!(found[0].detail.as_deref().unwrap().starts_with(&format!("no socket from port {port}: ")), "{found:?}");
}

fn keep(ask: Ask, make: bool) -> Ask {
    let name = format!("{}:{:?}", ask.port, ask.how);
    Ask { keep: Some(Keep { name, make }), ..ask }
}

#[tokio::test]
async fn connections_stay_and_are_asked_over_again() {
    let (world, prober) = (world().await, Prober::new(4096));
    let both = |from: usize, make| {
        let asks = vec![keep(ask(from, world.web, get()), make), keep(ask(from + 1, world.udp, How::Udp), make)];
        Work { asks, every_us: None }
    };
    let outcomes = |found: &[Finding]| found.iter().map(|finding| finding.outcome).collect::<Vec<_>>();
    let found = run_by(&prober, both(0, false), &Here).await;
    assert_eq!(outcomes(&found), [Outcome::ProbeLost; 2], "nobody has made them: {found:?}");
    for (from, make) in [(2, true), (4, true), (6, false)] {
        let found = run_by(&prober, both(from, make), &Here).await;
        assert_eq!(outcomes(&found), [Outcome::Reached; 2], "{found:?}");
        assert_eq!(found[0].connect_us.is_some(), from == 2, "only one of them connects");
    }
    let clients: BTreeSet<_> = world.log.entries().into_iter().map(|entry| (entry.method, entry.peer)).collect();
    assert_eq!(clients.len(), 2, "one connection, and one flow of datagrams: {clients:?}");
    let found = run_by(&prober.apart(), both(8, false), &Here).await;
    assert_eq!(outcomes(&found), [Outcome::ProbeLost; 2], "another prober has none of them: {found:?}");
}

/// Serves one connection: the requests of each item are read, and then answered in their order. It goes when that is said.
async fn by_and_by(listener: TcpListener, groups: &[usize], go: oneshot::Receiver<()>, reset: bool) {
    let mut lines = BufReader::new(listener.accept().await.unwrap().0).lines();
    for requests in groups {
        let mut nonces = Vec::new();
        while nonces.len() < *requests {
            let Some(line) = lines.next_line().await.unwrap() else { return };
            nonces.extend(line.strip_prefix(&format!("{NONCE}: ")).map(str::to_owned));
        }
        let stream = lines.get_mut().get_mut();
        for nonce in nonces {
            let head = format!("HTTP/1.1 200 OK\r\n{NONCE}: {nonce}\r\nPolicyprobe-Server: pod/a/b\r\n");
            stream.write_all(format!("{head}Content-Length: 2\r\n\r\nok").as_bytes()).await.unwrap();
        }
    }
    go.await.unwrap();
    if reset {
        lines.get_ref().get_ref().set_zero_linger().unwrap();
    }
}

#[tokio::test]
async fn late_answers_are_nobody_elses_and_ends_are_told_apart() {
    for (reset, end, why) in
        [(false, Outcome::ProbeLost, "the server closed"), (true, Outcome::Refused, "the connection ended")]
    {
        let listener = TcpListener::bind(LOOPBACK).await.unwrap();
        let (at, prober) = (listener.local_addr().unwrap(), Prober::new(4096));
        // As when a policy holds up the second request, and goes before the third.
        let (go, gone) = oneshot::channel();
        let server = tokio::spawn(by_and_by(listener, &[1, 2], gone, reset));
        let quick = |ask: Ask| Ask { limit_us: 60_000, ..ask };
        let mut found = Vec::new();
        for asked in
            [keep(ask(0, at, get()), true), quick(keep(ask(1, at, get()), false)), keep(ask(2, at, get()), false)]
        {
            found.extend(run_by(&prober, Work { asks: vec![asked], every_us: None }, &Here).await);
        }
        let outcomes: Vec<_> = found.iter().map(|finding| finding.outcome).collect();
        assert_eq!(outcomes, [Outcome::Reached, Outcome::TimedOut, Outcome::Reached], "{found:?}");
        go.send(()).unwrap();
        server.await.unwrap();
        for _ in 0..2 {
            let asked = keep(ask(3, at, get()), false);
            let [last] = run_by(&prober, Work { asks: vec![asked], every_us: None }, &Here).await.try_into().unwrap();
            assert_eq!(last.outcome, end, "{last:?}");
            assert!(last.detail.as_deref().unwrap().contains(why), "{last:?}");
        }
    }
}
