//! The converge loop of one step: rounds until the whole table is as expected, then the hold. It decides what each round
//! asks; what the outcome means is `judge`'s business.
//!
//! A round is one volley of all sources. Volleys that look good follow each other, while the witnesses go on;
//! whether they count is found out after the last of them, when the witnesses have been answered once more.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, stream::FuturesOrdered};
use tokio::time::{Instant, sleep_until};

use super::{
    Event, Events, Expectation, Witness, WitnessKind,
    calibrate::{self, ALLOW_LIMIT, PAST_RETRANSMISSION},
    history::History,
    plan::PlannedCell,
    round::{Ask, CellSeen, Nonces, volley},
    sessions::{How, ProbeWith, Sessions},
    track::{CellRound, Hold, Track, looks_good},
    watch::{Question, Watches, Watching},
    witness::{Candidate, Cover, ServerKey, candidates, cover},
};
use crate::{
    lab::{LabError, Source, World},
    probe::{Outcome, Request},
};

/// Parallel connects of each cell in the baseline, from which its window and the path's loss are calibrated. More of them
/// would save a few attempts of the denied cells, and slow each other down, which makes for longer windows.
const BASELINE_CONNECTS: u32 = 4;
/// A witness is asked this often at least, however long the window: a round lasts as long as its witness's process.
const LONGEST_PERIOD: Duration = Duration::from_millis(150);
/// What the resolution of a name may take where nothing is known of it, and at least.
const UNKNOWN_RESOLVE: Duration = Duration::from_millis(500);
const SHORTEST_RESOLVE: Duration = Duration::from_millis(10);
/// Rounds of an allow-only hold begin this far apart: three of them span the 300 ms.
const HOLD_PACE: Duration = Duration::from_millis(150);
/// Once a table is good at the deadline, its hold may be brought to its end in so many rounds.
const ROUNDS_OF_GRACE: u32 = 5;

/// A process of a witness is meant to last for all volleys of a round, and for this long around them.
const AROUND_VOLLEYS: Duration = Duration::from_millis(150);

/// Volleys under way at the same time.
const FLYING: usize = 2;

/// What a table is probed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occasion {
    /// Before any policy: windows and loss are calibrated.
    Baseline,
    /// After a step's actions.
    Change,
    /// The baseline again, once everything was taken back.
    Restored,
}

/// What stays the same over the steps of a scenario.
#[derive(Clone, Copy)]
pub(super) struct Setting<'a> {
    /// The stage's sessions.
    pub(super) sessions: &'a Arc<Sessions>,
    /// The run's nonces.
    pub(super) nonces: &'a Arc<Nonces>,
    /// Held while connects are timed, so that those of another scenario do not slow them down.
    pub(super) quiet: &'a tokio::sync::Mutex<()>,
    /// Where rounds are told of.
    pub(super) events: &'a Events,
    /// The scenario's id.
    pub(super) scenario: &'a str,
    /// Whether probes can start in nodes.
    pub(super) from_nodes: bool,
    /// Whole seconds instead of calibrated windows.
    pub(super) strict: bool,
    /// What probes are made with.
    pub(super) probe: ProbeWith,
    /// What a table has to hold after a change.
    pub(super) hold: Hold,
    /// How many cells the scenario denies, over all steps.
    pub(super) denies: usize,
}

/// One step's table.
pub(super) struct Table<'a> {
    /// The step's name.
    pub(super) step: &'a str,
    /// What it is probed for.
    pub(super) occasion: Occasion,
    /// The cells to probe.
    pub(super) cells: &'a [PlannedCell],
    /// Further cells, probed in the baseline only to calibrate what later steps deny.
    pub(super) calibration: &'a [PlannedCell],
    /// The names and addresses.
    pub(super) world: &'a World,
    /// When the last action ended.
    pub(super) since: Instant,
    /// When it must have settled.
    pub(super) deadline: Instant,
}

/// How a table ended.
pub(super) struct Settled {
    /// The cells, in the table's order.
    pub(super) tracks: Vec<Track>,
    /// From the end of the last action to the start of the hold; none where the table never settled.
    pub(super) after: Option<Duration>,
    /// Rounds, void ones included.
    pub(super) rounds: u32,
    /// What each cell had to hold.
    pub(super) hold: Hold,
}

/// Probes a table until it holds, or until its deadline.
pub(super) async fn settle(
    setting: &Setting<'_>,
    table: &Table<'_>,
    history: &mut History,
) -> Result<Settled, LabError> {
    Settling::new(setting, table).run(history).await
}

