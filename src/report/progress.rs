//! What is going on right now, on stderr: one line that is always current on a terminal, and elsewhere only the phases
//! that take long enough for a log reader to wonder about.

use std::{io::Write as _, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::theme::{self, paint};
use crate::engine::Event;

/// Shows progress; everything else that is written goes through [`Progress::suspend`].
pub struct Progress {
    bar: ProgressBar,
    /// Whether phases and notes are written as lines.
    lines: Lines,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lines {
    /// Neither.
    None,
    /// Notes; the phases are on the bar.
    Notes,
    /// Both: there is no bar.
    All,
}

impl Progress {
    /// A line that is redrawn, for a terminal.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "the template is a constant")]
    pub fn live(unicode: bool) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(20));
        let ticks = if unicode { "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ " } else { "|/-\\ " };
        let style = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed:>4}");
        bar.set_style(style.expect("a constant template").tick_chars(ticks));
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { bar, lines: Lines::Notes }
    }

    /// A line a phase, for a log.
    #[must_use]
    pub fn plain() -> Self {
        Self { bar: ProgressBar::hidden(), lines: Lines::All }
    }

    /// Nothing.
    #[must_use]
    pub fn hidden() -> Self {
        Self { bar: ProgressBar::hidden(), lines: Lines::None }
    }

    /// Runs something that writes to the terminal while the bar is out of the way.
    pub fn suspend(&self, write: impl FnOnce()) {
        self.bar.suspend(write);
    }

    /// Removes the bar.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// Shows one event, where it says something about the present.
    pub fn event(&mut self, event: &Event) {
        match event {
            Event::Phase(text) => {
                self.bar.set_message(text.clone());
                if self.lines == Lines::All {
                    self.line(&paint(theme::FAINT, text));
                }
            }
            Event::Note(text) if self.lines != Lines::None => {
                self.line(&format!("{}: {text}", paint(theme::WARN, "note")));
            }
            Event::ScenarioStarted { id, .. } => self.bar.set_message(id.clone()),
            Event::StepStarted { scenario, name, .. } => self.bar.set_message(format!("{scenario}: {name}")),
            Event::Round { scenario, step, round, settled, cells } => {
                self.bar
                    .set_message(format!("{scenario}: {step}, round {round}, {settled} of {cells} cells as expected"));
            }
            Event::RunFinished(_) => self.clear(),
            _ => {}
        }
    }

    fn line(&self, text: &str) {
        // A stderr that is closed is no reason to end a run.
        self.bar.suspend(|| drop(writeln!(anstream::stderr(), "{text}")));
    }
}
