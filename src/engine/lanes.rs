//! Scenarios side by side: lanes take them in turn, and what they tell is passed on in the scenarios' own order.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
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
    results: Mutex<BTreeMap<usize, ScenarioResult>>,
    /// How many scenarios, from the first on, the run's reporters know of.
    told: AtomicUsize,
}

impl Finished {
    /// Puts in the result of the scenario at an index.
    pub(super) fn put(&self, index: usize, result: ScenarioResult) {
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
    pub(super) fn take(&self, events: &Events) -> Vec<ScenarioResult> {
        let results = std::mem::take(&mut *lock(&self.results));
        for result in results.range(self.told.load(Ordering::Relaxed)..).map(|(_, result)| result) {
            events.send(Event::ScenarioFinished(result.clone()));
        }
        results.into_values().collect()
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        lock(&self.results).clear();
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
    let (next, stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
    let lane = |lane: u32| {
        let (senders, next, stopped) = (&senders, &next, &stopped);
        async move {
            let mut heritage = None;
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(loaded) = scenarios.get(index) else { return Ok(()) };
                // It is dropped with the scenario's end, by which the reader knows of it.
                let Some(events) = lock(&senders[index]).take() else { return Ok(()) };
                let company = Company { events: &events, lane, ..*company };
                let played = if stopped.load(Ordering::Relaxed) {
                    let unplayed = unplayed(loaded, Verdict::Skipped, "not run: a scenario before it has failed");
                    events.send(Event::ScenarioFinished(unplayed.clone()));
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
