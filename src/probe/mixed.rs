//! A session of two: an open prober for what it can do, and `curl` for the rest.

use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, stream, stream::BoxStream};

use super::{
    AgentHost, AgentSession, Answer, CurlHost, CurlSession, Means, Observation, Request, Session, Target, is_direct,
};

/// A session that chooses for each request what makes it.
pub struct Mixed<A, C> {
    agent: AgentSession<A>,
    curl: CurlSession<C>,
    prefer: Means,
}

impl<A: AgentHost, C: CurlHost> Mixed<A, C> {
    /// A session that prefers one of the two where both can make a request. Neither is started before it is needed.
    pub fn new(agent: A, curl: C, prefer: Means) -> Self {
        Self { agent: AgentSession::new(agent), curl: CurlSession::new(curl), prefer }
    }

    fn choose(&self, request: &Request) -> Means {
        match &request.target {
            Target::Udp { .. } => Means::Agent,
            // A process for each request ends its connection, or leaves one behind that keeps the port for a minute.
            target if is_direct(target) && (request.source_port.is_some() || request.keep.is_some()) => Means::Agent,
            target if is_direct(target) => self.prefer,
            _ => Means::Curl,
        }
    }
}

/// A part of a batch, and the indices of its requests in the whole.
#[derive(Default)]
struct Part {
    indices: Vec<usize>,
    requests: Vec<Request>,
}

#[async_trait]
impl<A: AgentHost, C: CurlHost> Session for Mixed<A, C> {
    fn probe<'a>(&'a mut self, batch: &'a [Request]) -> BoxStream<'a, Answer> {
        // Nothing is started for nothing.
        if batch.iter().all(|request| self.choose(request) == Means::Agent) {
            return self.agent.answers(batch, None);
        }
        if batch.iter().all(|request| self.choose(request) == Means::Curl) {
            return self.curl.probe(batch);
        }
        let (mut by_agent, mut by_curl) = (Part::default(), Part::default());
        for (index, request) in batch.iter().enumerate() {
            let part = if self.choose(request) == Means::Agent { &mut by_agent } else { &mut by_curl };
            part.indices.push(index);
            part.requests.push(request.clone());
        }
        let answers = async_stream::stream! {
            let agent = self.agent.answers(&by_agent.requests, None);
            let agent = agent.map(|answer| Answer { index: by_agent.indices[answer.index], ..answer });
            let curl = self.curl.probe(&by_curl.requests);
            let curl = curl.map(|answer| Answer { index: by_curl.indices[answer.index], ..answer });
            let mut both = stream::select(agent, curl);
            while let Some(answer) = both.next().await {
                yield answer;
            }
        };
        answers.boxed()
    }

    fn watch<'a>(&'a mut self, batch: &'a [Request], every: Duration) -> BoxStream<'a, Answer> {
        // A witness asks the same each time.
        match batch.first().map_or(Means::Curl, |request| self.choose(request)) {
            Means::Agent => self.agent.answers(batch, Some(every)),
            Means::Curl => self.curl.watch(batch, every),
        }
    }

    async fn fetch(&mut self, request: &Request) -> (Observation, String) {
        self.curl.fetch(request).await
    }

    fn command(&self, request: &Request) -> String {
        match &request.target {
            Target::Udp { .. } => self.agent.command(request),
            _ => self.curl.command(request),
        }
    }

    fn means(&self, request: &Request) -> Means {
        self.choose(request)
    }
}
