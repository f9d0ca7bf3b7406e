//! The converge loop of one step: rounds until the whole table is as expected, then the hold. What each round asks is
//! decided in `ask`; what the outcome means is `judge`'s business.
//!
//! A round is one volley of all sources. Volleys that look good follow each other, while the witnesses go on;
//! whether they count is found out after the last of them, when the witnesses have been answered once more.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures::{StreamExt, stream::FuturesOrdered};
use tokio::time::{Instant, sleep_until};

use super::{
    super::{
        Event, Expectation, Witness, WitnessKind, calibrate,
        history::History,
        lately::Lately,
        plan::{Connection, PlannedCell},
        round::{CellSeen, volley},
        sessions::How,
        track::{CellRound, Hold, Track, looks_good},
        turns::Turn,
        watch::Watches,
        witness::{Candidate, Cover, ServerKey, answered, candidates, cover, may_witness},
    },
    ask::Plan,
    gone::Answers,
    table::{Occasion, Setting, Settled, Table},
};
use crate::{
    lab::{LabError, Source},
    probe::Outcome,
};

/// Rounds of a hold begin this far apart: three of them span the 300 ms.
const HOLD_PACE: Duration = Duration::from_millis(150);
/// Once a table is good at the deadline, its hold may be brought to its end in so many rounds.
const ROUNDS_OF_GRACE: u32 = 5;
/// A process of a witness is meant to last for all volleys of a round, and for this long around them.
const AROUND_VOLLEYS: Duration = Duration::from_millis(150);
/// Volleys under way at the same time.
const FLYING: usize = 3;
/// After so many volleys the next are planned anew, however it looks: windows follow what the witnesses see.
const MOST_VOLLEYS: u32 = 8;

/// Probes a table until it holds, or until its deadline.
pub(in crate::engine) async fn settle(
    setting: &Setting<'_>,
    table: &Table<'_>,
    history: &mut History,
    watches: &mut Watches,
) -> Result<Settled, LabError> {
    Settling::new(setting, table, watches).run(history).await
}

/// Has the witnesses of a table that is about to be probed ask already, as far as they were answered before. To start one
/// takes longer than many a policy takes to have its effect.
pub(in crate::engine) fn anticipate(
    setting: &Setting<'_>,
    table: &Table<'_>,
    history: &History,
    watches: &mut Watches,
) {
    Settling::new(setting, table, watches).anticipate(history);
}

pub(super) struct Settling<'a> {
    pub(super) setting: &'a Setting<'a>,
    pub(super) table: &'a Table<'a>,
    pub(super) cells: Vec<&'a PlannedCell>,
    pub(super) keys: Vec<ServerKey>,
    /// Who may be the witness of each cell, as soon as somebody wants to know.
    candidates: Vec<OnceLock<Arc<[Candidate]>>>,
    /// The table's cells that must be answered.
    answered: BTreeMap<ServerKey, Vec<&'a PlannedCell>>,
    pub(super) tracks: Vec<Track>,
    /// The witness of each cell in the current round.
    pub(super) chosen: Vec<Option<Candidate>>,
    /// Who did not reach which server when last asked.
    pub(super) silent: BTreeSet<(Source, ServerKey)>,
    /// Who reached which server with gaps in between, as over a lossy link: another witness is better.
    pub(super) gappy: BTreeSet<(Source, ServerKey)>,
    pub(super) answers: Answers,
    /// What connects took when a round was last planned.
    pub(super) lately: Lately,
    /// The longest window that a cell from which nothing may come needed then: all have it.
    pub(super) longest: Duration,
    pub(super) watches: &'a mut Watches,
    pub(super) how: How,
    pub(super) hold: Hold,
    /// Whether the step turns cells that the CNI is not known to treat otherwise.
    pub(super) turns_others: bool,
    /// When the last volley began.
    pub(super) asked: Option<Instant>,
    /// Set for the last round: nothing is given up before a retransmission could be answered.
    pub(super) last_chance: bool,
}

