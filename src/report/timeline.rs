//! Where the time of some runs went: a line and a bar for each part of the work, medians where there are several runs.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use super::theme::{self, FAINT, HEAD, Theme, pad, paint};
use crate::engine::{NODES_READY, RunResult};

/// One part of the work in one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// What was done, from the whole to the part.
    pub name: String,
    /// When it began, from the start of the run.
    pub began: Duration,
    /// How long it took.
    pub took: Duration,
}

/// The times of several runs.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    heads: Vec<(String, Vec<Duration>)>,
    parts: BTreeMap<String, Vec<(Duration, Duration)>>,
    /// The last verdict, from when the nodes were Ready.
    from_ready: Vec<Duration>,
}

/// Parts of a run that come after its last verdict.
const AFTER_VERDICTS: [&str; 1] = ["teardown"];

impl Timeline {
    /// Takes a run's times in.
    pub fn add(&mut self, result: &RunResult, spans: Vec<Span>) {
        let total = Duration::from_millis(result.lab.total_ms);
        match self.heads.first_mut() {
            Some((_, totals)) => totals.push(total),
            None => self.heads.push((format!("backend {}", result.backend), vec![total])),
        }
        let ready = spans.iter().find(|span| span.name == NODES_READY).map(|span| span.began + span.took);
        let verdicts = spans.iter().filter(|span| !AFTER_VERDICTS.contains(&span.name.as_str()));
        let last = verdicts.map(|span| span.began + span.took).max();
        if let (Some(ready), Some(last)) = (ready, last) {
            self.from_ready.push(last.saturating_sub(ready));
        }
        for Span { name, began, took } in spans {
            self.parts.entry(name).or_default().push((began, took));
        }
    }

    /// The table.
    #[must_use]
    pub fn render(&self, theme: Theme) -> String {
        let mut text = String::new();
        let mut parts: Vec<(&str, Duration, Duration)> = self
            .parts
            .iter()
            .map(|(name, times)| {
                let (began, took): (Vec<_>, Vec<_>) = times.iter().copied().unzip();
                (name.as_str(), median(began), median(took))
            })
            .collect();
        parts.sort_by_key(|(name, began, took)| (*began, std::cmp::Reverse(*took), *name));
        let (head, totals) = match self.heads.first() {
            Some((head, totals)) => (head.clone(), totals.clone()),
            None => return text,
        };
        let end =
            parts.iter().map(|(_, began, took)| *began + *took).max().unwrap_or_default().max(median(totals.clone()));
        let runs = totals.len();
        let spread = match (totals.iter().min(), totals.iter().max()) {
            (Some(least), Some(most)) if runs > 1 => format!(", {} to {}", time(*least), time(*most)),
            _ => String::new(),
        };
        let words = if runs == 1 { "1 run".to_owned() } else { format!("median of {runs} runs") };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", paint(HEAD, &format!("{head}: {}{spread} ({words})", time(median(totals)))));
        if !self.from_ready.is_empty() {
            let _ = writeln!(
                text,
                "from the nodes being Ready to the last verdict: {}",
                time(median(self.from_ready.clone()))
            );
        }
        let names = parts.iter().map(|(name, ..)| theme::width(name)).max().unwrap_or_default().max(4);
        let columns = theme.width.saturating_sub(names + 22).clamp(10, 60);
        let _ = writeln!(text, "\n{}", paint(FAINT, &format!("{}      from      took", pad(0, names))));
        for (name, began, took) in parts {
            let name = if theme.unicode { name.to_owned() } else { name.replace('›', ">") };
            let (before, length) = bar(began, took, end, columns);
            let _ = writeln!(
                text,
                "{name}{}  {:>8}  {:>8}  {}{}",
                pad(theme::width(&name), names),
                time(began),
                time(took),
                " ".repeat(before),
                theme.either("█", "#").repeat(length),
            );
        }
        text
    }
}

/// Where a bar begins, and how long it is, in columns.
fn bar(began: Duration, took: Duration, end: Duration, columns: usize) -> (usize, usize) {
    let column = |at: Duration| {
        let share = at.as_micros() * columns as u128 / end.as_micros().max(1);
        usize::try_from(share).unwrap_or(columns).min(columns)
    };
    let before = column(began).min(columns.saturating_sub(1));
    (before, column(began + took).saturating_sub(before).max(1))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn time(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.2} s", time.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_lie_where_the_time_went() {
        let ms = Duration::from_millis;
        assert_eq!(bar(ms(0), ms(100), ms(100), 10), (0, 10));
        assert_eq!(bar(ms(50), ms(50), ms(100), 10), (5, 5));
        assert_eq!(bar(ms(99), ms(1), ms(100), 10), (9, 1));
        assert_eq!(bar(ms(20), ms(1), ms(100), 10), (2, 1), "what took no time is still seen");
    }

    #[test]
    fn the_median_is_one_that_was_measured() {
        let ms = Duration::from_millis;
        assert_eq!(median(vec![ms(9), ms(1), ms(5)]), ms(5));
        assert_eq!(median(Vec::new()), Duration::ZERO);
    }
}
