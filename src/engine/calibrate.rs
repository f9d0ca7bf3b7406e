//! Pure: how long a denied attempt may take, and how many attempts it needs, from what connects really took and how
//! many were lost. Who is asked, and when, is `round`'s and `step`'s business.

use std::time::Duration;

/// No window is shorter: below it the scheduler of a busy machine is what is measured.
pub(super) const SHORTEST_WINDOW: Duration = Duration::from_millis(100);
/// The window of a cell that no connect is known of.
pub(super) const UNKNOWN_WINDOW: Duration = Duration::from_secs(3);
/// The window of `--strict-timeouts`: what a person waits before pressing Ctrl-C.
pub(super) const STRICT_WINDOW: Duration = Duration::from_secs(4);
/// How long an allowed cell may take: three SYNs are sent in it.
pub(super) const ALLOW_LIMIT: Duration = Duration::from_secs(4);
/// An allowed cell is not given up before one SYN retransmission could have been answered.
pub(super) const PAST_RETRANSMISSION: Duration = Duration::from_millis(1300);
/// The probability that loss alone makes a whole scenario's denies look enforced is kept below this.
pub(super) const FALSE_DENY: f64 = 1e-6;
/// Attempts of a denied cell for which no connect is known at all. Each lasts whole seconds, so holds several SYNs.
pub(super) const UNKNOWN_ATTEMPTS: u32 = 12;
/// No denied cell gets more attempts: where more were needed, the path is too bad for a verdict.
pub(super) const MOST_ATTEMPTS: u32 = 90;

const FACTOR: u32 = 50;
const CAP_FACTOR: u32 = 10;
const OUTLIER_FACTOR: u32 = 3;
const CAP: Duration = Duration::from_millis(3500);
const CONFIDENCE: f64 = 0.95;

/// What one connect says: the round trip, and how many SYNs (or their answers) were lost before it.
///
/// RFC 6298 makes the first retransmission come after one second, and Linux goes on in whole seconds (linearly since
/// 6.5, doubling before that), so whole seconds are losses and the remainder is the path. Reading a doubled time-out
/// as linear counts a loss too many, which only makes for more attempts.
#[must_use]
pub(super) fn read_connect(connect: Duration) -> (Duration, u32) {
    let seconds = connect.as_secs();
    (connect.saturating_sub(Duration::from_secs(seconds)), u32::try_from(seconds).unwrap_or(u32::MAX))
}

/// What a server's witnesses say of its connects at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Connects {
    /// The median.
    pub(super) usual: Duration,
    /// The slowest.
    pub(super) slowest: Duration,
}

impl Connects {
    /// Of these connects; none where there are none.
    #[must_use]
    pub(super) fn of(connects: impl IntoIterator<Item = Duration>) -> Option<Self> {
        let mut sorted: Vec<Duration> = connects.into_iter().collect();
        sorted.sort_unstable();
        Some(Self { usual: *sorted.get(sorted.len() / 2)?, slowest: *sorted.last()? })
    }
}

/// The connect window of a denied attempt: 50 times what is usual, which is the slowest of the cell's own baseline connects and
/// the median of the witness's connects now, and at least 100 ms. One of the latter that met a machine that was busy for a
/// moment says little of the path, but the window is never less than three times the slowest.
///
/// It is capped at the greater of 3.5 s and 10 round trips: three SYNs are sent in 3.5 s, so waiting longer adds hardly
/// a chance to be answered, and a path of 150 ms does not cost 7.5 s an attempt.
#[must_use]
pub(super) fn window(own: Option<Duration>, witness: Option<Connects>, strict: bool) -> Duration {
    if strict {
        return STRICT_WINDOW;
    }
    let Some(own) = own else { return UNKNOWN_WINDOW };
    let Connects { usual, slowest } = witness.unwrap_or(Connects { usual: own, slowest: own });
    let usual = usual.max(own);
    (usual * FACTOR).clamp(SHORTEST_WINDOW, CAP.max(usual * CAP_FACTOR)).max(slowest * OUTLIER_FACTOR)
}

/// Connects that were tried and lost, on one path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Losses {
    /// SYNs sent.
    pub(super) trials: u32,
    /// SYNs that were not answered.
    pub(super) lost: u32,
}

impl Losses {
    /// Counts a connect that was made.
    pub(super) fn connected(&mut self, lost: u32) {
        self.trials = self.trials.saturating_add(lost).saturating_add(1);
        self.lost = self.lost.saturating_add(lost);
    }