impl<'a> Settling<'a> {
    fn new(setting: &'a Setting<'a>, table: &'a Table<'a>, watches: &'a mut Watches) -> Self {
        let cells: Vec<&PlannedCell> = table.cells.iter().chain(table.calibration).collect();
        let how = setting.probe.how(cells.iter().copied());
        let hold = if table.occasion == Occasion::Change || table.denies() { setting.hold } else { Hold::ONCE };
        watches.begin(how);
        Self {
            keys: cells.iter().map(|cell| ServerKey::of(cell)).collect(),
            candidates: vec![OnceLock::new(); cells.len()],
            answered: answered(table.cells),
            tracks: vec![Track::default(); cells.len()],
            chosen: vec![None; cells.len()],
            silent: BTreeSet::new(),
            gappy: BTreeSet::new(),
            answers: Answers::default(),
            lately: Lately::default(),
            longest: Duration::ZERO,
            watches,
            how,
            turns_others: false,
            asked: None,
            last_chance: false,
            setting,
            table,
            cells,
            hold,
        }
    }

    /// Who may be the witness of a cell.
    pub(super) fn candidates(&self, index: usize) -> Arc<[Candidate]> {
        let find = || candidates(&self.answered, self.cells[index], self.table.world, self.setting.from_nodes).into();
        Arc::clone(self.candidates[index].get_or_init(find))
    }

    async fn run(mut self, history: &mut History) -> Result<Settled, LabError> {
        let judged = self.table.cells.len();
        let turning: Vec<usize> = (0..judged).filter(|index| self.turns(self.cells[*index], history)).collect();
        self.turns_others = !turning.is_empty();
        self.scout(&turning, history).await?;
        let mut rounds = 0;
        let mut grace = ROUNDS_OF_GRACE;
        loop {
            let turn = self.turn().await;
            let began = Instant::now();
            let plan = self.plan(history);
            let most = self.volleys();
            self.post(&plan, most);
            self.watches.before().await?;
            let volleys = self.fire(&plan, most).await?;
            self.watches.after().await;
            let mut void = false;
            for seen in volleys {
                rounds += 1;
                void |= self.digest(seen, history);
                self.tell(rounds);
            }
            if !plan.watches.is_empty() {
                turn.was(void);
            }
            drop(turn);

            let tracks = self.tracks.get(..judged).unwrap_or_default();
            let good = self.good();
            if tracks.iter().all(|track| track.held(self.hold)) || self.waits_in_vain(history) {
                break;
            }
            if Instant::now() >= self.table.deadline {
                let holding = good == judged && grace > 0;
                if holding {
                    grace -= 1;
                } else if tracks.iter().all(Track::is_good_or_void) && began < self.table.deadline + self.patience() {
                    // Only the witnesses were too slow, which says nothing about the policies: their windows have grown.
                } else if self.is_given_up_early() && !self.last_chance {
                    self.last_chance = true;
                } else {
                    break;
                }
            }
            self.pace(began, good == judged).await;
        }
        let gone: Vec<ServerKey> =
            (0..judged).filter(|i| self.is_gone(*i, history)).map(|i| self.keys[i].clone()).collect();
        history.set_gone(self.answers.answering(), &gone);
        if self.table.occasion == Occasion::Baseline {
            self.calibrate_again(history).await?;
        }
        self.tracks.truncate(judged);
        let settled = self.tracks.iter().all(|track| track.held(self.hold));
        if settled && self.table.denies() && self.gappy.is_empty() {
            history.pauses.recover();
        }
        let start = self.tracks.iter().filter_map(|track| track.good_since).max();
        let start = start.map_or(Duration::ZERO, |start| start.saturating_duration_since(self.table.since));
        Ok(Settled { after: settled.then_some(start), tracks: self.tracks, rounds, hold: self.hold })
    }

