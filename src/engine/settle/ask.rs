//! What a round asks: of each cell with which limit and how often, and of whom as a witness. Also the calibration of paths
//! that were slow.

use std::{collections::BTreeMap, time::Duration};

use super::{
    super::{
        Expectation, WitnessKind,
        calibrate::{self, ALLOW_LIMIT, PAST_RETRANSMISSION},
        history::{History, PathKey},
        lately::Lately,
        plan::{Connection, PlannedCell},
        round::{Ask, Nonces},
        sessions::How,
        watch::{Question, Watching},
        witness::{Candidate, ServerKey},
    },
    rounds::Settling,
    table::Occasion,
};
use crate::{
    lab::{LabError, Source},
    probe::{Request, direct::Keep},
};

/// Parallel connects of each cell in the baseline, from which its window and the path's loss are calibrated. More of them
/// would save a few attempts of the denied cells, and slow each other down, which makes for longer windows.
const BASELINE_CONNECTS: u32 = 4;
/// A witness is asked this often at least, however long the window: a round lasts as long as its witness's process.
const LONGEST_PERIOD: Duration = Duration::from_millis(150);
/// How long a witness waits for an answer at least. One that gives up as soon as a window is over has a gap all the same, and has
/// to begin anew whenever windows are longer.
const SHORTEST_PATIENCE: Duration = Duration::from_millis(500);
/// What the resolution of a name may take where nothing is known of it, and at least.
const UNKNOWN_RESOLVE: Duration = Duration::from_millis(500);
const SHORTEST_RESOLVE: Duration = Duration::from_millis(10);
/// What it may take where it should succeed: resolvers ask again after 5 s.
const PATIENT_RESOLVE: Duration = Duration::from_secs(6);
/// Attempts of a cell that should be reached, once its name was not resolved: on a lossy path a lookup of several
/// questions is lost more often than a connect, and is not made up for as soon.
const MOST_LOOKUPS: u32 = 8;
/// Windows up to this are short enough not to be calibrated again, which is done so often at most.
const CALM_WINDOW: Duration = Duration::from_millis(300);
const CALIBRATIONS: u32 = 3;

/// What every volley of a round asks.
#[derive(Default)]
pub(super) struct Plan {
    /// The cells' requests; each volley has nonces of its own.
    pub(super) batches: BTreeMap<(Source, How), Vec<Ask>>,
    /// The witnesses.
    pub(super) watches: BTreeMap<Source, Watching>,
    /// How long the witnesses have to speak for one volley.
    pub(super) window: Duration,
}

impl Plan {
    /// What the next volley asks.
    pub(super) fn batches(&self, nonces: &Nonces) -> BTreeMap<(Source, How), Vec<Ask>> {
        let mut batches = self.batches.clone();
        batches.values_mut().flatten().for_each(|ask| ask.request.nonce = nonces.next());
        batches
    }
}

