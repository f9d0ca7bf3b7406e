//! The agents that make probes: one open stream a pod and a node, over the whole run, for all sessions and stages.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::FutureExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::{
    ground::IMAGE_AGENT,
    objects::AGENT,
    shell::{Place, Wire},
    shells::Seat,
};
use crate::probe::AgentLink;

/// The line that asks for the agent, where it is not there yet.
const CARRY: &[u8] = b"carry\n";
/// Where the agent's file may lie, the best place first: `/var/tmp` is seldom mounted `noexec`, and a pod's image need not
/// have it.
const DIRECTORIES: &str = "/var/tmp /tmp /dev/shm";
/// How long carrying the agent in may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The agents of a run.
pub(crate) struct Links {
    /// The agent that is carried into nodes; without one nobody has an agent.
    agent: Option<&'static [u8]>,
    open: Mutex<BTreeMap<Seat, Arc<AgentLink>>>,
}

impl Links {
    /// None yet.
    pub(crate) fn new(agent: Option<&'static [u8]>) -> Self {
        Self { agent, open: Mutex::default() }
    }

    /// The agent in a pod of the lab, where it was carried in to serve; in the container of hosts outside the cluster, which
    /// is made of it; or on a node, where the first that needs it carries it in.
    pub(crate) fn link(&self, seat: &Seat, place: &Arc<dyn Place>) -> Option<Arc<AgentLink>> {
        let (agent, seat_of_it) = (self.agent?, seat.clone());
        let make = || {
            let place = Arc::clone(place);
            AgentLink::new(Box::new(move || {
                let (place, seat) = (Arc::clone(&place), seat_of_it.clone());
                let enter = async move {
                    match seat {
                        Seat::Pod(..) => place.start(&[AGENT, "probe"]).await,
                        Seat::Outside(host) => place.start(&[IMAGE_AGENT, "probe", "--from", &host.to_string()]).await,
                        Seat::Node(_) => carry_in(&*place, agent).await,
                    }
                };
                enter.boxed()
            }))
        };
        Some(Arc::clone(self.lock().entry(seat.clone()).or_insert_with(|| Arc::new(make()))))
    }

    /// Closes the agent of a pod that is about to be replaced.
    pub(crate) fn forget(&self, seat: &Seat) {
        self.lock().remove(seat);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Seat, Arc<AgentLink>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the agent in a place that has none of its own: from the file that an earlier call left, or from what it is
/// sent. The file's name is its content's, so that no other version is ever started.
async fn carry_in(place: &dyn Place, agent: &[u8]) -> Result<Wire, String> {
    let mut wire = place.start(&["sh", "-c", &script(agent)]).await?;
    let mut first = [0; CARRY.len()];
    let carried = async {
        let read = wire.output.read_exact(&mut first).await;
        read.map_err(|error| format!("no agent can be started there: {error}"))?;
        if first == CARRY {
            let sent = async {
                wire.input.write_all(agent).await?;
                wire.input.flush().await
            };
            sent.await.map_err(|error| format!("the agent cannot be carried in: {error}"))?;
        }
        Ok(())
    };
    // A stream whose other end has gone may take what is written and never be done with it.
    tokio::select! {
        biased;
        carried = timeout(PATIENCE, carried) => {
            carried.unwrap_or_else(|_| Err(format!("the agent is not carried in after {} s", PATIENCE.as_secs())))?;
        }
        reason = &mut wire.ended => return Err(reason),
    }
    if first == CARRY {
        return Ok(wire);
    }
    // What was read is the beginning of the agent's first report.
    let output = Box::new(std::io::Cursor::new(first).chain(wire.output));
    Ok(Wire { output, ..wire })
}

/// What `sh` runs: `head` reads no more than it is told, because nothing more comes before the agent has spoken.
fn script(agent: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    agent.hash(&mut hasher);
    let (file, length) = (format!("policyprobe-agent-{:016x}", hasher.finish()), agent.len());
    format!(
        "for d in {DIRECTORIES}; do [ -x $d/{file} ] && exec $d/{file} probe; done; \
         for d in {DIRECTORIES}; do [ -w $d ] && break; done; f=$d/{file}; echo carry; \
         head -c {length} >$f.$$ && chmod 755 $f.$$ && mv $f.$$ $f && exec $f probe"
    )
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::fs;

    use super::{super::shell::tests::Here, *};

    #[tokio::test]
    async fn an_agent_is_carried_in_once_and_found_again() {
        // A script is as good as an agent here: it says what it was started with, and then what it reads.
        let agent = format!("#!/bin/sh\n# {}\necho \"started $1\"\nexec cat\n", std::process::id());
        let name = script(agent.as_bytes());
        let name = name.split(['/', ' ']).find(|word| word.starts_with("policyprobe-agent-")).unwrap();
        let file = format!("/var/tmp/{name}");
        for _ in 0..2 {
            let mut wire = carry_in(&Here, agent.as_bytes()).await.unwrap();
            wire.input.write_all(b"and more\n").await.unwrap();
            let mut said = [0; "started probe\nand more\n".len()];
            wire.output.read_exact(&mut said).await.unwrap();
            assert_eq!(said, *b"started probe\nand more\n");
            assert_eq!(fs::read(&file).unwrap(), agent.as_bytes());
        }
        fs::remove_file(file).unwrap();
    }

    /// A place whose shell ends before it has read anything.
    struct Gone;

    #[async_trait::async_trait]
    impl Place for Gone {
        async fn start(&self, _: &[&str]) -> Result<Wire, String> {
            let (input, unread) = tokio::io::duplex(1);
            Ok(Wire {
                input: Box::new(input),
                output: Box::new(CARRY),
                ended: async { "it ended with 2".to_owned() }.boxed(),
                holder: Box::new(unread),
            })
        }

        fn prefix(&self) -> String {
            String::new()
        }
    }

    #[tokio::test]
    async fn a_shell_that_ends_before_the_agent_is_carried_in_is_an_error() {
        let error = carry_in(&Gone, b"much too long").await.err();
        assert_eq!(error.as_deref(), Some("it ended with 2"));
    }
}
