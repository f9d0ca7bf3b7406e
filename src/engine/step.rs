//! One step of a staged scenario: its actions, its table until it holds, the servers' logs, and the verdicts.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::RwLockReadGuard, time::Instant};
use tokio_util::task::AbortOnDropHandle;

use super::{
    CellResult, Event, Events, StepResult, Verdict, action,
    ahead::Purpose,
    conclude::worst,
    heritage::Heritage,
    history::{History, PathKey},
    judge::BaselineEvidence,
    plan::{CellOracle, Connection, PlannedCell},
    plans::{Planned, Plans},
    quiet::Quiet,
    record::{Circumstances, has_arrived, record, unprobed},
    round::Nonces,
    sessions::{ProbeWith, Sessions},
    settle::{Occasion, Setting, Settled, Table, settle},
    track::{Hold, Track},
    watch::Watches,
};
use crate::{
    lab::{Capabilities, LabError, Stage, World},
    profile::Known,
    scenario::{LoadedScenario, Need, Step, Tier},
    text::Text,
};

/// How the steps of a run are played.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Whole seconds instead of calibrated windows.
    pub(super) strict: bool,
    /// What probes are made with.
    pub(super) probe: ProbeWith,
    /// Ask the metadata server once more after each step, and send the answers as events.
    pub(super) show_answers: bool,
    /// `false` once the canary has found that no policy is enforced.
    pub(super) enforcing: bool,
    /// How long a table may take to be as expected.
    pub(super) limit: Duration,
    /// What a table has to hold after a change.
    pub(super) hold: Hold,
}

/// The name of the step that checks the baseline again.
pub(super) const RESTORED: &str = "restored";

/// A scenario on its stage, between two steps.
pub(super) struct Staged<'a> {
    /// The scenario.
    pub(super) loaded: &'a LoadedScenario,
    /// Its stage.
    pub(super) stage: Arc<dyn Stage>,
    /// The stage's sessions.
    pub(super) sessions: Arc<Sessions>,
    /// What the simulator says of each step's cells, by their ids.
    pub(super) oracles: Vec<HashMap<&'a str, &'a CellOracle>>,
    /// The cells of each step.
    pub(super) plans: Plans<'a>,
    /// What the lab can do.
    pub(super) capabilities: &'a Capabilities,
    /// The run's nonces.
    pub(super) nonces: &'a Arc<Nonces>,
    /// The order in which connects are timed.
    pub(super) quiet: &'a Quiet,
    /// Where everything is told.
    pub(super) events: &'a Events,
    /// How steps are played.
    pub(super) rules: Rules,
    /// The paths of the cells from which nothing may come, a cell of each step for itself.
    pub(super) denied: Vec<PathKey>,
    /// What the CNI is known to do otherwise.
    pub(super) known: Option<&'a Known>,
}

/// What goes from one step of a scenario to the next.
pub(super) struct Course<'a> {
    /// What was learnt so far.
    pub(super) history: History,
    /// Who is at work as a witness.
    pub(super) watches: Watches,
    /// Who opens the sessions that will be needed.
    pub(super) opening: Vec<AbortOnDropHandle<()>>,
    /// What the scenario before has found out.
    pub(super) before: Option<Heritage>,
    /// Held until the first table is told.
    pub(super) ready: Option<RwLockReadGuard<'a, ()>>,
}

impl Course<'_> {
    /// Has nobody ask anything any more.
    pub(super) async fn rest(&mut self) {
        self.opening.clear();
        self.watches.stop().await;
    }
}

