//! A lab in which one function decides every packet: the simulator, and the faults that a test plants.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::{StreamExt, stream::BoxStream, stream::FuturesUnordered};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::planted::Faults;
use crate::{
    engine::{Events, plan},
    lab::{Capabilities, Lab, LabBuilder, LabError, ServerId, Source, Stage, World},
    policy::{Decision, End, Flow, decide},
    probe::{Answer, Observation, Outcome, Request, Session, Target},
    scenario::{LabSpec, LabelAction, Manifest, Method, Need, PodSpec, Protocol},
};

/// What a test can see of the lab from outside.
#[derive(Clone, Debug, Default)]
pub(super) struct Traces {
    pub(super) built: Arc<AtomicBool>,
    pub(super) torn_down: Arc<AtomicBool>,
}

pub(super) struct Builder {
    pub(super) faults: Faults,
    pub(super) traces: Traces,
}

#[async_trait]
impl LabBuilder for Builder {
    fn backend(&self) -> &'static str {
        "script"
    }

    async fn build(
        self: Box<Self>,
        _run: &str,
        _first: &[LabSpec],
        _events: &Events,
        _cancel: &CancellationToken,
    ) -> Result<Arc<dyn Lab>, LabError> {
        self.traces.built.store(true, Ordering::SeqCst);
        let capabilities = Capabilities {
            has: BTreeSet::from([Need::Metadata, Need::Dns, Need::NodeSource]),
            converge_limit: Duration::from_secs(30),
            ..Capabilities::default()
        };
        Ok(Arc::new(Scripted { faults: self.faults, traces: self.traces, capabilities }))
    }
}

struct Scripted {
    faults: Faults,
    traces: Traces,
    capabilities: Capabilities,
}

#[async_trait]
impl Lab for Scripted {
    fn backend(&self) -> &'static str {
        "script"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn stage(&self, spec: &LabSpec, _lane: u32, _cancel: &CancellationToken) -> Result<Arc<dyn Stage>, LabError> {
        let of_canary = spec.namespaces.contains_key("pp-canary");
        // The canary tells only whether policies have an effect.
        let faults = if of_canary {
            Faults { unenforced: self.faults.unenforced, ..Faults::default() }
        } else {
            self.faults.clone()
        };
        Ok(Arc::new(ScriptedStage(Arc::new(Net {
            world: Arc::new(plan::world(spec)),
            random: AtomicU64::new(faults.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            faults,
            changes: Mutex::new(vec![(Instant::now(), Vec::new())]),
            names: AtomicU64::default(),
            seen: Mutex::default(),
        }))))
    }

    async fn diagnose(&self) -> String {
        String::new()
    }

    async fn teardown(&self) -> Vec<LabError> {
        self.traces.torn_down.store(true, Ordering::SeqCst);
        Vec::new()
    }
}

type Policies = Vec<(String, Arc<NetworkPolicy>)>;

struct Net {
    world: Arc<World>,
    faults: Faults,
    random: AtomicU64,
    names: AtomicU64,
    changes: Mutex<Vec<(Instant, Policies)>>,
    seen: Mutex<BTreeSet<String>>,
}

/// What becomes of one packet now.
enum Fate {
    Answered(String),
    Dropped,
    Refused,
    /// The connection is made, and then nothing comes.
    Unanswered,
}

impl Net {
    fn change(&self, change: impl FnOnce(&mut Policies)) {
        let mut changes = self.changes.lock().unwrap();
        let mut policies = changes.last().unwrap().1.clone();
        change(&mut policies);
        changes.push((Instant::now(), policies));
    }

    /// The time since the first change.
    fn changed(&self) -> Option<Duration> {
        self.changes.lock().unwrap().get(1).map(|(at, _)| at.elapsed())
    }

