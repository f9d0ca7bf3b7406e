//! What every command says in the same way: errors with hints, colours, and the exit code of what went wrong.

use std::{
    io::{self, Write as _},
    path::Path,
};

use anstyle::{AnsiColor, Style};
use anyhow::Context as _;

use super::Color;
use crate::{engine, input::InputError, lab::LabError, scenario::Diagnostics};

/// Something that a person can put right.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    message: String,
    hint: Option<String>,
    code: u8,
}

impl Problem {
    /// A wrong command line or file.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, code: engine::USAGE }
    }

    /// A file that a flag names and that cannot be read.
    pub(crate) fn input(what: &str, path: &Path, error: &InputError) -> Self {
        let problem = Self::usage(format!("cannot read {what} `{}`: {error}", path.display()));
        Self { hint: error.hint().map(str::to_owned), ..problem }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Decides about colours, once and for all streams.
pub fn use_colors(color: Color) {
    match color {
        // `anstream` asks the terminal and the environment by itself.
        Color::Auto => {}
        Color::Always => anstream::ColorChoice::Always.write_global(),
        Color::Never => anstream::ColorChoice::Never.write_global(),
    }
}

const ERROR: Style = AnsiColor::Red.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();

/// Prints a part of the results.
///
/// # Errors
/// Where it cannot be written, also because nobody reads any more.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = anstream::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context(UNWRITTEN)
}

/// Says something beside the results. A closed stderr is nobody's error.
pub(super) fn note(text: &str) {
    let _ = anstream::stderr().write_all(format!("{text}\n").as_bytes());
}

/// Prints all of the results, and returns the exit code: that of what they say, or where they say that all is well and
/// cannot be written [`engine::USAGE`]. A reader who has seen enough is no error.
pub(super) fn conclude(text: &str, code: u8) -> u8 {
    match print(text) {
        Err(error) if !is_broken_pipe(&error) => {
            complain(&format!("{error:#}"), None);
            if code == engine::OK { engine::USAGE } else { code }
        }
        _ => code,
    }
}

/// What is said of results that cannot be written.
pub(super) const UNWRITTEN: &str = "the results could not be written";

/// Prints `error: …` and, after a blank line, `hint: …`. A closed stderr is no reason to fail once more.
pub(super) fn complain(message: &str, hint: Option<&str>) {
    let hint = hint.map(|hint| format!("\n{HINT}hint{HINT:#}: {hint}\n")).unwrap_or_default();
    let text = format!("{ERROR}error{ERROR:#}: {message}\n{hint}");
    let _ = anstream::stderr().write_all(text.as_bytes());
}

/// Prints an error, and returns the exit code that it means.
#[must_use]
pub fn fail(error: &anyhow::Error) -> u8 {
    if is_broken_pipe(error) {
        return engine::OK;
    }
    if let Some(faults) = error.downcast_ref::<Diagnostics>() {
        // Each fault says by itself that it is an error.
        let _ = writeln!(anstream::stderr(), "{}\n", faults.styled());
        return engine::USAGE;
    }
    if let Some(problem) = error.downcast_ref::<Problem>() {
        complain(&format!("{error:#}"), problem.hint.as_deref());
        return problem.code;
    }
    if let Some(lab) = error.downcast_ref::<LabError>() {
        complain(&format!("{error:#}"), lab.hint());
        return if matches!(lab, LabError::Cancelled) { engine::INTERRUPTED } else { engine::NO_LAB };
    }
    complain(&format!("{error:#}"), None);
    engine::USAGE
}

/// A reader who has seen enough, as in `policyprobe list | head -1`.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kinds = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    kinds.into_iter().any(|kind| kind == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_of_errors() {
        assert_eq!(fail(&Problem::usage("no such flag").into()), engine::USAGE);
        assert_eq!(fail(&LabError::with_hint("no kind", "install it").into()), engine::NO_LAB);
        assert_eq!(fail(&LabError::Cancelled.into()), engine::INTERRUPTED);
        assert_eq!(fail(&anyhow::anyhow!("cannot read")), engine::USAGE);
    }

    #[test]
    fn context_hides_neither_the_code_nor_a_broken_pipe() {
        let error: anyhow::Error = LabError::with_hint("no kind", "install it").into();
        assert_eq!(fail(&error.context("making the cluster")), engine::NO_LAB);
        let pipe: Result<(), _> = Err(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(fail(&pipe.context("writing").expect_err("it failed")), engine::OK);
    }
}