impl Settling<'_> {
    /// Decides what the next round asks.
    pub(super) fn plan(&mut self, history: &History) -> Plan {
        self.look(history);
        let mut plan = Plan::default();
        for index in 0..self.cells.len() {
            let cell = self.cells[index];
            self.chosen[index] = None;
            if self.hold.rounds == 1 && self.tracks[index].held(self.hold) {
                continue;
            }
            let Some(limit) = self.ask(index, history, &mut plan) else { continue };
            let needs_witness =
                cell.expectation.is_absence() || (cell.expects_answer() && self.tracks[index].failed_tries > 0);
            if needs_witness {
                plan.window = plan.window.max(limit);
                self.watch(index, limit, history, &mut plan.watches);
            }
        }
        self.absent_first(&mut plan);
        plan
    }

    /// Has each source begin with those from which nothing may come: their windows pass while the others are answered. What is asked
    /// one after the other keeps its order.
    fn absent_first(&self, plan: &mut Plan) {
        for asks in plan.batches.values_mut() {
            asks.sort_by_key(|ask| {
                let cell = self.cells[ask.cell];
                !(cell.expectation.is_absence() && cell.is_asked_at_once())
            });
        }
    }

    /// Sees how quick everything is at the moment.
    fn look(&mut self, history: &History) {
        self.lately = Lately::of(&self.watches.samples());
        let absences = (0..self.cells.len()).filter(|index| self.cells[*index].expectation.is_absence());
        let longest = absences.map(|index| self.window(index, history)).max().unwrap_or_default();
        self.longest = longest.max(history.pauses.shortest_window());
    }

    /// Plans a cell's attempts; the limit of each.
    fn ask(&mut self, index: usize, history: &History, plan: &mut Plan) -> Option<Duration> {
        self.cells[index].target.as_ref()?;
        let (connect_limit, attempts) = self.limit(index, history);
        self.tracks[index].window = connect_limit;
        self.request(index, (connect_limit, self.resolve_limit(index, history)), attempts, plan);
        Some(connect_limit)
    }

    /// Plans so many attempts of a cell, with limits for the connection and for the resolution of a name.
    pub(super) fn request(&self, index: usize, limits: (Duration, Duration), attempts: u32, plan: &mut Plan) {
        let cell = self.cells[index];
        let Some(target) = cell.target.clone() else { return };
        let (source_port, keep) = (cell.source_port, keep(cell));
        let how = if keep.is_some() { How::Keeper } else { self.how };
        let (connect_limit, resolve_limit) = limits;
        // An answer takes what the connection took, and what the server takes: that is what its witness is timed by.
        let answer_limit = (cell.expectation == Expectation::Silent).then_some(connect_limit);
        let usual = Request::new(target, String::new(), cell.identity.clone(), connect_limit);
        let request = Request { answer_limit, resolve_limit, source_port, keep, ..usual };
        let asks = plan.batches.entry((cell.from.clone(), how)).or_default();
        asks.extend((0..attempts).map(|_| Ask { cell: index, request: request.clone() }));
    }

    /// The limit of a cell's attempts, and how many there are in a round.
    fn limit(&mut self, index: usize, history: &History) -> (Duration, u32) {
        let cell = self.cells[index];
        let window = self.window(index, history);
        let track = &mut self.tracks[index];
        match cell.expectation {
            Expectation::Blocked | Expectation::Silent => {
                // A volley lasts as long as the longest of its windows. If all are as long, their witnesses need not ask as often.
                // What is asked one after the other adds up.
                let window =
                    if cell.is_asked_at_once() { self.longest } else { window.max(history.pauses.shortest_window()) };
                track.needed =
                    calibrate::attempts(self.setting.denied.len(), history.loss(cell), window, self.hold.rounds);
                let needed = track.needed.unwrap_or(calibrate::MOST_ATTEMPTS);
                (window, needed.div_ceil(self.hold.rounds))
            }
            Expectation::Refused => {
                track.needed = Some(1);
                (ALLOW_LIMIT, 1)
            }
            Expectation::Reachable | Expectation::Status { .. } => {
                track.needed = Some(1);
                match self.table.occasion {
                    Occasion::Baseline => (calibrate::baseline_limit(track.failed_tries), BASELINE_CONNECTS),
                    Occasion::Change | Occasion::Restored => {
                        let open =
                            if track.last.is_some() { track.failed_tries == 0 } else { history.was_reached(cell) };
                        let limit = match open || self.last_chance {
                            true if cell.is_about_dns() => PATIENT_RESOLVE,
                            true => ALLOW_LIMIT,
                            false => calibrate::opening_limit(window, track.failed_tries),
                        };
                        (limit, (1 + track.unresolved).min(MOST_LOOKUPS))
                    }
                }
            }
            Expectation::Recorded | Expectation::Rejected { .. } | Expectation::Noticed { .. } => {
                track.needed = Some(1);
                let calibrating = index >= self.table.cells.len();
                (window.min(PAST_RETRANSMISSION), if calibrating { BASELINE_CONNECTS } else { 1 })
            }
        }
    }

    /// The window of an attempt from which nothing may come.
    fn window(&self, index: usize, history: &History) -> Duration {
        let (cell, track) = (self.cells[index], &self.tracks[index]);
        let (connects, held) = self.lately.of_server(&self.keys[index]);
        let window = calibrate::window(history.slowest(cell), connects, self.setting.strict);
        // A server that is busy is slow once, however long the way.
        (window + held).max(track.at_least)
    }

    /// What the resolution of a name may take besides: it is no part of the window.
    fn resolve_limit(&self, index: usize, history: &History) -> Duration {
        let (cell, track) = (self.cells[index], &self.tracks[index]);
        match cell.expectation {
            _ if !cell.by_name => Duration::ZERO,
            Expectation::Blocked | Expectation::Silent => {
                let usual = history.resolve(cell).map_or(UNKNOWN_RESOLVE, |usual| (usual * 2).max(SHORTEST_RESOLVE));
                usual * 2_u32.pow(track.unresolved.min(5))
            }
            _ => PATIENT_RESOLVE,
        }
    }

    /// Chooses the witness of a cell, and has it ask.
    fn watch(&mut self, index: usize, window: Duration, history: &History, watches: &mut BTreeMap<Source, Watching>) {
        let (key, candidates) = (&self.keys[index], self.candidates(index));
        let speaks = |candidate: &&Candidate| !self.silent.contains(&(candidate.source.clone(), key.clone()));
        let is_good = |candidate: &&Candidate| speaks(candidate) && self.is_steady(candidate, key);
        // Of those who are as good as the best, one who is at work already.
        let as_good = candidates.iter().take_while(|candidate| candidate.kind == candidates[0].kind);
        let at_work = as_good.filter(is_good).find(|candidate| self.watches.is_answered(&candidate.source, key));
        let steady = at_work.or_else(|| candidates.iter().find(is_good));
        let chosen = steady.or_else(|| candidates.iter().find(speaks)).or_else(|| candidates.first());
        let Some(candidate) = chosen else { return };
        if !candidates.iter().any(|candidate| speaks(&candidate)) {
            // Nobody answers: each gets another chance, in turn.
            for candidate in &*candidates {
                self.silent.remove(&(candidate.source.clone(), key.clone()));
            }
        }
        let period = (window / 3).min(LONGEST_PERIOD);
        let now = self.lately.of_server(key).0.map(|connects| connects.slowest);
        let slowest = now.or_else(|| history.slowest(self.cells[index])).unwrap_or_default();
        let watching =
            watches.entry(candidate.source.clone()).or_insert_with(|| Watching { questions: BTreeMap::new(), period });
        watching.period = watching.period.min(period);
        watching.questions.entry(key.clone()).or_insert_with(|| Question {
            target: candidate.target.clone(),
            identity: self.cells[index].identity.clone(),
            limit: window.max(slowest * 4).max(SHORTEST_PATIENCE),
        });
        self.chosen[index] = Some(candidate.clone());
    }

    /// Whether a witness has been answered without gaps. A server that reaches itself proves less than a gap costs.
    pub(super) fn is_steady(&self, candidate: &Candidate, key: &ServerKey) -> bool {
        candidate.kind != WitnessKind::Itself && !self.gappy.contains(&(candidate.source.clone(), key.clone()))
    }

    /// Times the connects of slow paths again, where something is denied on them later: what is slow because a machine is
    /// still busy with starting up makes for windows of seconds.
    pub(super) async fn calibrate_again(&mut self, history: &mut History) -> Result<(), LabError> {
        for _ in 0..CALIBRATIONS {
            self.look(history);
            let slow: Vec<usize> = (0..self.cells.len())
                .filter(|index| history.slowest(self.cells[*index]).is_some())
                .filter(|index| self.window(*index, history) > CALM_WINDOW)
                .filter(|index| self.setting.denied.contains(&PathKey::of(self.cells[*index])))
                .collect();
            if slow.is_empty() || self.setting.strict {
                break;
            }
            let mut plan = Plan::default();
            for index in slow {
                self.ask(index, history, &mut plan);
            }
            for (index, seen) in self.fire(&plan, 1).await?.into_iter().flatten() {
                history.learn(self.cells[index], seen.started, self.tracks[index].window, &seen.attempts, true);
            }
        }
        Ok(())
    }
}

/// The connection that a cell is asked over, where it is one that stays.
fn keep(cell: &PlannedCell) -> Option<Keep> {
    let make = match cell.connection {
        Connection::New => return None,
        Connection::Made => true,
        Connection::Kept => false,
    };
    Some(Keep { name: cell.id.clone(), make })
}