    fn policies(&self) -> Vec<Arc<NetworkPolicy>> {
        let open = self.faults.flapping.is_some_and(|period| {
            self.changed().is_some_and(|since| (since.as_micros() / period.as_micros()) % 2 == 1)
        });
        if self.faults.unenforced || open {
            return Vec::new();
        }
        let changes = self.changes.lock().unwrap();
        let effective = changes
            .iter()
            .rev()
            .find(|(at, policies)| at.elapsed() >= self.faults.lag || policies.is_empty() && changes.len() == 1);
        effective
            .map(|(_, policies)| policies.iter().map(|(_, policy)| Arc::clone(policy)).collect())
            .unwrap_or_default()
    }

    fn is_allowed(&self, from: &Source, address: IpAddr, port: u16) -> bool {
        let cluster = plan::cluster(&self.world, self.policies());
        let find_pod = |address: IpAddr| cluster.pods.iter().find(|pod| pod.addresses.contains(&address)).map(End::Pod);
        let from_address = self.address_of(from);
        let from = match from {
            Source::Node(name) => End::Node(cluster.nodes.iter().find(|node| node.name == *name).unwrap()),
            _ => find_pod(from_address).unwrap(),
        };
        let to = find_pod(address).unwrap_or(End::Outside);
        let flow = Flow { from, from_address, to, to_address: address, port, protocol: Protocol::Tcp, service: None };
        !matches!(decide(&cluster, &flow), Decision::Deny(_))
    }

    fn address_of(&self, source: &Source) -> IpAddr {
        match source {
            Source::Pod(namespace, name) => {
                let mut pods = self.world.pods.iter();
                pods.find(|pod| pod.spec.namespace == *namespace && pod.spec.name == *name).unwrap().addresses[0]
            }
            Source::Node(name) => self.world.nodes.iter().find(|node| node.name == *name).unwrap().addresses[0],
            Source::Outside(name) => self.world.outside.iter().find(|host| host.name == *name).unwrap().address,
        }
    }

    fn fate(&self, from: &Source, request: &Request, address: IpAddr, port: u16) -> Fate {
        let metadata = self.world.metadata.as_ref().filter(|metadata| metadata.addresses.contains(&address));
        let has_passed =
            |after: Option<Duration>| after.is_some_and(|after| self.changed().is_some_and(|since| since >= after));
        let is_away = has_passed(self.faults.dies_after) && !has_passed(self.faults.returns_after);
        if metadata.is_some() && (self.faults.dead || is_away) {
            return Fate::Refused;
        }
        let is_unknown = metadata.is_none() && self.faults.translated.is_some_and(|(name, _)| is(from, name));
        if is_unknown && self.changed().is_some() {
            return Fate::Refused;
        }
        let allowed = self.is_allowed(from, address, port);
        let is_put = matches!(request.target, Target::Http { method: Method::Put, .. });
        let is_named = |name: &&str| is(from, name) || matches!(from, Source::Node(node) if node.as_str() == *name);
        if allowed && is_put && self.faults.unanswered.iter().any(is_named) {
            if !self.faults.swallowed {
                self.seen.lock().unwrap().insert(request.nonce.clone());
            }
            return Fate::Unanswered;
        }
        let is_first = self.changed().is_some_and(|since| since < self.faults.one_way_at_first);
        if allowed || self.faults.one_way || is_first {
            self.seen.lock().unwrap().insert(request.nonce.clone());
        }
        if !allowed {
            return Fate::Dropped;
        }
        let pod = self.world.pods.iter().find(|pod| pod.addresses.contains(&address));
        match (metadata, pod) {
            (Some(_), _) if self.faults.impostor && self.changed().is_some() => Fate::Answered("impostor".to_owned()),
            (Some(metadata), _) => Fate::Answered(metadata.identity.clone()),
            (None, Some(pod)) => Fate::Answered(pod.identity.clone()),
            (None, None) => Fate::Dropped,
        }
    }

    /// What is left of a pause.
    fn paused(&self) -> Duration {
        let now = self.changed().unwrap_or_default();
        let pause = self.faults.pause.filter(|(from, _)| now >= *from);
        pause.map_or(Duration::ZERO, |(_, to)| to.saturating_sub(now))
    }

