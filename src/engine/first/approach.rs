//! Approaching: what is there already asks a pod that a step makes, over and over, from when its address is known until it has
//! served for a while.

use std::{net::IpAddr, time::Duration};

use futures::future::{join, join_all};
use tokio::{
    sync::mpsc::unbounded_channel,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        Witness,
        plan::PlannedCell,
        round::read,
        witness::{Candidate, Cover, Sample},
    },
    ask::{Asking, First, PERIOD, PodName, Vigil, WINDOW},
};
use crate::{
    lab::{LabError, Stage},
    probe::{self, Means, Request},
    scenario::PodSpec,
};

/// From the start of one attempt to the start of the next.
const STEP: Duration = Duration::from_millis(20);
/// So many ask each cell side by side, in turn: what is kept out waits for its whole window, and a leak may be shorter.
const ASKERS: u32 = 3;
/// Attempts of one call.
const CALL: u32 = 25;
/// How long a pod is asked once it serves: the leaks that CNIs are known for are over by then.
const AFTERWARDS: Duration = Duration::from_secs(2);

/// A cell, and who may be its witness.
pub(in crate::engine) struct Goal {
    pub(super) cell: PlannedCell,
    pub(super) candidates: Vec<Candidate>,
}

/// What came of a cell.
pub(in crate::engine) struct Approached {
    /// The cell, with the address that the pod got.
    pub(super) cell: PlannedCell,
    /// The attempts, with their times since the address was known.
    pub(super) attempts: Vec<probe::Attempt>,
    /// The command of the first of them, and what made them.
    pub(super) command: Option<(String, Means)>,
    /// What the witness saw from the pod's first answer on.
    pub(super) witness: Option<(Cover, Witness)>,
}

impl First {
    /// Creates a pod, has it ask what it asks at first, and has others ask it; what the pod said of the former, and what came of
    /// the latter.
    pub(in crate::engine) async fn create(
        &self,
        stage: &dyn Stage,
        asking: Asking<'_>,
        pod: &PodSpec,
    ) -> Result<(Vec<String>, Vec<Approached>), LabError> {
        let name: PodName = (pod.namespace.clone(), pod.name.clone());
        let goals = self.goals.get(&name).map(Vec::as_slice).unwrap_or_default();
        let script = self.script(&name);
        if goals.is_empty() && script.is_none() {
            return stage.create(pod).await.map(|()| (Vec::new(), Vec::new()));
        }
        let (told, mut known) = unbounded_channel();
        let served = CancellationToken::new();
        let making = async {
            let lines = stage.create_told(pod, script.as_deref(), told).await;
            served.cancel();
            lines
        };
        let approaching = async {
            if goals.is_empty() {
                return Vec::new();
            }
            let serving = || stage.world().pod(&name.0, &name.1).map(|pod| pod.addresses.clone()).unwrap_or_default();
            let addresses = known.recv().await.unwrap_or_else(serving);
            approach(goals, asking, &addresses, &served).await
        };
        let (lines, approached) = join(making, approaching).await;
        Ok((lines?, approached))
    }
}

async fn approach(
    goals: &[Goal],
    asking: Asking<'_>,
    addresses: &[IpAddr],
    served: &CancellationToken,
) -> Vec<Approached> {
    let goals: Vec<(PlannedCell, Vec<Candidate>)> = goals.iter().filter_map(|goal| goal.arrived(addresses)).collect();
    let vigil = Vigil::begin(asking, goals.iter().map(|(cell, candidates)| (cell, candidates.as_slice())));
    let began = Instant::now();
    let asked = join_all(goals.iter().map(|(cell, _)| ask(asking, cell, began, served))).await;
    let seen = vigil.end().await;
    let came = |((cell, candidates), (attempts, command)): ((PlannedCell, Vec<Candidate>), Asked)| {
        let last = attempts.last().map_or(began, |last: &probe::Attempt| began + last.at);
        let witness = seen.best(&cell, &candidates, |samples| served_since(samples, last));
        Approached { cell, attempts, command, witness }
    };
    goals.into_iter().zip(asked).map(came).collect()
}

