//! One call: its requests at once, or one after the other.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::UdpSocket,
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    Ask, Finding, How, Kind, Port, Socket, Sockets, Transport, Work, datagram, dns,
    http::{self, Get},
    kept::{Connection, Kept},
    micros,
    names::Names,
    ports::Ports,
    sockets::is_taken,
};
use crate::probe::Outcome;

/// Sockets that are made together.
const TOGETHER: usize = 64;

/// Requests of a call begin in groups of this size, each when one before it is over, or after a moment in which none was:
/// waiting for one's turn would look like a slow path, and denied requests wait for nobody.
const GATE: usize = 4;
/// That moment.
const PACE: Duration = Duration::from_millis(1);

/// How long a request waits for a port of the source's own that another one has, and how often it looks.
const TAKEN_PATIENCE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Makes requests, for all calls of a process.
#[derive(Clone, Debug)]
pub struct Prober {
    /// How many requests are under way at once: none fails because there are too many.
    slots: Arc<Semaphore>,
    ports: Arc<Ports>,
    kept: Kept,
    /// When its clock began.
    born: Instant,
}

impl Prober {
    /// A prober in a process that may have so many open files, which servers may share with it.
    #[must_use]
    pub fn new(files: u64) -> Self {
        let slots = usize::try_from(files / 4).unwrap_or(usize::MAX).clamp(64, 4096);
        let slots = Arc::new(Semaphore::new(slots));
        Self { slots, ports: Arc::default(), kept: Kept::default(), born: Instant::now() }
    }

    /// Another one in the same process, which keeps connections of its own. They end with the last of its clones.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self { kept: Kept::default(), ..self.clone() }
    }

    /// Ends the connections that it keeps.
    pub fn forget(&self) {
        self.kept.forget();
    }

    /// Does some work, and hands on what is found as it comes; how many requests have a finding. Dropping the future gives
    /// the work up.
    pub async fn run<S, F>(&self, work: Work, sockets: &S, found: F) -> usize
    where
        S: Sockets,
        F: Fn(Finding) + Clone + Send + 'static,
    {
        let born = self.born;
        let found = move |finding| found(Finding { ended_us: micros(born.elapsed()), ..finding });
        let needs_names = work.asks.iter().any(|ask| ask.host.parse::<IpAddr>().is_err());
        let names = Arc::new(if needs_names { Names::of_system() } else { Names::default() });
        if let Some(every) = work.every_us.map(Duration::from_micros) {
            return self.in_turn(work.asks, every, &names, sockets, found).await;
        }
        let (kept, asks): (Vec<Ask>, Vec<Ask>) = work.asks.into_iter().partition(|ask| ask.keep.is_some());
        let (own, free) = asks.into_iter().partition(|ask| ask.source_port.is_some());
        let free = self.at_once(free, &names, sockets, found.clone());
        let own = self.one_by_one(own, &names, sockets, found.clone());
        let (free, own, kept) = tokio::join!(free, own, self.over_kept(kept, &names, sockets, found));
        free + own + kept
    }

    async fn at_once<S, F>(&self, mut asks: Vec<Ask>, names: &Arc<Names>, sockets: &S, found: F) -> usize
    where
        S: Sockets,
        F: Fn(Finding) + Clone + Send + 'static,
    {
        let mut running = JoinSet::new();
        let mut gate = Arc::new(Semaphore::new(GATE));
        while !asks.is_empty() {
            let some: Vec<Ask> = asks.drain(..asks.len().min(TOGETHER)).collect();
            let kits = self.kits(&some, names, sockets).await;
            for (ask, kit) in some.into_iter().zip(kits) {
                let slot = Arc::clone(&self.slots).acquire_owned().await;
                let pass = timeout(PACE, Arc::clone(&gate).acquire_owned()).await;
                if pass.is_err() {
                    gate = Arc::new(Semaphore::new(GATE));
                }
                let (names, found) = (Arc::clone(names), found.clone());
                running.spawn(async move {
                    let finding = made(&ask, make(&ask, kit, &names, None).await);
                    drop((slot, pass));
                    found(finding);
                });
                tokio::task::yield_now().await;
            }
        }
        let mut answered = 0;
        while let Some(ended) = running.join_next().await {
            answered += usize::from(ended.is_ok());
        }
        answered
    }

    async fn in_turn<S: Sockets>(
        &self,
        asks: Vec<Ask>,
        every: Duration,
        names: &Names,
        sockets: &S,
        found: impl Fn(Finding),
    ) -> usize {
        let (mut answered, mut next) = (0, Instant::now());
        for ask in asks {
            sleep_until(next).await;
            next = Instant::now() + every;
            found(made(&ask, self.one(&ask, names, sockets, None).await));
            answered += 1;
        }
        answered
    }

    /// Requests from ports of the source's own: no two connections of one to the same place can be open at once, whichever
    /// call they are of.
    async fn one_by_one<S: Sockets>(
        &self,
        asks: Vec<Ask>,
        names: &Names,
        sockets: &S,
        found: impl Fn(Finding),
    ) -> usize {
        let mut answered = 0;
        for ask in asks {
            let patience = Instant::now() + TAKEN_PATIENCE;
            let done = loop {
                match self.one(&ask, names, sockets, None).await {
                    Err(error) if is_taken(&error) && Instant::now() < patience => sleep(LOOK_AGAIN).await,
                    done => break done,
                }
            };
            found(made(&ask, done));
            answered += 1;
        }
        answered
    }

    /// Requests over connections that stay.
    async fn over_kept<S: Sockets>(
        &self,
        asks: Vec<Ask>,
        names: &Names,
        sockets: &S,
        found: impl Fn(Finding),
    ) -> usize {
        let mut answered = 0;
        for ask in asks {
            let Some(keep) = &ask.keep else { continue };
            let connection = self.kept.named(&keep.name);
            let mut connection = connection.lock().await;
            found(if keep.make && !connection.is_there() {
                made(&ask, self.one(&ask, names, sockets, Some(&mut connection)).await)
            } else {
                connection.ask(&ask).await
            });
            answered += 1;
        }
        answered
    }

    /// Makes one request with sockets of its own. An error is as that of [`make`].
    async fn one<S: Sockets>(
        &self,
        ask: &Ask,
        names: &Names,
        sockets: &S,
        stays: Option<&mut Connection>,
    ) -> io::Result<Finding> {
        match self.kits(std::slice::from_ref(ask), names, sockets).await.pop() {
            Some(kit) => make(ask, kit, names, stays).await,
            None => Err(io::Error::other("no socket was made")),
        }
    }

    /// The sockets of some requests, all made in one go.
    async fn kits<S: Sockets>(&self, asks: &[Ask], names: &Names, sockets: &S) -> Vec<Kit> {
        let v6_server = names.servers.first().is_some_and(SocketAddr::is_ipv6);
        let wanted = asks.iter().map(|ask| {
            let address = ask.host.parse::<IpAddr>().ok();
            let v6 = address.map_or(ask.v6, |address| address.is_ipv6());
            let (transport, port) = match ask.how {
                How::Http { .. } => (Transport::Stream, Port::Any),
                How::Udp => (Transport::Datagrams, Port::Rather(self.ports.next(&ask.host, ask.port))),
            };
            let own = Kind { transport, v6, port: ask.source_port.map_or(port, Port::Only) };
            let questions = Kind { transport: Transport::Datagrams, v6: v6_server, port: Port::Any };
            (own, address.is_none().then_some(questions))
        });
        let wanted: Vec<(Kind, Option<Kind>)> = wanted.collect();
        let kinds = wanted.iter().flat_map(|(own, questions)| [*own].into_iter().chain(*questions)).collect();
        let mut made = sockets.open(kinds).await.into_iter();
        let mut next = || made.next().unwrap_or_else(|| Err(io::Error::other("no socket was made")));
        wanted.into_iter().map(|(_, questions)| Kit { own: next(), questions: questions.map(|_| next()) }).collect()
    }
}

