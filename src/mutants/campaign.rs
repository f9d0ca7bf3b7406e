//! All mutants, side by side, and the check that what kills them spares the correct enforcer.

use std::{collections::BTreeSet, sync::Arc};

use futures::StreamExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Campaigned, Forecast, Trial,
    record::CANARY,
    trial::{Batch, Manner, attempt, unsound},
};
use crate::{
    engine::RunFailure,
    lab::embedded::{EmbeddedBuilder, enforcer::Mutant},
    scenario::LoadedScenario,
};

/// The version of the record's format.
const SCHEMA_VERSION: u32 = 1;
/// How many of the cases that should notice a mutant are tried first.
const FIRST: usize = 3;
/// How many of them are tried again, with more patience, before all others.
const HOPEFUL: usize = 10;
/// How many of the cases that should notice nothing are played side by side.
const LANES_OF_THE_REST: u32 = 4;

/// The selected cases against the selected mutants.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// The lab; its `mutant` is of no account.
    pub builder: EmbeddedBuilder,
    /// The mutants.
    pub mutants: Vec<Mutant>,
    /// Play every case against every mutant, and find out which cases kill nothing.
    pub all_kills: bool,
    /// How many mutants are tried side by side; at least one.
    pub jobs: u32,
}

impl Campaign {
    /// Tries the mutants; `told` hears of each that is done. An error is one of the correct enforcer's lab.
    pub async fn run(
        &self,
        cases: &[LoadedScenario],
        cancel: &CancellationToken,
        mut told: impl FnMut(&Trial),
    ) -> Result<Campaigned, RunFailure> {
        let began = Instant::now();
        let manner = Manner { builder: &self.builder, all_kills: self.all_kills, cancel };
        let forecasts: Arc<Vec<Forecast>> = Arc::new(cases.iter().map(Forecast::new).collect());
        let trials = self.mutants.iter().map(|mutant| {
            let forecasts = Arc::clone(&forecasts);
            async move {
                if self.all_kills {
                    return attempt(manner, *mutant, &[Batch::soon(cases.to_vec(), 1)]).await;
                }
                let asked = *mutant;
                // Beside the labs that run: whoever times connects must not wait for it.
                let order = tokio::task::spawn_blocking(move || order(asked, &forecasts)).await;
                let (hopeful, rest) = order.unwrap_or_else(|_| (Vec::new(), (0..cases.len()).collect()));
                let these = |indices: &[usize]| indices.iter().map(|index| cases[*index].clone()).collect::<Vec<_>>();
                let batches = [
                    Batch::soon(these(&hopeful[..hopeful.len().min(FIRST)]), 1),
                    Batch::patient(these(&hopeful)),
                    Batch::soon(these(&rest), LANES_OF_THE_REST),
                ];
                attempt(manner, asked, &batches).await
            }
        });
        let mut running =
            futures::stream::iter(trials).buffer_unordered(usize::try_from(self.jobs.max(1)).unwrap_or(1));
        let mut trials = Vec::new();
        while let Some(trial) = running.next().await {
            told(&trial);
            trials.push(trial);
        }
        trials.sort_by_key(|trial| trial.mutant);
        let suspects =
            cases.iter().filter(|case| trials.iter().any(|trial| trial.killed_by.contains(&case.scenario.id)));
        let nothing_killed = trials.iter().all(|trial| trial.killed_by.is_empty());
        let suspects: Vec<_> = suspects.cloned().collect();
        let unsound =
            if nothing_killed { Vec::new() } else { unsound(manner, &Batch::soon(suspects, self.jobs)).await? };
        for trial in &mut trials {
            trial.killed_by.retain(|id| !unsound.contains(id));
        }
        let found = self.record(cases, trials, unsound, began);
        Ok(Campaigned { interrupted: cancel.is_cancelled(), ..found })
    }

    /// Works out on paper which cases should kill which mutants. Nothing is played.
    #[must_use]
    pub fn forecast(&self, cases: &[LoadedScenario]) -> Campaigned {
        let began = Instant::now();
        let forecasts: Vec<(&LoadedScenario, Forecast)> =
            cases.iter().map(|case| (case, Forecast::new(case))).collect();
        let which = |of: &dyn Fn(&Forecast) -> bool| -> Vec<String> {
            forecasts.iter().filter(|(_, forecast)| of(forecast)).map(|(case, _)| case.scenario.id.clone()).collect()
        };
        let trial = |mutant: &Mutant| Trial {
            killed_by: which(&|forecast| forecast.notices(*mutant)),
            played: cases.len(),
            ..Trial::new(*mutant)
        };
        let (trials, unsound) = (self.mutants.iter().map(trial).collect(), which(&Forecast::is_unsound));
        Campaigned { forecast: true, ..self.record(cases, trials, unsound, began) }
    }

    fn record(&self, cases: &[LoadedScenario], trials: Vec<Trial>, unsound: Vec<String>, began: Instant) -> Campaigned {
        Campaigned {
            schema_version: SCHEMA_VERSION,
            policyprobe: env!("CARGO_PKG_VERSION").to_owned(),
            cases: cases.len(),
            forecast: false,
            all_kills: self.all_kills,
            idle: self.all_kills.then(|| idle(cases, &trials)),
            trials,
            unsound,
            took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            interrupted: false,
        }
    }
}

/// The cases in the order in which they should notice a mutant: those that surely do, up to a number, and all others.
fn order(mutant: Mutant, forecasts: &[Forecast]) -> (Vec<usize>, Vec<usize>) {
    let hopes = forecasts.iter().map(|forecast| forecast.hope(Some(mutant)));
    let mut order: Vec<_> = hopes.zip(0..).collect();
    order.sort_unstable();
    let hopeful = order.iter().take(HOPEFUL).take_while(|(hope, _)| hope.any()).count();
    let rest = order.split_off(hopeful);
    let indices = |part: Vec<(_, usize)>| part.into_iter().map(|(_, index)| index).collect();
    (indices(order), indices(rest))
}

/// The cases that killed nothing.
fn idle(cases: &[LoadedScenario], trials: &[Trial]) -> Vec<String> {
    let killers: BTreeSet<&str> = trials.iter().flat_map(|trial| &trial.killed_by).map(String::as_str).collect();
    assert!(cases.iter().all(|case| case.scenario.id != CANARY), "no case is called like the canary");
    cases.iter().map(|case| &case.scenario.id).filter(|id| !killers.contains(id.as_str())).cloned().collect()
}
