//! Asking: from each position for each category, before policies and with them.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use futures::{StreamExt as _, future::try_join_all};
use tokio_util::sync::CancellationToken;

use crate::{
    lab::{Lab, LabError, Source, Stage, World},
    metadata::{Category, Cloud, EXPOSURES, endpoints},
    probe::{Means, Observation, Outcome, Proof, Request, Session, Target},
    scenario::{LabSpec, Manifest, Method, NodeName},
};

/// How long a connection may take before any was made.
const PATIENCE: Duration = Duration::from_secs(1);
/// A window is so many times the slowest connection, and never shorter than this.
const FACTOR: u32 = 50;
const LEAST: Duration = Duration::from_millis(100);
/// The name of the canary: its namespace, its pod, its label, its policy.
pub(super) const CANARY: &str = "policyprobe-canary";
/// So many rounds have to be as the one before, with the canary stopped in each: one that was only slow, because many clouds
/// are looked at side by side, is not stopped so often.
const ROUNDS: usize = 3;

/// What every cloud's survey has in common.
pub(super) struct Setup {
    pub(super) lab: Arc<dyn Lab>,
    /// The lab without its cloud.
    pub(super) spec: LabSpec,
    pub(super) positions: Vec<Position>,
    pub(super) policies: Vec<Arc<Manifest>>,
    pub(super) is_emulated: bool,
}

/// A place from which somebody may ask.
#[derive(Clone, Debug)]
pub(super) struct Position {
    pub(super) text: String,
    /// Empty for the node.
    pub(super) namespace: String,
    pub(super) source: Source,
    /// Whether it is meant to get at the server.
    pub(super) may: bool,
}

/// What came of asking for a category.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It was given.
    Open,
    /// The server was reached, and refused with this status: who knows what it asks for gets it.
    Refused(u16),
    /// The connection was made, and the answer did not arrive, as with a hop limit.
    Silent,
    /// The way is closed, and open to a witness.
    Closed,
    /// Nothing can be said: nobody got there, or this position never did.
    Unknown,
}

/// What one position sees of one cloud.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) cloud: Cloud,
    pub(super) position: Position,
    /// By category, in their order; none where the cloud has none. A real service has a single state.
    pub(super) states: [Option<State>; 6],
}

impl Seen {
    /// Whether anything is open, or only refused by the server.
    pub(super) fn is_open(&self) -> bool {
        self.states.iter().flatten().any(|state| matches!(state, State::Open | State::Refused(_)))
    }
}

/// One thing to ask, and of which category.
struct Question {
    category: Category,
    is_token: bool,
    target: Target,
}

type Answers = Vec<Option<Observation>>;

/// Looks at a cloud's emulated server.
pub(super) async fn emulated(
    setup: &Setup,
    cloud: Cloud,
    lane: u32,
    cancel: &CancellationToken,
) -> anyhow::Result<Vec<Seen>> {
    let spec = LabSpec { metadata: Some(cloud), ..setup.spec.clone() };
    let stage = setup.lab.stage(&spec, lane, cancel).await?;
    let questions = questions(cloud, &stage.world());
    let found = ask_all(setup, &stage, &questions, cancel).await?;
    let (before, after) = found;
    let mut seen = Vec::new();
    let witness = setup.positions.iter().position(|position| matches!(position.source, Source::Node(_)));
    for (index, position) in setup.positions.iter().enumerate() {
        let states = Category::ALL.map(|category| {
            let of_category = |question: &&Question| question.category == category;
            let indices: Vec<_> =
                questions.iter().enumerate().filter(|(_, q)| of_category(q)).map(|(index, _)| index).collect();
            let states = indices.iter().map(|question| {
                let reached = |answers: &[Answers], who: usize| {
                    outcome(answers[who][*question].as_ref()) == Some(Outcome::Reached)
                };
                let is_witnessed = witness.is_none_or(|witness| reached(&after, witness));
                state(after[index][*question].as_ref(), reached(&before, index) && is_witnessed)
            });
            states.collect::<Vec<_>>().into_iter().reduce(worse)
        });
        let states = with_token(&questions, &after[index], states);
        seen.push(Seen { cloud, position: position.clone(), states });
    }
    Ok(seen)
}