/// When a witness was first answered. Before it serves, a pod answers nobody: whose last attempt was not well after that has
/// proved nothing.
fn served_since(samples: &[Sample], last: Instant) -> Option<Instant> {
    let served = samples.iter().find(|sample| sample.answered())?.ended;
    (served + WINDOW < last).then_some(served)
}

impl Goal {
    /// The same, once the pod has its addresses.
    fn arrived(&self, addresses: &[IpAddr]) -> Option<(PlannedCell, Vec<Candidate>)> {
        let cell = self.cell.arrived(addresses)?;
        let address = cell.address?;
        let there =
            |candidate: &Candidate| Candidate { target: candidate.target.clone().at(address), ..candidate.clone() };
        Some((cell, self.candidates.iter().map(there).collect()))
    }
}

/// What came of asking.
type Asked = (Vec<probe::Attempt>, Option<(String, Means)>);

/// Asks until the pod has served for a while.
async fn ask(asking: Asking<'_>, cell: &PlannedCell, began: Instant, served: &CancellationToken) -> Asked {
    let askers = (0..ASKERS).map(|number| async move {
        sleep(WINDOW * number / ASKERS).await;
        ask_alone(asking, cell, began, served).await
    });
    let (attempts, commands): (Vec<_>, Vec<_>) = join_all(askers).await.into_iter().unzip();
    let mut attempts: Vec<probe::Attempt> = attempts.into_iter().flatten().collect();
    attempts.sort_by_key(|attempt| attempt.at);
    (attempts, commands.into_iter().flatten().next())
}

async fn ask_alone(asking: Asking<'_>, cell: &PlannedCell, began: Instant, served: &CancellationToken) -> Asked {
    let (mut attempts, mut command) = (Vec::new(), None);
    let Some(target) = &cell.target else { return (attempts, command) };
    let request = || Request::new(target.clone(), asking.nonces.next(), cell.identity.clone(), WINDOW);
    let over_and_over = async {
        loop {
            let mut heard = false;
            if let Ok(mut lease) = asking.sessions.lease(&cell.from, asking.how).await {
                let requests: Vec<Request> = (0..CALL).map(|_| request()).collect();
                if let (Some(session), Some(first)) = (lease.session(), requests.first()) {
                    command.get_or_insert_with(|| (session.command(first), session.means(first)));
                    read(session.watch(&requests, STEP), &requests, (WINDOW + STEP) * CALL, |_, attempt| {
                        let (at, nonce) = (attempt.ended.saturating_duration_since(began), attempt.nonce);
                        attempts.push(probe::Attempt { request: 0, at, nonce, observation: attempt.observation });
                        heard = true;
                    })
                    .await;
                }
                if !heard {
                    lease.discard();
                }
            }
            if !heard {
                sleep(PERIOD).await;
            }
        }
    };
    tokio::select! {
        () = over_and_over => {}
        () = async { served.cancelled().await; sleep(AFTERWARDS).await } => {}
    }
    (attempts, command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Outcome;

    #[test]
    fn who_asked_a_pod_only_before_it_served_has_proved_nothing() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let sample = |(ms, outcome): (u64, Outcome)| Sample {
            asked: at(ms),
            ended: at(ms + 1),
            outcome,
            connect: None,
            held: None,
            clock: None,
        };
        let seen = [(0, Outcome::Refused), (100, Outcome::Reached), (200, Outcome::Reached)].map(sample);
        assert_eq!(served_since(&seen, at(2000)), Some(at(101)));
        assert_eq!(served_since(&seen, at(90)), None);
        assert_eq!(served_since(&seen, at(110)), None, "its answer might still have come");
        assert_eq!(served_since(&seen[..1], at(2000)), None, "it never served");
    }
}
