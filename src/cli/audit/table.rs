//! The table of an audit, and the advice below it.

use std::fmt::Write as _;

use super::{
    Report, advice,
    survey::{Seen, State},
};
use crate::{metadata::Category, report::Theme};

/// The table and the advice, with colours.
pub(super) fn render(report: &Report, theme: Theme) -> String {
    let bold = anstyle::Style::new().bold();
    let mut text = format!("{bold}{}{bold:#}\n\n", report.title);
    let is_whole = report.seen.iter().all(|seen| seen.states[1..].iter().all(Option::is_none));
    let categories: Vec<&str> =
        if is_whole { vec!["service"] } else { Category::ALL.iter().map(|category| category.as_str()).collect() };
    let clouds = report.seen.iter().map(|seen| seen.cloud.definition().name.len()).max().unwrap_or_default().max(5);
    let positions = report.seen.iter().map(|seen| seen.position.text.len()).max().unwrap_or_default();
    let _ = write!(text, "  {:clouds$}  {:positions$}", "cloud", "from");
    for category in &categories {
        let _ = write!(text, "  {category:>width$}", width = width(category));
    }
    text.push('\n');
    let mut last = None;
    for seen in &report.seen {
        let cloud = if last == Some(seen.cloud) { "" } else { seen.cloud.definition().name };
        last = Some(seen.cloud);
        let _ = write!(text, "  {cloud:clouds$}  {:positions$}", seen.position.text);
        for (state, category) in seen.states.iter().zip(&categories) {
            let (style, word) = cell(seen, *state);
            let _ = write!(text, "  {style}{word:>width$}{style:#}", width = width(category));
        }
        text.push('\n');
    }
    legend(report, &mut text);
    if let Some((policies, switches)) = advice(report) {
        let _ = writeln!(text, "\n{bold}What is open can be closed by policies{bold:#}\n");
        text.push_str(&policies);
        let _ = writeln!(text, "\n{bold}and by each cloud's own switch{bold:#}\n");
        for (cloud, switch) in switches {
            let lead = format!("  {:clouds$}  ", cloud.definition().name);
            let lines = wrapped(switch, theme.width.saturating_sub(lead.len()).max(30));
            for (index, line) in lines.iter().enumerate() {
                let lead = if index == 0 { lead.clone() } else { " ".repeat(lead.len()) };
                let _ = writeln!(text, "{lead}{line}");
            }
        }
    }
    text
}

/// Room for the longest word.
fn width(category: &str) -> usize {
    category.len().max("no answer".len())
}

fn cell(seen: &Seen, state: Option<State>) -> (anstyle::Style, String) {
    let plain = anstyle::Style::new();
    let colour = |colour: anstyle::AnsiColor| colour.on_default();
    let leaks = colour(if seen.position.may { anstyle::AnsiColor::Yellow } else { anstyle::AnsiColor::Red });
    match state {
        None => (plain.dimmed(), "-".to_owned()),
        Some(State::Open) => (leaks, "open".to_owned()),
        Some(State::Refused(status)) => (leaks, format!("HTTP {status}")),
        Some(State::Silent) => (colour(anstyle::AnsiColor::Yellow), "no answer".to_owned()),
        Some(State::Closed) => (colour(anstyle::AnsiColor::Green), "closed".to_owned()),
        Some(State::Unknown) => (plain, "?".to_owned()),
    }
}

/// What the words mean that are in the table.
fn legend(report: &Report, text: &mut String) {
    let has =
        |wanted: fn(&State) -> bool| report.seen.iter().flat_map(|seen| seen.states).flatten().any(|s| wanted(&s));
    let words = [
        (
            has(|state| matches!(state, State::Refused(_))),
            "HTTP n     the server was reached and refused: whoever sends what it asks for gets it",
        ),
        (
            has(|state| *state == State::Silent),
            "no answer  the connection is made and no answer arrives, as with a hop limit: no policy's work",
        ),
        (has(|state| *state == State::Closed), "closed     not reached, while the node was answered"),
        (has(|state| *state == State::Unknown), "?          not reached, and nothing shows that it could have been"),
    ];
    let words: Vec<_> = words.into_iter().filter(|(is_there, _)| *is_there).map(|(_, words)| words).collect();
    if !words.is_empty() {
        text.push('\n');
    }
    for words in words {
        let _ = writeln!(text, "  {words}");
    }
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is always one");
        if !line.is_empty() && line.len() + 1 + word.len() > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}