/// Looks at the real services, by their root path alone. A state stands for the service as a whole.
pub(super) async fn real(setup: &Setup, clouds: &[Cloud], cancel: &CancellationToken) -> anyhow::Result<Vec<Seen>> {
    let stage = setup.lab.stage(&setup.spec, 0, cancel).await?;
    let places: Vec<SocketAddr> = endpoints(clouds).into_iter().filter(SocketAddr::is_ipv4).collect();
    let questions: Vec<_> = places.iter().copied().map(root).collect();
    let (before, after) = ask_all(setup, &stage, &questions, cancel).await?;
    let mut seen = Vec::new();
    for cloud in clouds {
        for (index, position) in setup.positions.iter().enumerate() {
            let own =
                cloud.definition().endpoints.iter().filter_map(|own| places.iter().position(|place| place == own));
            let states = own.map(|question| {
                let answered =
                    |answers: &[Answers]| answers[index][question].as_ref().is_some_and(|it| it.status.is_some());
                match &after[index][question] {
                    Some(Observation { status: Some(status), .. }) => State::Refused(*status),
                    found => state(found.as_ref(), answered(&before)),
                }
            });
            let whole = states.collect::<Vec<_>>().into_iter().reduce(worse);
            seen.push(Seen {
                cloud: *cloud,
                position: position.clone(),
                states: [whole, None, None, None, None, None],
            });
        }
    }
    Ok(seen)
}

/// What is asked of a real server: its root, in which no cloud has anything of the machine's, and without the headers that
/// would open more.
fn root(place: SocketAddr) -> Question {
    Question { category: Category::Instance, is_token: false, target: http(place, "/", &[], Method::Get) }
}

/// What is asked of an emulated server: everything in the table, and a session token where the cloud has such.
fn questions(cloud: Cloud, world: &World) -> Vec<Question> {
    let definition = cloud.definition();
    let addresses = world.metadata.as_ref().map(|metadata| metadata.addresses.clone()).unwrap_or_default();
    let own =
        EXPOSURES.iter().filter(|exposure| exposure.cloud == cloud && addresses.contains(&exposure.endpoint().ip()));
    let mut questions: Vec<_> = own
        .map(|exposure| Question {
            category: exposure.category,
            is_token: false,
            target: http(exposure.endpoint(), exposure.path, definition.headers, Method::Get),
        })
        .collect();
    let ttl = match cloud {
        Cloud::Aws => Some("X-aws-ec2-metadata-token-ttl-seconds"),
        Cloud::Alibaba => Some("X-aliyun-ecs-metadata-token-ttl-seconds"),
        _ => None,
    };
    questions.extend(ttl.map(|ttl| Question {
        category: Category::Credentials,
        is_token: true,
        target: http(definition.endpoints[0], "/latest/api/token", &[(ttl, "60")], Method::Put),
    }));
    questions
}

fn http(place: SocketAddr, path: &str, headers: &[(&str, &str)], method: Method) -> Target {
    Target::http(method, &place.ip().to_string(), place.port(), path, headers)
}

/// The answers by position and question: without policies, and with them once they no longer change.
async fn ask_all(
    setup: &Setup,
    stage: &Arc<dyn Stage>,
    questions: &[Question],
    cancel: &CancellationToken,
) -> anyhow::Result<(Vec<Answers>, Vec<Answers>)> {
    let world = stage.world();
    let open = setup.positions.iter().map(|position| stage.open_fast(&position.source, Means::Agent));
    let mut sessions = try_join_all(open).await?;
    let mut round = Round { setup, world: &world, questions, number: 0 };
    let before = round.ask(&mut sessions, PATIENCE).await?;
    if setup.policies.is_empty() {
        return Ok((before.clone(), before));
    }
    let mut canary = Canary::new(stage).await?;
    for policy in setup.policies.iter().chain([&canary.policy]) {
        stage.apply(policy).await.with_context(|| format!("cannot apply {}", policy.path.display()))?;
    }
    let slowest = before.iter().flatten().flatten().filter_map(|found| found.connect).max().unwrap_or(PATIENCE);
    let window = (slowest * FACTOR).clamp(LEAST, PATIENCE);
    let limit = tokio::time::Instant::now() + setup.lab.capabilities().converge_limit;
    let (mut last, mut same) = (before.clone(), 0);
    loop {
        let (is_enforced, after) = tokio::join!(canary.is_stopped(window), round.ask(&mut sessions, window));
        let after = after?;
        same = if is_enforced && meanings(&after) == meanings(&last) { same + 1 } else { 0 };
        if same >= ROUNDS || tokio::time::Instant::now() >= limit || cancel.is_cancelled() {
            return Ok((before, after));
        }
        last = after;
    }
}