struct Settling<'a> {
    setting: &'a Setting<'a>,
    table: &'a Table<'a>,
    cells: Vec<&'a PlannedCell>,
    keys: Vec<ServerKey>,
    candidates: Vec<Vec<Candidate>>,
    tracks: Vec<Track>,
    /// The witness of each cell in the current round.
    chosen: Vec<Option<Candidate>>,
    /// Who did not reach which server when last asked.
    silent: BTreeSet<(Source, ServerKey)>,
    /// Who reached which server with gaps in between, as over a lossy link: another witness is better.
    gappy: BTreeSet<(Source, ServerKey)>,
    watches: Watches,
    how: How,
    hold: Hold,
    /// Set for the last round: nothing is given up before a retransmission could be answered.
    last_chance: bool,
}

/// What every volley of a round asks.
#[derive(Default)]
struct Plan {
    /// The cells' requests; each volley has nonces of its own.
    batches: BTreeMap<Source, Vec<Ask>>,
    /// The witnesses.
    watches: BTreeMap<Source, Watching>,
}

impl Plan {
    /// What the next volley asks.
    fn batches(&self, nonces: &Nonces) -> BTreeMap<Source, Vec<Ask>> {
        let mut batches = self.batches.clone();
        batches.values_mut().flatten().for_each(|ask| ask.request.nonce = nonces.next());
        batches
    }

    /// How long the witnesses have to speak for one volley.
    fn window(&self) -> Duration {
        let questions = self.watches.values().flat_map(|watching| watching.questions.values());
        questions.map(|question| question.limit).max().unwrap_or_default()
    }
}

impl<'a> Settling<'a> {
    fn new(setting: &'a Setting<'a>, table: &'a Table<'a>) -> Self {
        let cells: Vec<&PlannedCell> = table.cells.iter().chain(table.calibration).collect();
        let how = setting.probe.how(cells.iter().copied());
        let denies = table.cells.iter().any(|cell| cell.expectation == Expectation::Blocked);
        let hold = if table.occasion == Occasion::Change || denies { setting.hold } else { Hold::ONCE };
        Self {
            keys: cells.iter().map(|cell| ServerKey::of(cell)).collect(),
            candidates: cells
                .iter()
                .map(|cell| candidates(table.cells, cell, table.world, setting.from_nodes))
                .collect(),
            tracks: vec![Track::default(); cells.len()],
            chosen: vec![None; cells.len()],
            silent: BTreeSet::new(),
            gappy: BTreeSet::new(),
            watches: Watches::new(Arc::clone(setting.sessions), how, Arc::clone(setting.nonces)),
            how,
            last_chance: false,
            setting,
            table,
            cells,
            hold,
        }
    }

