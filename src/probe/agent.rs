//! Requests made by an open prober: a call for each batch, and one line of findings for each request.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::{FutureExt, StreamExt, stream::BoxStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::{
    Answer, Observation, Proof, Request, Target,
    direct::{Ask, Finding, How, Work, micros},
};
use crate::{
    scenario::{Family, Method},
    udp::Question,
};

/// A place in which a prober is open: a pod, a node, a namespace.
#[async_trait]
pub trait AgentHost: Send {
    /// Has work done, and sends what is found as it comes. Returns how many requests have a finding; an error means that
    /// nothing is known of those without one (the stream was cut, the pod is gone). Cancel safe: dropping the future gives
    /// the work up.
    async fn call(&mut self, work: Work, found: UnboundedSender<Finding>) -> Result<usize, String>;

    /// How a person gets a command into this source; as [`super::CurlHost::prefix`].
    fn prefix(&self) -> String;
}

/// Requests made in a host. It is a part of a [`super::Mixed`] session: some requests only `curl` can make.
pub struct AgentSession<H>(H);

impl<H: AgentHost> AgentSession<H> {
    /// For this host.
    pub fn new(host: H) -> Self {
        Self(host)
    }

    /// Makes the requests at once, or in turn. Where the prober is lost, so is every request without an answer, and the
    /// reason is in the last answers.
    pub fn answers<'a>(&'a mut self, batch: &'a [Request], every: Option<Duration>) -> BoxStream<'a, Answer> {
        let asks = batch.iter().enumerate().filter_map(|(index, request)| ask(index, request)).collect();
        let work = Work { asks, every_us: every.map(micros) };
        let (sender, mut findings) = unbounded_channel();
        let mut unanswered: Vec<usize> = work.asks.iter().map(|ask| ask.index).collect();
        let answers = async_stream::stream! {
            let mut call = self.0.call(work, sender).fuse();
            let mut why = None;
            loop {
                tokio::select! {
                    biased;
                    finding = findings.recv() => {
                        // The channel ends when the call does.
                        let Some(finding) = finding else { break };
                        unanswered.retain(|index| *index != finding.index);
                        yield Answer { index: finding.index, at: Instant::now(), observation: finding.into() };
                    }
                    ended = &mut call => why = ended.err(),
                }
            }
            // What a witness does not see is a gap, and needs no reason.
            if every.is_none() && let Some(why) = why {
                for index in unanswered {
                    yield Answer { index, at: Instant::now(), observation: Observation::lost(Some(why.clone())) };
                }
            }
        };
        answers.boxed()
    }

    /// The command that a person would type for a request.
    #[must_use]
    pub fn command(&self, request: &Request) -> String {
        let prefix = self.0.prefix();
        let space = if prefix.is_empty() { "" } else { " " };
        format!("{prefix}{space}{}", super::curl::command(request))
    }
}

/// The question that a person would type, with `nc`, which takes whole seconds.
pub(super) fn by_hand(host: &str, port: u16, family: Family, request: &Request) -> String {
    let question = Question { nonce: "by-hand".to_owned(), number: 0 };
    let v6 = if family == Family::Ipv6 { " -6" } else { "" };
    let own = request.source_port.map(|own| format!(" -p {own}")).unwrap_or_default();
    let limit = request.connect_limit.as_secs().max(1);
    format!("sh -c \"echo '{}' | nc -u{v6}{own} -w {limit} {host} {port}\"", question.text().trim_end())
}

/// Whether a prober can make a request.
#[must_use]
pub fn is_direct(target: &Target) -> bool {
    let is_http = matches!(target, Target::Http { method: Method::Get, tls: false, proof: Proof::Header(_), .. } if !target.is_spelt());
    is_http || matches!(target, Target::Udp { .. })
}

fn ask(index: usize, request: &Request) -> Option<Ask> {
    let (host, port, family, how) = match &request.target {
        Target::Http { host, port, path, headers, family, proof: Proof::Header(nonce_header), .. }
            if is_direct(&request.target) =>
        {
            let (path, headers, nonce_header) = (path.clone(), headers.clone(), nonce_header.clone());
            (host, *port, *family, How::Http { path, headers, nonce_header })
        }
        Target::Udp { host, port, family } => (host, *port, *family, How::Udp),
        Target::Http { .. } | Target::Resolve { .. } => return None,
    };
    Some(Ask {
        index,
        nonce: request.nonce.clone(),
        server: request.server.clone(),
        limit_us: micros(request.connect_limit),
        answer_us: request.answer_limit.map(micros),
        resolve_us: micros(request.resolve_limit),
        host: host.clone(),
        port,
        v6: family == Family::Ipv6,
        source_port: request.source_port,
        keep: request.keep.clone(),
        how,
    })
}

impl From<Finding> for Observation {
    fn from(found: Finding) -> Self {
        let duration = |micros: Option<u64>| micros.map(Duration::from_micros);
        Self {
            outcome: found.outcome,
            status: found.status,
            server: found.server,
            address: found.address,
            client: found.client,
            resolve: duration(found.resolve_us),
            connect: duration(found.connect_us),
            held: duration(found.held_us),
            resent: found.resent,
            clock: Some(Duration::from_micros(found.ended_us)),
            detail: found.detail,
        }
    }
}