/// What came of a request. Without a socket nothing is known.
fn made(ask: &Ask, made: io::Result<Finding>) -> Finding {
    made.unwrap_or_else(|error| {
        let from = ask.source_port.map(|port| format!(" from port {port}")).unwrap_or_default();
        Finding::of(ask.index, Outcome::ProbeLost, Some(format!("no socket{from}: {error}")))
    })
}

/// The sockets of one request.
struct Kit {
    own: io::Result<Socket>,
    /// Towards the name servers, where there is a name to resolve.
    questions: Option<io::Result<Socket>>,
}

/// Makes one request, on a connection of its own or with the connection that is to stay. An error is about its sockets: it
/// was not made.
async fn make(ask: &Ask, kit: Kit, names: &Names, stays: Option<&mut Connection>) -> io::Result<Finding> {
    let began = Instant::now();
    let (address, resolve_us) = match (ask.host.parse(), kit.questions) {
        (Ok(address), _) => (address, None),
        (Err(_), questions) => match by_name(ask, questions, names).await? {
            Ok(address) => (address, Some(micros(began.elapsed()))),
            Err(why) => return Ok(Finding::of(ask.index, Outcome::NameNotResolved, Some(why))),
        },
    };
    let to = SocketAddr::new(address, ask.port);
    let found = match (kit.own, &ask.how, stays) {
        (Ok(socket), _, Some(stays)) => stays.make(ask, socket, to).await?,
        (Ok(Socket::Stream(socket)), How::Http { path, headers, nonce_header }, None) => {
            http::get(ask, &Get { path, headers, nonce_header }, socket, to).await?
        }
        (Ok(Socket::Datagrams(socket)), How::Udp, None) => datagram::ask(ask, &socket, to).await,
        (Ok(_), _, None) => return Err(io::Error::other("it is of another kind")),
        (Err(error), ..) => return Err(error),
    };
    Ok(Finding { resolve_us, ..found })
}

/// The address of a request's name, or why there is none; an error says nothing about the name.
async fn by_name(
    ask: &Ask,
    questions: Option<io::Result<Socket>>,
    names: &Names,
) -> io::Result<Result<IpAddr, String>> {
    if let Some(address) = names.host(&ask.host, ask.v6) {
        return Ok(Ok(address));
    }
    let socket: UdpSocket = match questions {
        Some(Ok(Socket::Datagrams(socket))) => socket,
        Some(Err(error)) => return Err(error),
        _ => return Err(io::Error::other("there is none for names")),
    };
    Ok(dns::resolve(names, &socket, &ask.host, ask.v6, Duration::from_micros(ask.resolve_us)).await)
}