/// A pod under a policy of the audit's own, which is applied after all others: once that has its effect, theirs is there
/// too, if only to change nothing. It is in a namespace of its own: a policy of theirs that selects every pod and allows most
/// would leave it open for good, since policies add up.
struct Canary {
    session: Box<dyn Session>,
    target: Target,
    server: String,
    policy: Arc<Manifest>,
    number: usize,
}

impl Canary {
    async fn new(stage: &Arc<dyn Stage>) -> anyhow::Result<Self> {
        let world = stage.world();
        let served = world.pods.iter().find(|pod| pod.spec.name != CANARY && !pod.spec.ports.is_empty());
        let (pod, address) = served.and_then(|pod| Some((pod, *pod.addresses.first()?))).context("no pod serves")?;
        let spec = serde_json::json!(
            {"podSelector": {"matchLabels": {CANARY: "yes"}}, "policyTypes": ["Egress"], "egress": []}
        );
        let policy = Manifest::network_policy(CANARY, (CANARY, CANARY), &spec)?;
        let source = Source::Pod(CANARY.to_owned(), CANARY.to_owned());
        let session = stage.open_fast(&source, Means::Agent).await?;
        let target = with_proof(http(SocketAddr::new(address, 80), "/", &[], Method::Get), pod.proof.clone());
        Ok(Self { session, target, server: pod.identity.clone(), policy: Arc::new(policy), number: 0 })
    }

    async fn is_stopped(&mut self, limit: Duration) -> bool {
        self.number += 1;
        let nonce = format!("audit-canary-{}", self.number);
        let request = Request::new(self.target.clone(), nonce, self.server.clone(), limit);
        // To the end: a prober whose answers are not all taken is given up, and would never answer again.
        let answers: Vec<_> = self.session.probe(std::slice::from_ref(&request)).collect().await;
        answers.iter().any(|answer| answer.observation.outcome.is_stopped())
    }
}

fn with_proof(mut target: Target, own: Proof) -> Target {
    if let Target::Http { proof, .. } = &mut target {
        *proof = own;
    }
    target
}

/// One time of asking everything from everywhere.
struct Round<'a> {
    setup: &'a Setup,
    world: &'a World,
    questions: &'a [Question],
    number: usize,
}

impl Round<'_> {
    async fn ask(&mut self, sessions: &mut [Box<dyn Session>], limit: Duration) -> anyhow::Result<Vec<Answers>> {
        self.number += 1;
        let number = self.number;
        let asking = sessions.iter_mut().zip(&self.setup.positions).enumerate().map(|(place, (session, position))| {
            let server = identity(self.world, &position.source);
            let batch = self.questions.iter().enumerate().map(|(index, question)| {
                let nonce = format!("audit-{number}-{place}-{index}");
                Request::new(question.target.clone(), nonce, server.clone(), limit)
            });
            let batch: Vec<_> = batch.collect();
            async move {
                let mut answers: BTreeMap<usize, Observation> = BTreeMap::new();
                let mut stream = session.probe(&batch);
                while let Some(answer) = stream.next().await {
                    answers.insert(answer.index, answer.observation);
                }
                drop(stream);
                (0..batch.len()).map(|index| answers.remove(&index)).collect::<Answers>()
            }
        });
        let answers: Vec<Answers> = futures::future::join_all(asking).await;
        if self.setup.is_emulated {
            // Somebody else's server at a metadata address: nothing more is sent.
            let foreign = answers
                .iter()
                .flatten()
                .flatten()
                .find(|found| found.outcome == Outcome::WrongServer && found.status.is_some());
            if let Some(address) = foreign.and_then(|found| found.address) {
                return Err(LabError::RealMetadata { address }.into());
            }
        }
        Ok(answers)
    }
}

fn identity(world: &World, source: &Source) -> String {
    let Some(metadata) = &world.metadata else { return "nobody".to_owned() };
    let (node, own_network) = match source {
        Source::Node(node) => (*node, false),
        // All pods of an audit are there.
        _ => (NodeName::Worker, true),
    };
    metadata.identity_for(node, own_network)
}

fn outcome(found: Option<&Observation>) -> Option<Outcome> {
    found.map(|found| found.outcome)
}

