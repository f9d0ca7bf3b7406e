//! The server's figures, measured on the machine that this runs on: start, memory, and how long answers take when requests
//! come whether the last ones are answered or not.
//!
//! They are measurements, so they run only when asked for, on an idle machine and best as a release build:
//! `cargo test --release --test metadata -- --ignored --nocapture load`

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use crate::common::Served;

/// As many connections are open.
const CONNECTIONS: usize = 1000;
/// As many requests are offered in a second.
const RATE: u32 = 5000;
/// How long.
const SPAN: Duration = Duration::from_secs(5);
const REQUEST: &[u8] = b"GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n";
/// What an answer ends with.
const END: &[u8] = b"i-0123456789abcdef0";

/// A connection, and when the requests were due that it has not answered.
struct Client {
    stream: TcpStream,
    due: Option<Instant>,
    read: Vec<u8>,
}

impl Client {
    fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_nonblocking(true).unwrap();
        Self { stream, due: None, read: Vec::new() }
    }

    /// How long the answer took, if it is here: from when the request was due, be it that it was sent later.
    fn answered(&mut self) -> Option<Duration> {
        let due = self.due?;
        let mut buffer = [0; 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => panic!("the server closed a connection"),
            Ok(length) => self.read.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            Err(error) => panic!("{error}"),
        }
        let is_whole = self.read.ends_with(END);
        is_whole.then(|| {
            assert!(self.read.starts_with(b"HTTP/1.1 200 OK\r\n"));
            self.read.clear();
            self.due = None;
            due.elapsed()
        })
    }
}

#[test]
#[ignore = "a measurement, for an idle machine"]
fn load() {
    let began = Instant::now();
    let server = Served::new("aws", &["--keep-alive"]);
    let started = began.elapsed();
    let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| Client::new(server.address)).collect();
    let mut latencies = offer(&mut clients);
    latencies.sort_unstable();
    let at = |share: f64| latencies[share_of(latencies.len(), share)];
    let (p50, p99, most) = (at(0.5), at(0.99), at(1.0));
    let memory = memory(server.id());
    eprintln!(
        "ready after {started:?}; {CONNECTIONS} connections, {} answers at {RATE}/s: p50 {p50:?}, p99 {p99:?}, most {most:?}; \
         {memory} KiB resident at most",
        latencies.len()
    );
}

/// Offers requests at the rate, each to the next connection that is free, and takes the answers.
fn offer(clients: &mut [Client]) -> Vec<Duration> {
    let (begin, every) = (Instant::now(), Duration::from_secs(1) / RATE);
    let total = usize::try_from(SPAN.as_secs() * u64::from(RATE)).unwrap();
    let (mut sent, mut latencies) = (0, Vec::with_capacity(total));
    let mut waiting = std::collections::VecDeque::new();
    let mut next = 0;
    while latencies.len() < total {
        // All that is due by now, be it late: lateness counts.
        while sent < total && begin.elapsed() >= every * u32::try_from(sent).unwrap() {
            let client = &mut clients[next];
            if client.due.is_some() {
                // Every connection waits: the request is late until one is free.
                break;
            }
            client.due = Some(begin + every * u32::try_from(sent).unwrap());
            client.stream.write_all(REQUEST).unwrap();
            waiting.push_back(next);
            next = (next + 1) % clients.len();
            sent += 1;
        }
        for _ in 0..waiting.len() {
            let Some(index) = waiting.pop_front() else { break };
            match clients[index].answered() {
                Some(latency) => latencies.push(latency),
                None => waiting.push_back(index),
            }
        }
        assert!(begin.elapsed() < SPAN * 4, "{} of {total} were answered", latencies.len());
    }
    latencies
}

fn share_of(count: usize, share: f64) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let index = (count as f64 * share).ceil() as usize;
    index.clamp(1, count) - 1
}

/// The most memory that a process has had resident, in KiB.
fn memory(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