impl Staged<'_> {
    /// What a step is played for. Only a first step without actions is a baseline.
    #[must_use]
    pub(super) fn occasion(&self, index: usize) -> Occasion {
        match self.loaded.scenario.steps.get(index) {
            Some(step) if index == 0 && !action::is_change(step) => Occasion::Baseline,
            _ => Occasion::Change,
        }
    }

    /// Plays one step. An error means that the actions could not be taken, or that nothing more may be sent.
    pub(super) async fn play(&self, index: usize, course: &mut Course<'_>) -> Result<StepResult, LabError> {
        let Some(step) = self.loaded.scenario.steps.get(index) else { return Err(no_step(index)) };
        let actions = action::lines(step);
        self.events.send(Event::StepStarted {
            scenario: self.loaded.scenario.id.clone(),
            name: step.name.clone(),
            actions: actions.clone(),
        });
        let occasion = self.occasion(index);
        if index == 0 && occasion == Occasion::Change {
            // Without a baseline of its own, a scenario still gets its paths calibrated before anything changes.
            self.calibrate(course).await?;
        }
        let first = self.first_packets(index)?;
        let vigil = first.watch(self.asking()).await?;
        let acting = async {
            let acting = action::act(&*self.stage, self.asking(), self.loaded, step, &first);
            if occasion == Occasion::Baseline {
                return acting.await;
            }
            if index == 0 || renews_pods(step) {
                // Nobody asks from a pod that goes, nor is it known of whom a new one is a witness.
                course.rest().await;
                self.open_ahead(Purpose::Overlap, course);
            } else {
                self.anticipate(index, &step.name, course);
            }
            acting.await
        };
        let acted = self.events.timed(self.part(&step.name, "actions"), acting).await?;
        let since = Instant::now();
        let asked = self.conclude_first(index, &first, &acted.said, &vigil.end().await, &acted.approached).await;
        let mut result = self.probe(index, occasion, &step.name, asked, since, course).await?;
        result.actions = actions;
        result.cells.splice(0..0, acted.cells);
        result.verdict = worst(result.cells.iter().map(|cell| cell.verdict));
        Ok(result)
    }

    /// Takes everything back and checks the baseline again.
    pub(super) async fn restore(&self, course: &mut Course<'_>) -> Result<StepResult, LabError> {
        self.events.send(Event::StepStarted {
            scenario: self.loaded.scenario.id.clone(),
            name: RESTORED.to_owned(),
            actions: vec!["take every change back".to_owned()],
        });
        self.events.timed(self.part(RESTORED, "actions"), self.stage.reset()).await?;
        let mut result = self.probe(0, Occasion::Restored, RESTORED, Vec::new(), Instant::now(), course).await?;
        result.actions = vec!["take every change back".to_owned()];
        Ok(result)
    }

    /// A part of a step, as the stream of events names it.
    fn part(&self, step: &str, part: &str) -> String {
        format!("{} › {step} › {part}", self.loaded.scenario.id)
    }

    pub(super) fn probes_nodes(&self) -> bool {
        self.capabilities.has.contains(&Need::NodeSource)
    }

    /// Probes a table, and judges it. What was asked before, by new pods, has its place in it.
    async fn probe(
        &self,
        index: usize,
        occasion: Occasion,
        name: &str,
        asked: Vec<CellResult>,
        since: Instant,
        course: &mut Course<'_>,
    ) -> Result<StepResult, LabError> {
        let world = self.stage.world();
        let planned = self
            .plans
            .of(index, &world)
            .map_err(|error| LabError::Broken { message: error.to_string(), hint: error.hint })?;
        let mut cells = Cow::Borrowed(planned.probed.as_slice());
        if occasion == Occasion::Restored && cells.iter().any(|cell| cell.connection != Connection::New) {
            // It is not defined whether they are still there.
            cells.to_mut().retain(|cell| cell.connection == Connection::New);
        }
        let (probes, end) = (self.part(name, "probes"), self.part(name, "logs and answers"));
        let events = self.events;
        let baseline = occasion == Occasion::Baseline;
        let calibration = if baseline { self.denied_later(&course.history) } else { Vec::new() };
        let mut records: BTreeMap<Text, CellResult> = asked.into_iter().map(|cell| (cell.id.clone(), cell)).collect();
        let shares = if baseline { self.inherit(&mut cells, &mut records, &world, course) } else { None };
        let deadline = since + self.rules.limit;
        let table =
            Table { step: name, occasion, cells: &cells, calibration: &calibration, world: &world, since, deadline };
        let mut settled = if cells.is_empty() && calibration.is_empty() && shares.is_some() {
            Settled::already()
        } else {
            events.timed(probes, self.settle(&table, course)).await?
        };
        if occasion == Occasion::Baseline {
            for (cell, track) in cells.iter().zip(&settled.tracks).filter(|(cell, _)| cell.expects_answer()) {
                course.history.set_baseline(cell, track.good_rounds > 0);
            }
        }
        let logs = self.read_logs(&cells, &settled.tracks);
        let answers = self.answer(occasion, &cells, &settled.tracks);
        // In the order in which they will be needed, now that nothing that they would disturb is timed any more.
        if occasion == Occasion::Baseline {
            self.open_ahead(Purpose::Witnesses, course);
        }
        let (mut logs, ()) = events.timed(end, futures::future::join(logs, answers)).await;
        if occasion == Occasion::Baseline {
            self.open_ahead(Purpose::Overlap, course);
        }
        let arrived = |(cell, track): (_, &Track)| track.held(settled.hold) && has_arrived(cell, track, &logs);
        if cells.iter().zip(&settled.tracks).any(arrived) && Instant::now() < deadline {
            // What arrives just before a policy takes effect, and is answered too late, looks stopped. It does so only once.
            settled = self.settle(&table, course).await?;
            logs = self.read_logs(&cells, &settled.tracks).await;
        }
        course.ready = None;
        for (cell, track) in cells.iter().zip(&settled.tracks) {
            let circumstances = Circumstances {
                baseline: match occasion {
                    Occasion::Baseline => BaselineEvidence::This,
                    _ if course.history.is_baseline_wrong(cell) => BaselineEvidence::Wrong,
                    _ => BaselineEvidence::Sound,
                },
                enforcing: self.rules.enforcing,
                judged: self.loaded.scenario.tier == Tier::Required,
                hold: settled.hold,
                acted: (occasion != Occasion::Baseline).then_some(since),
                translated: course.history.translated(cell),
            };
            let decided_by = self.decided_by(index, cell);
            let result = record(cell, track, &logs, &circumstances, decided_by);
            records.insert(result.id.clone(), result);
        }
        for (cell, reason) in &planned.skipped {
            let decided_by = self.decided_by(index, cell);
            let result = unprobed(cell, (Verdict::Skipped, Some(reason.clone())), decided_by);
            records.insert(result.id.clone(), result);
        }
        // In the order of the file.
        let mut cells: Vec<CellResult> = planned.order.iter().filter_map(|id| records.remove(id)).collect();
        // They are kept until the run is over.
        cells.shrink_to_fit();
        if let Some(why) = self.stage.disturbed(since) {
            for cell in cells.iter_mut().filter(|cell| cell.verdict == Verdict::Fail) {
                cell.verdict = Verdict::Inconclusive;
                cell.reason = Some(why.clone());
            }
        }
        Ok(StepResult {
            name: name.to_owned(),
            actions: Vec::new(),
            settled_ms: settled.after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
            rounds: settled.rounds,
            shares,
            verdict: worst(cells.iter().map(|cell| cell.verdict)),
            cells,
        })
    }

    pub(super) async fn settle(&self, table: &Table<'_>, course: &mut Course<'_>) -> Result<Settled, LabError> {
        settle(&self.setting(), table, &mut course.history, &mut course.watches).await
    }

    pub(super) fn setting(&self) -> Setting<'_> {
        Setting {
            sessions: &self.sessions,
            nonces: self.nonces,
            quiet: self.quiet,
            events: self.events,
            scenario: &self.loaded.scenario.id,
            from_nodes: self.probes_nodes(),
            strict: self.rules.strict,
            probe: self.rules.probe,
            hold: self.rules.hold,
            denied: &self.denied,
            known: self.known,
            enforcing: self.rules.enforcing,
        }
    }

    /// A step's cells, for this world; none of one that cannot be planned for it.
    pub(super) fn planned(&self, index: usize, world: &Arc<World>) -> Arc<Planned> {
        self.plans.of(index, world).unwrap_or_default()
    }

    pub(super) fn decided_by(&self, index: usize, cell: &PlannedCell) -> Option<Text> {
        self.oracles.get(index)?.get(cell.id.as_str())?.decided_by()
    }
}

/// Whether a step makes pods, or others in their place.
fn renews_pods(step: &Step) -> bool {
    !(step.create.is_empty() && step.recreate.is_empty() && step.restart.is_empty())
}

fn no_step(index: usize) -> LabError {
    LabError::Broken { message: format!("there is no step {index}"), hint: None }
}
