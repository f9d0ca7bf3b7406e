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
        // The canary is one beside the lanes.
        let quiet = Quiet::of(self.options.jobs as usize + 1);
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
                finished.clear();
            }
            *verdict = Some(found);
            if enforcing {
                let rest = async {
                    match outcome {
                        Some(outcome) => outcome,
                        None => playing.await,
                    }
                };
                self.forward_while(&mut reader, finished, rest).await?;
            }
            enforcing
        };
        if enforcing {
            return Ok(());
        }
        if self.options.continue_unenforced {
            let (events, mut reader) = self.events.aside();
            let company = Company { events: &events, rules: Rules { enforcing: false, ..rules }, ..company };
            let playing = lanes::play_all(&company, self.scenarios, self.options, finished);
            return self.forward_while(&mut reader, finished, playing).await;
        }
        for (index, loaded) in self.scenarios.iter().enumerate() {
            let unplayed = Arc::new(unplayed(loaded, Verdict::NotEnforcing, "not run: no policy is enforced here"));
            finished.tell(Event::ScenarioFinished(Arc::clone(&unplayed)), self.events);
            finished.put(index, unplayed);
        }
        Ok(())
    }

    /// Passes events on as they come, until the future is done, and what is left of them then.
    async fn forward_while<F: Future>(
        &self,
        reader: &mut UnboundedReceiver<Event>,
        finished: &Finished,
        future: F,
    ) -> F::Output {
        tokio::pin!(future);
        let output = loop {
            tokio::select! {
                biased;
                Some(event) = reader.recv() => finished.tell(event, self.events),
                output = &mut future => break output,
            }
        };
        while let Ok(event) = reader.try_recv() {
            finished.tell(event, self.events);
        }
        output
    }
}
