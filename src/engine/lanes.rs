//! Scenarios side by side: lanes take them in turn, and what they tell is passed on in the scenarios' own order.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use futures::future::{join, try_join_all};

use super::{
    Event, Events, Options, ScenarioResult, Verdict,
    scenario::{Company, play, unplayed},
};
use crate::{lab::LabError, scenario::LoadedScenario};

/// The results so far, in the scenarios' order: what is done stays done, also where the run is interrupted.
#[derive(Debug, Default)]
pub(super) struct Finished {
    results: Mutex<BTreeMap<usize, Arc<ScenarioResult>>>,
    /// How many scenarios, from the first on, the run's reporters know of.
    told: AtomicUsize,
}

impl Finished {
    /// Puts in the result of the scenario at an index.
    pub(super) fn put(&self, index: usize, result: Arc<ScenarioResult>) {
        lock(&self.results).insert(index, result);
    }

    /// Passes an event on to the run's reporters.
    pub(super) fn tell(&self, event: Event, events: &Events) {
        if let Event::ScenarioFinished(_) = event {
            self.told.fetch_add(1, Ordering::Relaxed);
        }
        events.send(event);
    }

    /// Takes all results out, and tells those that nobody was told of yet: they waited for one before them.
    pub(super) fn take(&self, events: &Events) -> Vec<Arc<ScenarioResult>> {
        let results = std::mem::take(&mut *lock(&self.results));
        for result in results.range(self.told.load(Ordering::Relaxed)..).map(|(_, result)| result) {
            events.send(Event::ScenarioFinished(Arc::clone(result)));
        }
        results.into_values().collect()
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        lock(&self.results).clear();
    }
}

/// How far ahead a lane looks for a scenario with the same lab, at least. Who watches sees results in the scenarios' order.
const AHEAD: usize = 64;
/// So many scenarios a lane are looked at where there are many lanes: each should find a lab that no other has.
const AHEAD_A_LANE: usize = 16;

/// The scenarios that no lane has taken yet.
struct Left {
    state: Mutex<State>,
    /// For each scenario the first one that has the same lab.
    labs: Vec<usize>,
    ahead: usize,
}

struct State {
    indices: BTreeSet<usize>,
    /// The lab of each lane.
    held: BTreeMap<u32, usize>,
}

impl Left {
    fn of(scenarios: &[LoadedScenario], lanes: u32) -> Self {
        let mut kinds: Vec<usize> = Vec::new();
        let labs = scenarios.iter().enumerate().map(|(index, loaded)| {
            let same = |first: &&usize| scenarios[**first].scenario.lab == loaded.scenario.lab;
            kinds.iter().find(same).copied().unwrap_or_else(|| {
                kinds.push(index);
                index
            })
        });
        let labs = labs.collect();
        let state = State { indices: (0..scenarios.len()).collect(), held: BTreeMap::new() };
        let ahead = usize::try_from(lanes).unwrap_or(usize::MAX).saturating_mul(AHEAD_A_LANE).max(AHEAD);
        Self { state: Mutex::new(state), labs, ahead }
    }

    /// The next one for a lane: soon one with the lab that it has already, or else one whose lab no other lane has, so that it can
    /// stay with it, or else the first.
    fn next(&self, lane: u32) -> Option<usize> {
        let State { indices, held } = &mut *lock(&self.state);
        let soon = |is_meant: &dyn Fn(usize) -> bool| {
            indices.iter().take(self.ahead).copied().find(|index| is_meant(self.labs[*index]))
        };
        let same = held.get(&lane).and_then(|own| soon(&|lab| lab == *own));
        let free = || soon(&|lab| held.values().all(|other| *other != lab));
        let next = same.or_else(free).or_else(|| indices.first().copied())?;
        indices.remove(&next);
        held.insert(lane, self.labs[next]);
        Some(next)
    }
}

/// Plays the scenarios in as many lanes as the options say. An error ends all of them.
pub(super) async fn play_all(
    company: &Company<'_>,
    scenarios: &[LoadedScenario],
    options: &Options,
    finished: &Finished,
) -> Result<(), LabError> {
    let (senders, readers): (Vec<_>, Vec<_>) = scenarios.iter().map(|_| company.events.aside()).unzip();
    let senders: Vec<Mutex<Option<_>>> = senders.into_iter().map(|sender| Mutex::new(Some(sender))).collect();
    let lanes = options.jobs.max(1);
    let (left, stopped) = (Left::of(scenarios, lanes), AtomicBool::new(false));
    let lane = |lane: u32| {
        let (senders, left, stopped) = (&senders, &left, &stopped);
        async move {
            let mut heritage = None;
            loop {
                let Some(index) = left.next(lane) else { return Ok(()) };
                let loaded = &scenarios[index];
                // It is dropped with the scenario's end, by which the reader knows of it.
                let Some(events) = lock(&senders[index]).take() else { return Ok(()) };
                let company = Company { events: &events, lane, ..*company };
                let played = if stopped.load(Ordering::Relaxed) {
                    let unplayed =
                        Arc::new(unplayed(loaded, Verdict::Skipped, "not run: a scenario before it has failed"));
                    events.send(Event::ScenarioFinished(Arc::clone(&unplayed)));
                    unplayed
                } else {
                    play(&company, loaded, &mut heritage).await?
                };
                if options.fail_fast && played.verdict == Verdict::Fail {
                    stopped.store(true, Ordering::Relaxed);
                }
                finished.put(index, played);
            }
        }
    };
    let told = async {
        for mut reader in readers {
            while let Some(event) = reader.recv().await {
                company.events.send(event);
            }
        }
    };
    let lanes = try_join_all((0..lanes).map(lane));
    let played = async {
        let played: Result<Vec<()>, LabError> = lanes.await;
        // After an error some scenarios were never begun.
        for sender in &senders {
            drop(lock(sender).take());
        }
        played
    };
    join(played, told).await.0.map(drop)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::NamespaceSpec;

    #[test]
    fn a_lane_stays_with_its_lab_and_every_scenario_is_played_once() {
        let lab = |name: usize| {
            let mut loaded = crate::scenario::shipped()[0].clone();
            Arc::make_mut(&mut loaded.scenario).lab.namespaces.insert(format!("n{name}"), NamespaceSpec::default());
            loaded
        };
        let scenarios: Vec<LoadedScenario> = [1, 2, 1, 2, 3, 1].into_iter().map(lab).collect();
        let order = |lanes: &[u32]| {
            let left = Left::of(&scenarios, 2);
            let mut taken: Vec<usize> = lanes.iter().map_while(|lane| left.next(*lane)).collect();
            let order = taken.clone();
            assert!(left.next(0).is_none() && left.next(1).is_none());
            taken.sort_unstable();
            assert_eq!(taken, [0, 1, 2, 3, 4, 5]);
            order
        };
        assert_eq!(order(&[0; 6]), [0, 2, 5, 1, 3, 4]);
        assert_eq!(order(&[0, 1, 0, 1, 0, 1]), [0, 1, 2, 3, 5, 4], "each has a lab of its own");
        assert_eq!(order(&[0, 0, 0, 0, 1, 1]), [0, 2, 5, 1, 4, 3], "what is left when nothing is free");
    }
}
