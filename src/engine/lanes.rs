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

/// How far ahead a lane looks for a scenario with the same lab. Who watches sees results in the scenarios' order.
const AHEAD: usize = 64;

/// The scenarios that no lane has taken yet.
struct Left {
    indices: Mutex<BTreeSet<usize>>,
    /// For each scenario the first one that has the same lab.
    labs: Vec<usize>,
}

impl Left {
    fn of(scenarios: &[LoadedScenario]) -> Self {
        let mut kinds: Vec<usize> = Vec::new();
        let labs = scenarios.iter().enumerate().map(|(index, loaded)| {
            let same = |first: &&usize| scenarios[**first].scenario.lab == loaded.scenario.lab;
            kinds.iter().find(same).copied().unwrap_or_else(|| {
                kinds.push(index);
                index
            })
        });
        let labs = labs.collect();
        Self { indices: Mutex::new((0..scenarios.len()).collect()), labs }
    }

    /// The next one for a lane that has played this one: soon one with the same lab, which is there already, or else the first.
    fn next(&self, last: Option<usize>) -> Option<usize> {
        let mut indices = lock(&self.indices);
        let mut ahead = indices.iter().take(AHEAD);
        let same = last.and_then(|last| ahead.find(|index| self.labs[**index] == self.labs[last]));
        let next = same.or_else(|| indices.first()).copied()?;
        indices.remove(&next);
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
    let (left, stopped) = (Left::of(scenarios), AtomicBool::new(false));
    let lane = |lane: u32| {
        let (senders, left, stopped) = (&senders, &left, &stopped);
        async move {
            let (mut heritage, mut last) = (None, None);
            loop {
                let Some(index) = left.next(last) else { return Ok(()) };
                last = Some(index);
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
    let lanes = try_join_all((0..options.jobs.max(1)).map(lane));
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
        let left = Left::of(&scenarios);
        let mut order = Vec::new();
        while let Some(next) = left.next(order.last().copied()) {
            order.push(next);
        }
        assert_eq!(order, [0, 2, 5, 1, 3, 4]);
        assert_eq!(Left::of(&scenarios).next(None), Some(0));
    }
}