    /// Waits for its turn. Until then nobody asks: those whose turn it is would be slowed down.
    async fn turn(&mut self) -> Turn<'a> {
        let turns = &self.setting.quiet.turns;
        if let Some(turn) = turns.at_once() {
            return turn;
        }
        self.watches.stop().await;
        turns.next().await
    }

    /// Has the witnesses of a plan at their posts, for so many volleys.
    fn post(&mut self, plan: &Plan, volleys: u32) {
        self.watches.set(&plan.watches, plan.window * volleys + AROUND_VOLLEYS);
    }

    fn anticipate(&mut self, history: &History) {
        let mut plan = self.plan(history);
        let known: BTreeSet<(Source, ServerKey)> = self
            .chosen
            .iter()
            .zip(&self.cells)
            .zip(&self.keys)
            .filter_map(|((chosen, cell), key)| Some((chosen.as_ref()?, *cell, key)))
            .filter(|(chosen, cell, key)| {
                // No policy stops a node.
                matches!(chosen.source, Source::Node(_))
                    || self.watches.is_answered(&chosen.source, key)
                    || history.reached_from(&chosen.source, cell)
            })
            .map(|(chosen, _, key)| (chosen.source.clone(), key.clone()))
            .collect();
        for (source, watching) in &mut plan.watches {
            watching.questions.retain(|key, _| known.contains(&(source.clone(), key.clone())));
        }
        plan.watches.retain(|_, watching| !watching.questions.is_empty());
        self.post(&plan, self.hold.rounds);
    }

    /// How many cells are as expected.
    fn good(&self) -> usize {
        self.tracks.iter().take(self.table.cells.len()).filter(|track| track.good_rounds > 0).count()
    }

    fn tell(&self, round: u32) {
        self.setting.events.send(Event::Round {
            scenario: self.setting.scenario.to_owned(),
            step: self.table.step.to_owned(),
            round,
            settled: self.good(),
            cells: self.table.cells.len(),
        });
    }

    /// How many volleys the hold still needs, if all of them are as expected.
    fn volleys(&self) -> u32 {
        let tracks = self.tracks.iter().take(self.table.cells.len());
        tracks.map(|track| track.rounds(self.hold).saturating_sub(track.good_rounds)).max().unwrap_or(0).max(1)
    }

    /// Volleys, until so many in a row are as expected, or one is not for which the next has to be planned anew. In a table
    /// with denials one does not wait for the one before: most of a volley is waiting, and what spreads the attempts is the
    /// hold's pace.
    pub(super) async fn fire(&self, plan: &Plan, most: u32) -> Result<Vec<BTreeMap<usize, CellSeen>>, LabError> {
        // The volleys of a plan differ in nothing but their nonces.
        let one = |is_first: bool| async move {
            let calibrating = self.table.occasion == Occasion::Baseline;
            let _quiet = if calibrating { Some(self.setting.quiet.timing().await) } else { None };
            volley(self.setting.sessions, plan.batches(self.setting.nonces), is_first).await
        };
        let pace = self.hold_pace();
        let (mut flying, mut landed) = (FuturesOrdered::new(), Vec::new());
        let (mut left, mut next, mut fired) = (most, Instant::now(), 0);
        while left > 0 || !flying.is_empty() {
            tokio::select! {
                Some(seen) = flying.next(), if !flying.is_empty() => {
                    let seen: BTreeMap<usize, CellSeen> = seen?;
                    let judged = self.table.cells.iter().zip(0..).filter_map(|(cell, index)| Some((cell, seen.get(&index)?)));
                    let wrong: Vec<_> = judged.filter(|(cell, seen)| !looks_good(cell, &seen.attempts)).collect();
                    if Instant::now() >= self.table.deadline {
                        left = 0;
                    } else if !wrong.is_empty() {
                        let goes_on = fired < MOST_VOLLEYS && self.is_early(&wrong) && !self.is_known_by_now(&wrong);
                        let flying = u32::try_from(flying.len()).unwrap_or(u32::MAX);
                        left = if goes_on { self.hold.rounds.saturating_sub(flying) } else { 0 };
                    }
                    landed.push(seen);
                }
                () = sleep_until(next), if left > 0 && flying.len() < FLYING => {
                    flying.push_back(one(fired == 0));
                    left -= 1;
                    fired += 1;
                    next = Instant::now() + pace;
                }
            }
        }
        Ok(landed)
    }

    /// Whether nothing is wrong with a volley but that some of what is to be denied was still answered: it was too early, and
    /// the next may follow at once.
    fn is_early(&self, wrong: &[(&PlannedCell, &CellSeen)]) -> bool {
        let is_early =
            |(cell, seen): &(&PlannedCell, &CellSeen)| cell.expectation == Expectation::Blocked && was_reached(seen);
        self.table.occasion == Occasion::Change && wrong.iter().all(is_early)
    }

    /// From the start of one round of a hold to the start of the next, at least.
    fn hold_pace(&self) -> Duration {
        if self.table.denies() { calibrate::SHORTEST_WINDOW } else { HOLD_PACE }
    }

    /// The sampling period: quick at first, when most policies take effect, and no burden later. In a hold it spreads the
    /// rounds over the span.
    async fn pace(&self, began: Instant, holding: bool) {
        let waited = began.saturating_duration_since(self.table.since);
        let period = match waited.as_secs() {
            _ if holding => self.hold_pace(),
            0 => Duration::from_millis(20),
            1..5 => Duration::from_millis(100),
            _ => Duration::from_millis(250),
        };
        sleep_until(began + period).await;
    }

    /// Takes a round's observations in; whether a witness had a gap.
    fn digest(&mut self, mut seen: BTreeMap<usize, CellSeen>, history: &mut History) -> bool {
        let mut void = false;
        self.asked = seen.values().map(|seen| seen.started).max().or(self.asked);
        let board = self.watches.samples();
        for ((source, key), samples) in &*board {
            if let Some(last) = samples.last() {
                mark(&mut self.silent, source, key, last.answered());
            }
            for sample in samples {
                self.answers.note(source, key, sample.outcome, sample.ended);
            }
        }
        for (index, seen) in &seen {
            for attempt in &seen.attempts {
                let (cell, key) = (self.cells[*index], &self.keys[*index]);
                self.answers.note(&cell.from, key, attempt.observation.outcome, attempt.ended);
            }
        }
        for (index, cell) in self.cells.iter().enumerate().filter(|(_, cell)| cell.expects_answer()) {
            if let Some(seen) = seen.get(&index) {
                mark(&mut self.silent, &cell.from, &self.keys[index], was_reached(seen));
            }
        }
        let reached: Vec<usize> = seen.iter().filter(|(_, seen)| was_reached(seen)).map(|(index, _)| *index).collect();
        let over = seen.values().filter_map(CellSeen::ended).max().unwrap_or_else(Instant::now);
        for index in 0..self.cells.len() {
            let Some(seen) = seen.remove(&index) else { continue };
            let (cell, key) = (self.cells[index], &self.keys[index]);
            let limit = self.tracks[index].window;
            // What is asked over one connection tells little of what it takes to make another.
            if cell.connection == Connection::New {
                let calibrates = self.table.occasion != Occasion::Change;
                history.learn(cell, seen.started, limit, &seen.attempts, calibrates);
            }
            history.see(cell, &seen.attempts, self.table.world);
            let ended = seen.ended().unwrap_or(seen.started);
            let witness = self.chosen[index].as_ref().map(|candidate| {
                let samples = board.get(&(candidate.source.clone(), key.clone()));
                let cover = cover(samples.map_or(&[], Vec::as_slice), seen.started, ended, limit);
                if let Cover::Gap(gap) = cover {
                    self.gappy.insert((candidate.source.clone(), key.clone()));
                    history.pauses.note(gap);
                    void = true;
                }
                (cover, Witness { kind: candidate.kind, from: candidate.from.clone() })
            });
            let seen_by = match &witness {
                Some((Cover::Confirmed | Cover::Gap(_), witness)) => Some(witness.clone()),
                _ => reached
                    .iter()
                    .find(|other| may_witness(self.cells[**other], cell) && self.keys[**other] == *key)
                    .map(|other| Witness { kind: WitnessKind::Source, from: (&self.cells[*other].from_text).into() }),
            };
            let widen = matches!(witness, Some((Cover::Gap(_), _)))
                && !self.candidates(index).iter().any(|candidate| self.is_steady(candidate, key));
            let track = &mut self.tracks[index];
            if seen.command.is_some() {
                (track.command, track.means) = (seen.command, seen.means);
            }
            track.record(
                cell,
                CellRound { started: seen.started, over, attempts: seen.attempts, cover: witness, widen, seen_by },
            );
        }
        void
    }
}

fn was_reached(seen: &CellSeen) -> bool {
    seen.attempts.iter().any(|attempt| attempt.observation.outcome == Outcome::Reached)
}

fn mark(silent: &mut BTreeSet<(Source, ServerKey)>, source: &Source, key: &ServerKey, answered: bool) {
    if answered {
        silent.remove(&(source.clone(), key.clone()));
    } else {
        silent.insert((source.clone(), key.clone()));
    }
}
