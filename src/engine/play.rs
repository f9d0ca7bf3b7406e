//! The canary and the scenarios of a run, side by side in one lab.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use super::{
    Canary, Event, Events, Options, Verdict, canary,
    lanes::{self, Finished},
    quiet::Quiet,
    round::Nonces,
    scenario::{Company, unplayed},
    step::Rules,
    track::Hold,
};
use crate::{
    lab::{Lab, LabError},
    profile::Known,
    scenario::LoadedScenario,
};

/// What is played, and how.
pub(super) struct Play<'a> {
    /// The lab.
    pub(super) lab: &'a dyn Lab,
    /// The scenarios.
    pub(super) scenarios: &'a [LoadedScenario],
    /// How.
    pub(super) options: &'a Options,
    /// What the CNI is known to do otherwise.
    pub(super) known: Option<&'a Known>,
    /// Where everything is told.
    pub(super) events: &'a Events,
    /// Ends the run.
    pub(super) cancel: &'a CancellationToken,
    /// The run's id.
    pub(super) run: &'a str,
}

impl Play<'_> {
    /// Plays everything. Nothing of a scenario is told before the canary has found that policies are enforced; once there
    /// is a verdict of the canary, `finished` has what is done, also where this is dropped half-way.
    pub(super) async fn all(&self, finished: &Finished, verdict: &mut Option<Canary>) -> Result<(), LabError> {
        let nonces = Arc::new(Nonces::new(self.run));
        let quiet = Quiet::default();
        let rules = Rules {
            strict: self.options.strict_timeouts,
            probe: self.options.probe,
            show_answers: self.options.show_answers,
            enforcing: true,
            limit: self.options.converge_limit.unwrap_or(Duration::MAX).min(self.lab.capabilities().converge_limit),
            hold: Hold::CHANGE,
        };
        let (held_back, mut reader) = self.events.aside();
        let company = Company {
            lab: self.lab,
            nonces: &nonces,
            quiet: &quiet,
            events: &held_back,
            rules,
            lane: 0,
            canary: false,
            known: self.known,
            cancel: self.cancel,
        };
        self.events.phase("asking the canary whether policies are enforced");

        let enforcing = {
            let canary = canary::run(&company);
            let playing = lanes::play_all(&company, self.scenarios, self.options, finished);
            tokio::pin!(canary, playing);
            let mut outcome = None;
            let found = loop {
                tokio::select! {
                    biased;
                    ended = &mut playing, if outcome.is_none() => outcome = Some(ended),
                    found = &mut canary => break found?,
                }
            };
            self.events.send(Event::CanaryFinished(found.clone()));
            let enforcing = found.verdict != Verdict::NotEnforcing;
            if !enforcing {
                finished.take();
            }
            *verdict = Some(found);
            if enforcing {
                let outcome = match outcome {
                    Some(outcome) => outcome,
                    None => forward_while(&mut reader, self.events, playing).await,
                };
                while let Ok(event) = reader.try_recv() {
                    self.events.send(event);
                }
                outcome?;
            }
            enforcing
        };
        if enforcing {
            return Ok(());
        }
        if self.options.continue_unenforced {
            let rules = Rules { enforcing: false, ..rules };
            return lanes::play_all(
                &Company { events: self.events, rules, ..company },
                self.scenarios,
                self.options,
                finished,
            )
            .await;
        }
        for (index, loaded) in self.scenarios.iter().enumerate() {
            let unplayed = unplayed(loaded, Verdict::NotEnforcing, "not run: no policy is enforced here");
            self.events.send(Event::ScenarioFinished(unplayed.clone()));
            finished.put(index, unplayed);
        }
        Ok(())
    }
}

/// Passes events on as they come, until the future is done.
async fn forward_while<F: Future>(reader: &mut UnboundedReceiver<Event>, events: &Events, future: F) -> F::Output {
    tokio::pin!(future);
    loop {
        tokio::select! {
            biased;
            Some(event) = reader.recv() => events.send(event),
            output = &mut future => return output,
        }
    }
}