/// What all answers mean, if they are proved. A CNI that refuses may time out the next moment, as the kernel limits how many
/// refusals it sends: that is no change.
fn meanings(answers: &[Answers]) -> Vec<State> {
    answers.iter().flatten().map(|found| state(found.as_ref(), true)).collect()
}

/// What an answer means; a denial only counts where this position once got there and a witness still does.
fn state(found: Option<&Observation>, is_proved: bool) -> State {
    match found.map(|found| (found.outcome, found.status)) {
        Some((Outcome::Reached, Some(200..300) | None)) => State::Open,
        Some((Outcome::Reached, Some(status))) => State::Refused(status),
        Some((Outcome::NoAnswer, _)) => State::Silent,
        Some((outcome, _)) if outcome.is_stopped() && is_proved => State::Closed,
        _ => State::Unknown,
    }
}

/// The state of two that an attacker would rather have.
fn worse(one: State, other: State) -> State {
    let rank = |state: &State| match state {
        State::Open => 4,
        State::Refused(_) => 3,
        State::Silent => 2,
        State::Unknown => 1,
        State::Closed => 0,
    };
    if rank(&other) > rank(&one) { other } else { one }
}

/// Who gets a session token gets everything that is refused without; who does not get one gets nothing of that. Where no
/// token is needed it has no part in this.
fn with_token(questions: &[Question], answers: &Answers, states: [Option<State>; 6]) -> [Option<State>; 6] {
    let Some(index) = questions.iter().position(|question| question.is_token) else { return states };
    let token = state(answers[index].as_ref(), true);
    let needs = states[0].is_some_and(|state| matches!(state, State::Refused(401 | 403)));
    states.map(|own| match own {
        Some(_) if needs && matches!(token, State::Open | State::Silent) => Some(token),
        own => own,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(outcome: Outcome, status: Option<u16>) -> Observation {
        Observation { outcome, status, ..Observation::lost(None) }
    }

    #[test]
    fn a_denial_counts_only_when_it_is_proved() {
        let of = |outcome, status, proved| state(Some(&found(outcome, status)), proved);
        assert_eq!(of(Outcome::Reached, Some(200), false), State::Open);
        assert_eq!(of(Outcome::Reached, Some(401), true), State::Refused(401));
        assert_eq!(of(Outcome::NoAnswer, None, true), State::Silent);
        assert_eq!(of(Outcome::TimedOut, None, true), State::Closed);
        assert_eq!(of(Outcome::TimedOut, None, false), State::Unknown);
        assert_eq!(of(Outcome::ProbeLost, None, true), State::Unknown);
        assert_eq!(state(None, true), State::Unknown);
    }

    #[test]
    fn a_refusal_and_a_time_out_mean_the_same_and_an_answer_something_else() {
        let meaning = |outcome, status| meanings(&[vec![Some(found(outcome, status))]]);
        assert_eq!(meaning(Outcome::Refused, None), meaning(Outcome::TimedOut, None));
        assert_ne!(meaning(Outcome::Refused, None), meaning(Outcome::Reached, Some(200)));
        assert_ne!(meaning(Outcome::Reached, Some(401)), meaning(Outcome::Reached, Some(200)));
    }

    #[test]
    fn of_a_real_service_nothing_is_asked_but_its_root() {
        for place in endpoints(Cloud::ALL) {
            let Target::Http { method, path, headers, host, port, .. } = root(place).target else { panic!("no HTTP") };
            assert_eq!((method, path.as_str(), headers.len()), (Method::Get, "/", 0));
            assert_eq!((host, port), (place.ip().to_string(), place.port()));
        }
    }

    #[test]
    fn who_gets_a_token_gets_all() {
        let questions = questions(Cloud::Aws, &World::default());
        assert!(questions.len() == 1 && questions[0].is_token);
        let refused = [Some(State::Refused(401)); 6];
        let given = vec![Some(found(Outcome::Reached, Some(200)))];
        assert_eq!(with_token(&questions, &given, refused), [Some(State::Open); 6]);
        let withheld = vec![Some(found(Outcome::NoAnswer, None))];
        assert_eq!(with_token(&questions, &withheld, refused), [Some(State::Silent); 6]);
        assert_eq!(with_token(&questions, &given, [Some(State::Closed); 6]), [Some(State::Closed); 6]);
        assert_eq!(worse(State::Closed, State::Unknown), State::Unknown);
    }
}