    async fn run(mut self, history: &mut History) -> Result<Settled, LabError> {
        let judged = self.table.cells.len();
        let mut rounds = 0;
        let mut grace = ROUNDS_OF_GRACE;
        loop {
            let began = Instant::now();
            let plan = self.plan(history);
            let most = self.volleys();
            self.watches.set(&plan.watches, plan.window() * most + AROUND_VOLLEYS);
            self.watches.before().await?;
            let volleys = self.fire(&plan, most).await?;
            self.watches.after().await;
            for seen in volleys {
                rounds += 1;
                self.digest(seen, history);
                self.tell(rounds);
            }

            let tracks = self.tracks.get(..judged).unwrap_or_default();
            let good = self.good();
            if tracks.iter().all(|track| track.held(self.hold)) {
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
        self.tracks.truncate(judged);
        let settled = self.tracks.iter().all(|track| track.held(self.hold));
        let start = self.tracks.iter().filter_map(|track| track.good_since).max();
        let start = start.map_or(Duration::ZERO, |start| start.saturating_duration_since(self.table.since));
        Ok(Settled { after: settled.then_some(start), tracks: self.tracks, rounds, hold: self.hold })
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
        let held = self.tracks.iter().take(self.table.cells.len()).map(|track| track.good_rounds).min();
        self.hold.rounds.saturating_sub(held.unwrap_or_default()).max(1)
    }

    /// Volleys, for as long as they are as expected. In a table with denials one begins when the one before is half over,
    /// because most of a volley is waiting.
    async fn fire(&self, plan: &Plan, most: u32) -> Result<Vec<BTreeMap<usize, CellSeen>>, LabError> {
        let one = || async {
            let calibrating = self.table.occasion == Occasion::Baseline;
            let _quiet = if calibrating { Some(self.setting.quiet.lock().await) } else { None };
            volley(self.setting.sessions, self.how, &plan.batches(self.setting.nonces)).await
        };
        let pace = self.hold_pace().max(plan.window() / 2);
        let (mut flying, mut landed) = (FuturesOrdered::new(), Vec::new());
        let (mut left, mut next) = (most, Instant::now());
        while left > 0 || !flying.is_empty() {
            tokio::select! {
                Some(seen) = flying.next(), if !flying.is_empty() => {
                    let seen: BTreeMap<usize, CellSeen> = seen?;
                    let good = self.table.cells.iter().zip(0..).all(|(cell, index)| {
                        seen.get(&index).is_none_or(|seen| looks_good(cell, &seen.attempts))
                    });
                    landed.push(seen);
                    if !good || Instant::now() >= self.table.deadline {
                        left = 0;
                    }
                }
                () = sleep_until(next), if left > 0 && flying.len() < FLYING => {
                    flying.push_back(one());
                    left -= 1;
                    next = Instant::now() + pace;
                }
            }
        }
        Ok(landed)
    }

    /// From the start of one round of a hold to the start of the next, at least.
    fn hold_pace(&self) -> Duration {
        let denies = self.cells.iter().any(|cell| cell.expectation == Expectation::Blocked);
        if denies { calibrate::SHORTEST_WINDOW } else { HOLD_PACE }
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

    /// How long after the deadline a busy machine may go on: as long again as it had.
    fn patience(&self) -> Duration {
        self.table.deadline.saturating_duration_since(self.table.since) * 2
    }

    /// Whether a cell that should be reached has only had limits below a retransmission.
    fn is_given_up_early(&self) -> bool {
        self.tracks
            .iter()
            .zip(&self.cells)
            .any(|(track, cell)| cell.expects_answer() && track.failed_tries > 0 && track.window < PAST_RETRANSMISSION)
    }

    /// Decides what the next round asks.
    fn plan(&mut self, history: &History) -> Plan {
        let mut plan = Plan::default();
        for index in 0..self.cells.len() {
            let cell = self.cells[index];
            self.chosen[index] = None;
            if self.hold.rounds == 1 && self.tracks[index].held(self.hold) {
                continue;
            }
            let Some(target) = cell.target.clone() else { continue };
            let (limit, attempts) = self.limit(index, history);
            let resolve_limit = self.resolve_limit(index, history);
            self.tracks[index].window = limit;
            let asks = plan.batches.entry(cell.from.clone()).or_default();
            asks.extend((0..attempts).map(|_| Ask {
                cell: index,
                request: Request {
                    target: target.clone(),
                    nonce: String::new(),
                    server: cell.identity.clone(),
                    connect_limit: limit,
                    resolve_limit,
                },
            }));
            let needs_witness = cell.expectation == Expectation::Blocked
                || (cell.expects_answer() && self.tracks[index].failed_tries > 0);
            if needs_witness {
                self.watch(index, limit, history, &mut plan.watches);
            }
        }
        plan
    }

    /// The limit of a cell's attempts, and how many there are in a round.
    fn limit(&mut self, index: usize, history: &History) -> (Duration, u32) {
        let cell = self.cells[index];
        let window = self.window(index, history);
        let track = &mut self.tracks[index];
        match cell.expectation {
            Expectation::Blocked => {
                track.needed = calibrate::attempts(self.setting.denies, history.loss(cell), window, self.hold.rounds);
                let needed = track.needed.unwrap_or(calibrate::MOST_ATTEMPTS);
                (window, needed.div_ceil(self.hold.rounds))
            }
            Expectation::Reachable | Expectation::Status { .. } => {
                track.needed = Some(1);
                match self.table.occasion {
                    Occasion::Baseline => (ALLOW_LIMIT, BASELINE_CONNECTS),
                    Occasion::Restored => (ALLOW_LIMIT, 1),
                    Occasion::Change => {
                        let open =
                            if track.last.is_some() { track.failed_tries == 0 } else { history.was_reached(cell) };
                        let patient = open || self.last_chance;
                        (if patient { ALLOW_LIMIT } else { calibrate::opening_limit(window, track.failed_tries) }, 1)
                    }
                }
            }
            Expectation::Recorded | Expectation::Rejected { .. } => {
                track.needed = Some(1);
                let calibrating = index >= self.table.cells.len();
                (window.min(PAST_RETRANSMISSION), if calibrating { BASELINE_CONNECTS } else { 1 })
            }
        }
    }

    /// The window of a denied attempt.
    fn window(&self, index: usize, history: &History) -> Duration {
        let (cell, track) = (self.cells[index], &self.tracks[index]);
        let window = calibrate::window(history.slowest(cell), self.witness_now(index), self.setting.strict);
        window.max(track.at_least)
    }

    /// What the resolution of a name may take besides: it is no part of the window.
    fn resolve_limit(&self, index: usize, history: &History) -> Duration {
        let (cell, track) = (self.cells[index], &self.tracks[index]);
        match cell.expectation {
            _ if !cell.by_name => Duration::ZERO,
            Expectation::Blocked => {
                let usual = history.resolve(cell).map_or(UNKNOWN_RESOLVE, |usual| (usual * 2).max(SHORTEST_RESOLVE));
                usual * 2_u32.pow(track.unresolved.min(5))
            }
            _ => ALLOW_LIMIT,
        }
    }

    /// The slowest connect of the witnesses of a cell's server, in their latest samples.
    fn witness_now(&self, index: usize) -> Option<Duration> {
        let samples = self.watches.samples();
        let of_server = samples.iter().filter(|((_, key), _)| *key == self.keys[index]);
        of_server
            .flat_map(|(_, samples)| samples.iter().rev().take(5))
            .filter(|sample| sample.answered())
            .filter_map(|sample| sample.connect)
            .map(|connect| calibrate::read_connect(connect).0)
            .max()
    }

    /// Chooses the witness of a cell, and has it ask.
    fn watch(&mut self, index: usize, window: Duration, history: &History, watches: &mut BTreeMap<Source, Watching>) {
        let (key, candidates) = (&self.keys[index], &self.candidates[index]);
        let speaks = |candidate: &&Candidate| !self.silent.contains(&(candidate.source.clone(), key.clone()));
        let steady = candidates.iter().find(|candidate| speaks(candidate) && self.is_steady(candidate, key));
        let chosen = steady.or_else(|| candidates.iter().find(speaks)).or_else(|| candidates.first());
        let Some(candidate) = chosen else { return };
        if !candidates.iter().any(|candidate| speaks(&candidate)) {
            // Nobody answers: each gets another chance, in turn.
            for candidate in candidates {
                self.silent.remove(&(candidate.source.clone(), key.clone()));
            }
        }
        let period = (window / 3).min(LONGEST_PERIOD);
        let slowest = self.witness_now(index).or_else(|| history.slowest(self.cells[index])).unwrap_or_default();
        let watching =
            watches.entry(candidate.source.clone()).or_insert_with(|| Watching { questions: BTreeMap::new(), period });
        watching.period = watching.period.min(period);
        watching.questions.entry(key.clone()).or_insert_with(|| Question {
            target: candidate.target.clone(),
            identity: self.cells[index].identity.clone(),
            limit: window.max(slowest * 4),
        });
        self.chosen[index] = Some(candidate.clone());
    }

    /// Whether a witness has been answered without gaps. A server that reaches itself proves less than a gap costs.
    fn is_steady(&self, candidate: &Candidate, key: &ServerKey) -> bool {
        candidate.kind != WitnessKind::Itself && !self.gappy.contains(&(candidate.source.clone(), key.clone()))
    }

    /// Takes a round's observations in.
    fn digest(&mut self, mut seen: BTreeMap<usize, CellSeen>, history: &mut History) {
        let board = self.watches.samples();
        for ((source, key), samples) in &*board {
            if let Some(last) = samples.last() {
                mark(&mut self.silent, source, key, last.answered());
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
            history.learn(cell, seen.started, limit, &seen.attempts, self.table.occasion == Occasion::Baseline);
            let ended = seen.ended().unwrap_or(seen.started);
            let witness = self.chosen[index].as_ref().map(|candidate| {
                let samples = board.get(&(candidate.source.clone(), key.clone()));
                let cover = cover(samples.map_or(&[], Vec::as_slice), seen.started, ended, limit);
                if matches!(cover, Cover::Gap(_)) {
                    self.gappy.insert((candidate.source.clone(), key.clone()));
                }
                (cover, Witness { kind: candidate.kind, from: candidate.from.clone() })
            });
            let seen_by = match &witness {
                Some((Cover::Confirmed | Cover::Gap(_), witness)) => Some(witness.clone()),
                _ => reached
                    .iter()
                    .find(|other| self.cells[**other].from != cell.from && self.keys[**other] == *key)
                    .map(|other| Witness { kind: WitnessKind::Source, from: self.cells[*other].from_text.clone() }),
            };
            let widen = !self.candidates[index].iter().any(|candidate| self.is_steady(candidate, key));
            let track = &mut self.tracks[index];
            if seen.command.is_some() {
                (track.command, track.means) = (seen.command, seen.means);
            }
            track.record(
                cell,
                CellRound { started: seen.started, over, attempts: seen.attempts, cover: witness, widen, seen_by },
            );
        }
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