    fn is_lost(&self, from: &Source) -> bool {
        self.faults.loss.is_some_and(|(name, percent)| is(from, name) && self.is_unlucky(percent))
    }

    /// How long a lookup takes that may be lost once, and again when its resolver asks once more.
    fn lookup(&self, from: &Source, limit: Duration) -> Lookup {
        let lost =
            || self.faults.lost_lookups.is_some_and(|(name, percent)| is(from, name) && self.is_unlucky(percent));
        let again = Duration::from_secs(5);
        let slow = self.faults.slow_lookups.filter(|(name, _)| is(from, name) && self.changed().is_some());
        if !lost() {
            Lookup::Resolved(slow.map_or(Duration::from_millis(2), |(_, took)| took))
        } else if again > limit || lost() {
            Lookup::Lost(limit)
        } else {
            Lookup::Resolved(again)
        }
    }

    fn is_unlucky(&self, percent: u64) -> bool {
        // An xorshift is random enough to lose packets by.
        let step = |mut x: u64| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^ (x << 17)
        };
        let before = self.random.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |x| Some(step(x))).unwrap();
        (step(before) >> 16) % 100 < percent
    }
}

fn is(source: &Source, name: &str) -> bool {
    matches!(source, Source::Pod(_, pod) if pod == name)
}

struct ScriptedStage(Arc<Net>);

#[async_trait]
impl Stage for ScriptedStage {
    fn world(&self) -> Arc<World> {
        Arc::clone(&self.0.world)
    }

    fn ground(&self) -> Option<u64> {
        self.0.faults.ground
    }

    async fn apply(&self, manifest: &Manifest) -> Result<(), LabError> {
        if self.0.faults.refuses {
            return Err(LabError::Rejected { manifest: manifest.name.clone(), message: "quota exceeded".to_owned() });
        }
        let policy = manifest.policy.clone().unwrap();
        self.0.change(|policies| policies.push((manifest.name.clone(), policy)));
        Ok(())
    }

    async fn delete(&self, manifest: &Manifest) -> Result<(), LabError> {
        self.0.change(|policies| policies.retain(|(name, _)| *name != manifest.name));
        Ok(())
    }

    async fn label(&self, _action: &LabelAction) -> Result<(), LabError> {
        Ok(())
    }

    async fn create(&self, _pod: &PodSpec) -> Result<(), LabError> {
        Ok(())
    }

    async fn recreate(&self, _namespace: &str, _pod: &str) -> Result<(), LabError> {
        Ok(())
    }

    async fn restart(&self, _namespace: &str, _pod: &str) -> Result<(), LabError> {
        Ok(())
    }

    async fn open(&self, source: &Source) -> Result<Box<dyn Session>, LabError> {
        Ok(Box::new(ScriptedSession { net: Arc::clone(&self.0), source: source.clone() }))
    }

    async fn seen(&self, _server: &ServerId, nonces: &BTreeSet<String>) -> Result<BTreeSet<String>, LabError> {
        Ok(self.0.seen.lock().unwrap().intersection(nonces).cloned().collect())
    }

    async fn dns_ready(&self) -> Result<Duration, LabError> {
        Ok(Duration::ZERO)
    }

    async fn reset(&self) -> Result<(), LabError> {
        if !self.0.faults.keeps_policies {
            self.0.change(Vec::clear);
        }
        Ok(())
    }
}

/// How a lookup ends.
enum Lookup {
    Resolved(Duration),
    Lost(Duration),
}

struct ScriptedSession {
    net: Arc<Net>,
    source: Source,
}

