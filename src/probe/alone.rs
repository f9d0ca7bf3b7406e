//! A session of an open prober alone, for a source that has no `curl`.

use std::{net::IpAddr, time::Duration};

use async_trait::async_trait;
use futures::{StreamExt, stream, stream::BoxStream};

use super::{AgentHost, AgentSession, Answer, Means, Observation, Request, Session, Target, is_direct};

/// A session that makes what requests its prober can; the others are lost.
pub struct Alone<A> {
    agent: AgentSession<A>,
    /// Where its requests come from.
    address: IpAddr,
}

impl<A: AgentHost> Alone<A> {
    /// A session of a prober whose requests come from this address.
    pub fn new(agent: A, address: IpAddr) -> Self {
        Self { agent: AgentSession::new(agent), address }
    }
}

#[async_trait]
impl<A: AgentHost> Session for Alone<A> {
    fn probe<'a>(&'a mut self, batch: &'a [Request]) -> BoxStream<'a, Answer> {
        let impossible = batch.iter().enumerate().filter(|(_, request)| !is_direct(&request.target));
        let lost = impossible.map(|(index, _)| Answer {
            index,
            at: std::time::Instant::now(),
            observation: Observation::lost(Some("only curl can ask this, and the source has none".to_owned())),
        });
        stream::iter(lost.collect::<Vec<_>>()).chain(self.agent.answers(batch, None)).boxed()
    }

    fn watch<'a>(&'a mut self, batch: &'a [Request], every: Duration) -> BoxStream<'a, Answer> {
        self.agent.answers(batch, Some(every))
    }

    async fn fetch(&mut self, request: &Request) -> (Observation, String) {
        let batch = std::slice::from_ref(request);
        let answer = self.probe(batch).next().await;
        // A prober keeps no bodies.
        (answer.map_or_else(|| Observation::lost(None), |answer| answer.observation), String::new())
    }

    fn command(&self, request: &Request) -> String {
        let command = self.agent.command(request);
        match &request.target {
            Target::Udp { .. } => command,
            _ => format!("{command} --interface {}", self.address),
        }
    }

    fn means(&self, _: &Request) -> Means {
        Means::Agent
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;
    use tokio::sync::mpsc::UnboundedSender;

    use super::*;
    use crate::{
        probe::{
            Outcome,
            direct::{Finding, Work},
        },
        scenario::Family,
    };

    /// Reaches whatever it is asked for.
    struct Everything;

    #[async_trait]
    impl AgentHost for Everything {
        async fn call(&mut self, work: Work, found: UnboundedSender<Finding>) -> Result<usize, String> {
            for ask in &work.asks {
                let finding = json!({"index": ask.index, "outcome": "reached"});
                found.send(serde_json::from_value(finding).unwrap()).unwrap();
            }
            Ok(work.asks.len())
        }

        fn prefix(&self) -> String {
            "enter".to_owned()
        }
    }

    #[tokio::test]
    async fn what_only_curl_can_ask_is_lost_with_the_reason_and_the_rest_is_asked() {
        let request = |target| Request::new(target, "n".to_owned(), "s".to_owned(), Duration::from_secs(1));
        let batch = [
            request(Target::Resolve { name: "a.b".to_owned(), family: Family::Ipv4 }),
            request(Target::Udp { host: "10.0.0.1".to_owned(), port: 53, family: Family::Ipv4 }),
        ];
        let mut session = Alone::new(Everything, IpAddr::from([203, 0, 113, 10]));
        let answers: Vec<_> = session.probe(&batch).collect().await;
        let outcomes: Vec<_> = answers.iter().map(|answer| (answer.index, answer.observation.outcome)).collect();
        assert_eq!(outcomes, [(0, Outcome::ProbeLost), (1, Outcome::Reached)]);
        assert!(answers[0].observation.detail.as_deref().unwrap().contains("only curl"));
        assert!(session.command(&batch[1]).starts_with("enter "));
    }
}
