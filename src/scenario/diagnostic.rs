//! What is wrong with a file, with the place and a hint. Rendering only; finding faults is elsewhere.

use std::{fmt, ops::Range, path::PathBuf};

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// How bad a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used; it is likely not what was meant.
    Warning,
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The file or folder, as the user named it.
    pub path: PathBuf,
    /// Where in the file; none where the fault is the file's as a whole.
    pub place: Option<Box<Place>>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The line's text, where it is short enough to be shown.
    text: Option<String>,
    /// The bytes of `text` that are meant.
    span: Range<usize>,
}

/// Lines that are longer are not shown.
const LONGEST_LINE: usize = 400;

impl Place {
    /// The place of a range of bytes of a text. A range over several lines is cut at the end of its first.
    #[must_use]
    pub fn new(text: &str, span: Range<usize>) -> Self {
        let start = span.start.min(text.len());
        let before = text.as_bytes()[..start].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        let number = text.as_bytes()[..start].split(|byte| *byte == b'\n').count();
        let line = text[before..].split('\n').next().unwrap_or_default();
        Self::in_line(number, line, start - before..span.end.max(start) - before)
    }

    /// The place of a range of bytes of a line, which is cut at the line's end and at whole characters.
    pub(crate) fn in_line(number: usize, line: &str, span: Range<usize>) -> Self {
        let line = line.trim_end_matches('\r');
        let whole = |at: usize| (0..=at.min(line.len())).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
        let (from, to) = (whole(span.start), whole(span.end.max(span.start)));
        let text = (line.len() <= LONGEST_LINE).then(|| line.to_owned());
        Self { line: number, column: line[..from].chars().count() + 1, text, span: from..to }
    }
}

impl Diagnostic {
    /// An error of a file or folder as a whole.
    pub fn error(path: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, path: path.into(), place: None, message: message.into(), hint: None }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same at a place.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(Box::new(place));
        self
    }

    /// `path:line:column`, or the path alone.
    #[must_use]
    pub fn location(&self) -> String {
        let path = self.path.display();
        match &self.place {
            Some(place) => format!("{path}:{}:{}", place.line, place.column),
            None => path.to_string(),
        }
    }

    /// The fault with its line and hint, as rustc shows faults, without a line break at the end.
    #[must_use]
    pub fn render(&self, renderer: &Renderer) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let path = visible(&self.path.display().to_string());
        let mut group = Group::with_title(level.primary_title(visible(&self.message)));
        group = match self.place.as_deref() {
            Some(Place { line, text: Some(text), span, .. }) => group.element(
                Snippet::source(text.as_str())
                    .path(path)
                    .line_start(*line)
                    .annotation(AnnotationKind::Primary.span(span.clone())),
            ),
            Some(Place { line, column, .. }) => group.element(Origin::path(path).line(*line).char_column(*column)),
            None if self.path.as_os_str().is_empty() => group,
            None => group.element(Origin::path(path)),
        };
        if let Some(hint) = &self.hint {
            group = group.element(Level::HELP.message(visible(hint)));
        }
        renderer.render(&[group])
    }
}

/// A hostile file or file name must not move the terminal's cursor.
fn visible(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() && c != '\n' { c.escape_default().to_string() } else { c.to_string() })
        .collect()
}

/// How many faults are shown at once.
const MOST_SHOWN: usize = 100;

/// Whether there are more faults in a file than are shown, so that it need not be searched for others.
#[must_use]
pub(crate) fn enough(faults: &[Diagnostic]) -> bool {
    faults.len() > MOST_SHOWN
}

/// All faults that were found: an error when one of them is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// Whether one is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|fault| fault.severity == Severity::Error)
    }

    /// How many errors and how many warnings.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let errors = self.0.iter().filter(|fault| fault.severity == Severity::Error).count();
        (errors, self.0.len() - errors)
    }

    /// In colour, for `anstream`.
    #[must_use]
    pub fn styled(&self) -> String {
        self.render(&Renderer::styled())
    }

    fn render(&self, renderer: &Renderer) -> String {
        let mut shown: Vec<&Diagnostic> = self.0.iter().collect();
        if shown.len() > MOST_SHOWN {
            // No error is left out for a warning.
            shown.sort_by_key(|fault| fault.severity);
            shown.truncate(MOST_SHOWN);
        }
        let mut parts: Vec<String> = shown.into_iter().map(|fault| fault.render(renderer)).collect();
        if let Some(rest) = self.0.get(MOST_SHOWN..).filter(|rest| !rest.is_empty()) {
            parts.push(format!("... and at least {} more", rest.len()));
        }
        parts.join("\n\n")
    }

    /// Sorts by file and place, and removes what was found twice.
    pub(crate) fn tidy(mut self) -> Self {
        let key = |fault: &Diagnostic| {
            let place = fault.place.as_ref().map_or((0, 0), |place| (place.line, place.column));
            (fault.path.clone(), place, fault.severity, fault.message.clone())
        };
        self.0.sort_by_cached_key(key);
        self.0.dedup();
        self
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(fault: Diagnostic) -> Self {
        Self(vec![fault])
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(&Renderer::plain()))
    }
}

impl std::error::Error for Diagnostics {}

/// The known name that is nearest to a mistyped one, if one is near.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&lower, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= 1 + word.chars().count().max(name.chars().count()) / 5)
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_counts_lines_and_characters() {
        let text = "a: 1\nbé: wörd\n";
        let start = text.find("wörd").map_or(0, |at| at);
        let place = Place::new(text, start..start + "wörd".len());
        assert_eq!((place.line, place.column), (2, 5));
        assert_eq!(place.text.as_deref(), Some("bé: wörd"));
    }

    #[test]
    fn place_bears_any_range() {
        for text in ["", "é", "a\r\nb", "\n\n"] {
            for start in 0..6 {
                for end in 0..8 {
                    let place = Place::new(text, start..end);
                    let fault = Diagnostic::error("f", "m").at(place);
                    assert!(fault.render(&Renderer::plain()).contains("f:"));
                }
            }
        }
    }

    #[test]
    fn nearest_finds_typos_and_nothing_else() {
        assert_eq!(nearest("podSelecter", ["podSelector", "policyTypes"]), Some("podSelector"));
        assert_eq!(nearest("endport", ["endPort", "port"]), Some("endPort"));
        assert_eq!(nearest("form", ["from", "ports"]), Some("from"));
        assert_eq!(nearest("banana", ["podSelector", "policyTypes"]), None);
    }

    #[test]
    fn control_characters_are_shown_and_not_sent() {
        let fault = Diagnostic::error("a\u{1b}[2J", "b\u{7}");
        assert!(!fault.render(&Renderer::plain()).contains(['\u{1b}', '\u{7}']));
    }
}