impl ScriptedSession {
    /// One connection: a SYN, and another one after 1 and 3 s, as long as none is answered.
    async fn request(&self, request: &Request) -> Option<Observation> {
        let net = &self.net;
        assert!(!net.faults.panics, "a session panicked");
        if net.faults.mute.is_some_and(|name| is(&self.source, name)) && net.changed().is_some() {
            return None;
        }
        let nothing = |outcome| Observation { outcome, ..Observation::lost(None) };
        let Target::Http { host, port, .. } = &request.target else { return Some(nothing(Outcome::Reached)) };
        let by_name = host.parse::<IpAddr>().is_err();
        if by_name && net.faults.no_dns && net.changed().is_some() {
            sleep(request.connect_limit + request.resolve_limit).await;
            return Some(nothing(Outcome::NameNotResolved));
        }
        let mut resolve = None;
        let number = if by_name { net.names.fetch_add(1, Ordering::SeqCst) } else { u64::MAX };
        if number < net.faults.young_dns {
            resolve = Some(Duration::from_secs(5));
            sleep(Duration::from_secs(5)).await;
            if number % 4 != 0 {
                return Some(nothing(Outcome::NameNotResolved));
            }
        }
        if by_name && number >= net.faults.young_dns {
            match net.lookup(&self.source, request.resolve_limit) {
                Lookup::Resolved(took) => {
                    sleep(took).await;
                    resolve = Some(took);
                }
                Lookup::Lost(limit) => {
                    sleep(limit).await;
                    return Some(nothing(Outcome::NameNotResolved));
                }
            }
        }
        let began = Instant::now();
        let metadata = || net.world.metadata.as_ref().unwrap().addresses[0];
        let address = host.parse().unwrap_or_else(|_| metadata());
        let delay = net.faults.delay.filter(|(name, _)| is(&self.source, name));
        let delay = delay.map_or(Duration::from_millis(1), |(_, delay)| delay);
        for syn in [0, 1, 3] {
            let sent = began + Duration::from_secs(syn);
            if sent.duration_since(began) + delay > request.connect_limit {
                break;
            }
            sleep_until(sent + delay).await;
            if net.is_lost(&self.source) {
                continue;
            }
            let connect = Some(began.elapsed());
            match net.fate(&self.source, request, address, *port) {
                Fate::Dropped => {}
                Fate::Refused => return Some(nothing(Outcome::Refused)),
                Fate::Unanswered => {
                    sleep(request.answer_limit.unwrap_or(Duration::from_secs(5))).await;
                    return Some(Observation { connect, ..nothing(Outcome::NoAnswer) });
                }
                Fate::Answered(server) => {
                    sleep(delay + net.paused()).await;
                    let right = server == request.server;
                    let outcome = if right { Outcome::Reached } else { Outcome::WrongServer };
                    return Some(Observation {
                        status: Some(200),
                        server: Some(server),
                        address: Some(address),
                        client: net.faults.translated.filter(|(name, _)| is(&self.source, name)).map(|(_, to)| to),
                        resolve,
                        connect,
                        ..nothing(outcome)
                    });
                }
            }
        }
        sleep_until(began + request.connect_limit).await;
        Some(nothing(Outcome::TimedOut))
    }
}

#[async_trait]
impl Session for ScriptedSession {
    fn probe<'a>(&'a mut self, batch: &'a [Request]) -> BoxStream<'a, Answer> {
        let session = &*self;
        let requests: FuturesUnordered<_> = batch
            .iter()
            .enumerate()
            .map(|(index, request)| async move {
                let observation = session.request(request).await?;
                Some(Answer { index, at: Instant::now().into_std(), observation })
            })
            .collect();
        requests.filter_map(std::future::ready).boxed()
    }

    fn watch<'a>(&'a mut self, batch: &'a [Request], every: Duration) -> BoxStream<'a, Answer> {
        let answers = async_stream::stream! {
            for (index, request) in batch.iter().enumerate() {
                let next = Instant::now() + every;
                let Some(observation) = self.request(request).await else { return };
                yield Answer { index, at: Instant::now().into_std(), observation };
                if index + 1 < batch.len() {
                    sleep_until(next).await;
                }
            }
        };
        answers.boxed()
    }

    async fn fetch(&mut self, request: &Request) -> (Observation, String) {
        (self.request(request).await.unwrap_or_else(|| Observation::lost(None)), "the body".to_owned())
    }

    fn command(&self, request: &Request) -> String {
        format!("ask {:?}", request.target)
    }
}