    /// Counts a connect that was given up, after so many SYNs, on a path that is open.
    pub(super) fn gave_up(&mut self, sent: u32) {
        self.trials = self.trials.saturating_add(sent);
        self.lost = self.lost.saturating_add(sent);
    }

    /// The 95 % upper bound of the probability that a SYN is lost; none where nothing was tried.
    #[must_use]
    pub(super) fn bound(self) -> Option<f64> {
        (self.trials > 0).then(|| upper_bound(self.lost, self.trials))
    }
}

/// How many SYNs are sent in this time at least, on a kernel that doubles the time-out (after 0, 1 and 3 s).
#[must_use]
pub(super) fn syns_in(limit: Duration) -> u32 {
    match limit.as_secs() {
        0 => 1,
        1 | 2 => 2,
        _ => 3,
    }
}

/// The one-sided 95 % Clopper–Pearson bound: the loss at which seeing so few losses has a probability of 5 %.
fn upper_bound(lost: u32, trials: u32) -> f64 {
    if lost >= trials {
        return 1.0;
    }
    let alpha = 1.0 - CONFIDENCE;
    if lost == 0 {
        return 1.0 - alpha.powf(1.0 / f64::from(trials));
    }
    let (mut low, mut high) = (0.0_f64, 1.0_f64);
    // Sixty halvings are more than a double can tell apart.
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if at_most(lost, trials, middle) > alpha {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// The probability of at most `lost` losses in `trials`, each lost with probability `p`; in logarithms, because
/// `(1 - p)^trials` underflows long before the sum does.
fn at_most(lost: u32, trials: u32, p: f64) -> f64 {
    let (ln_lost, ln_kept) = (p.ln(), (1.0 - p).ln());
    let mut coefficient = 0.0;
    let mut sum = 0.0;
    for i in 0..=lost {
        if i > 0 {
            coefficient += f64::from(trials - i + 1).ln() - f64::from(i).ln();
        }
        sum += (coefficient + f64::from(i) * ln_lost + f64::from(trials - i) * ln_kept).exp();
    }
    sum
}

/// How many attempts a denied cell needs, so that loss fakes a deny in any of `cells` with a probability of at most
/// 10⁻⁶: `cells × bound^SYNs ≤ 10⁻⁶`, and an attempt of whole seconds holds several SYNs. At least `rounds`, one a
/// round of the hold. None where the path loses too much for any reasonable number.
#[must_use]
pub(super) fn attempts(cells: usize, bound: Option<f64>, window: Duration, rounds: u32) -> Option<u32> {
    let Some(bound) = bound else { return Some(UNKNOWN_ATTEMPTS.max(rounds)) };
    let cells = f64::from(u32::try_from(cells.max(1)).unwrap_or(u32::MAX));
    (rounds..=MOST_ATTEMPTS).find(|attempts| {
        let syns = f64::from(attempts.saturating_mul(syns_in(window)));
        cells * bound.powf(syns) <= FALSE_DENY
    })
}

/// The connect limit of a cell before any policy, on its `tries`-th failed try in a row (from 0): at first one
/// retransmission could be answered. A connect that begins before a young node translates addresses is never answered,
/// however often it is sent again, and the next one may be.
#[must_use]
pub(super) fn baseline_limit(tries: u32) -> Duration {
    (PAST_RETRANSMISSION * 2_u32.pow(tries.min(2))).min(ALLOW_LIMIT)
}

/// The connect limit of an allowed cell that is not open yet, on its `tries`-th failed try in a row (from 0). It grows
/// by half each time: a cell that opens is seen soon after, and loss and delay still get their whole seconds.
#[must_use]
pub(super) fn opening_limit(window: Duration, tries: u32) -> Duration {
    let grown = window.min(ALLOW_LIMIT).mul_f64(1.5_f64.powi(i32::try_from(tries.min(20)).unwrap_or(20)));
    grown.clamp(SHORTEST_WINDOW, ALLOW_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_window_follows_the_slowest_connect() {
        assert_eq!(window(Some(ms(1)), None, false), ms(100));
        let witness = |connects: &[u64]| Connects::of(connects.iter().map(|connect| ms(*connect)));
        assert_eq!(window(Some(ms(4)), witness(&[2]), false), ms(200));
        assert_eq!(window(Some(ms(4)), witness(&[10]), false), ms(500));
        assert_eq!(window(Some(ms(4)), witness(&[]), false), ms(200));
    }

    #[test]
    fn one_connect_that_met_a_busy_machine_is_not_the_path() {
        let witness = |slowest: u64| Connects::of([ms(1), ms(slowest), ms(1), ms(2), ms(1)]);
        assert_eq!(window(Some(ms(2)), witness(3), false), ms(100));
        assert_eq!(window(Some(ms(2)), witness(50), false), ms(150), "three times the slowest all the same");
        let slow = Connects::of([ms(30), ms(1), ms(30)]);
        assert_eq!(window(Some(ms(2)), slow, false), ms(1500), "most of them were slow");
    }

    #[test]
    fn the_window_is_capped_where_three_syns_fit() {
        assert_eq!(window(Some(ms(150)), None, false), ms(3500));
        assert_eq!(window(Some(ms(600)), None, false), ms(6000));
    }

    #[test]
    fn an_unknown_path_and_strict_time_outs_get_whole_seconds() {
        let witness = Connects::of([ms(1)]);
        assert_eq!(window(None, witness, false), UNKNOWN_WINDOW);
        assert_eq!(window(Some(ms(1)), witness, true), STRICT_WINDOW);
    }

    #[test]
    fn whole_seconds_are_losses_and_do_not_blow_up_the_window() {
        assert_eq!(read_connect(ms(3)), (ms(3), 0));
        assert_eq!(read_connect(ms(1003)), (ms(3), 1));
        assert_eq!(read_connect(ms(3150)), (ms(150), 3));
        let (path, _) = read_connect(ms(1002));
        assert_eq!(window(Some(path), None, false), ms(100));
    }

    #[test]
    fn the_bound_agrees_with_tables() {
        // One-sided 95 % Clopper–Pearson bounds.
        for (lost, trials, expected) in
            [(0, 10, 0.2589), (0, 59, 0.0495), (1, 10, 0.3942), (2, 20, 0.2826), (5, 100, 0.1023), (10, 10, 1.0)]
        {
            let bound = Losses { trials, lost }.bound().unwrap_or_default();
            assert!((bound - expected).abs() < 1e-3, "{lost} of {trials}: {bound}, not {expected}");
        }
        assert_eq!(Losses::default().bound(), None);
    }

    #[test]
    fn the_bound_survives_many_trials() {
        let bound = Losses { trials: 20_000, lost: 2_000 }.bound().unwrap_or_default();
        assert!(bound > 0.1 && bound < 0.105, "{bound}");
    }

    #[test]
    fn more_loss_and_more_cells_need_more_attempts() {
        let short = ms(100);
        let clean = attempts(10, Losses { trials: 1000, lost: 0 }.bound(), short, 3);
        assert_eq!(clean, Some(3));
        // Ten cells, a quarter lost: 10 × 0.2589^k ≤ 10⁻⁶ first at k = 12.
        let few = attempts(10, Losses { trials: 10, lost: 0 }.bound(), short, 3);
        assert_eq!(few, Some(12));
        let more_cells = attempts(10_000, Losses { trials: 10, lost: 0 }.bound(), short, 3);
        assert!(more_cells > few);
        // Each attempt of whole seconds holds three SYNs.
        assert_eq!(attempts(10, Losses { trials: 10, lost: 0 }.bound(), UNKNOWN_WINDOW, 3), Some(4));
    }

    #[test]
    fn a_hopeless_path_has_no_number() {
        assert_eq!(attempts(10, Losses { trials: 10, lost: 10 }.bound(), ms(100), 3), None);
        assert_eq!(attempts(10, None, UNKNOWN_WINDOW, 3), Some(UNKNOWN_ATTEMPTS));
    }

    #[test]
    fn a_lost_connect_counts_every_syn() {
        let mut losses = Losses::default();
        losses.connected(0);
        losses.connected(1);
        losses.gave_up(syns_in(ALLOW_LIMIT));
        assert_eq!(losses, Losses { trials: 6, lost: 4 });
    }

    #[test]
    fn before_any_policy_each_try_outlasts_a_retransmission_and_the_third_two() {
        assert_eq!([0, 1, 2, 9].map(baseline_limit), [ms(1300), ms(2600), ALLOW_LIMIT, ALLOW_LIMIT]);
    }

    #[test]
    fn opening_limits_grow_past_a_retransmission() {
        assert_eq!(opening_limit(ms(100), 0), ms(100));
        assert!(opening_limit(ms(100), 7) > PAST_RETRANSMISSION);
        assert_eq!(opening_limit(ms(100), 50), ALLOW_LIMIT);
    }
}
