//! How things look: signs, colours, and how wide the terminal is. Colour is never the only sign of anything.
//!
//! Text is always painted; the stream that it is written to (`anstream`) removes the colours where they are not wanted.

use std::env;

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthStr;

use crate::engine::Verdict;

/// As expected.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// Not as expected.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// Nothing can be said, or something else needs attention.
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default();
/// A denial that is as it should be.
pub(crate) const DENIED: Style = AnsiColor::Cyan.on_default();
/// A file's text.
pub(crate) const QUOTED: Style = AnsiColor::Blue.on_default();
/// Headings.
pub(crate) const HEAD: Style = Style::new().bold();
/// What is there for those who look for it.
pub(crate) const FAINT: Style = Style::new().dimmed();

/// Signs and width of one output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// Whether signs beyond ASCII may be used.
    pub unicode: bool,
    /// The width in columns.
    pub width: usize,
}

/// Where output goes to a file or a pipe.
const PIPE_WIDTH: usize = 100;
/// Below this, lines may wrap.
const LEAST_WIDTH: usize = 60;

impl Theme {
    /// The theme for a stream that is, or is not, a terminal of that width.
    #[must_use]
    pub fn detect(terminal_width: Option<usize>) -> Self {
        let locale =
            ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| env::var(name).ok().filter(|v| !v.is_empty()));
        let columns = || env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
        Self {
            unicode: locale.is_some_and(|locale| is_utf8(&locale)),
            width: terminal_width.or_else(columns).unwrap_or(PIPE_WIDTH).max(LEAST_WIDTH),
        }
    }

    /// The sign of a verdict. In ASCII it is a word, so that a search finds it.
    pub(crate) fn sign(self, verdict: Verdict) -> &'static str {
        match (verdict, self.unicode) {
            (Verdict::Pass, true) => "✔",
            (Verdict::Pass, false) => "ok",
            (Verdict::Fail, true) => "✘",
            (Verdict::Fail, false) => "FAIL",
            (Verdict::Inconclusive, _) => "?",
            (Verdict::NotEnforcing, true) => "∅",
            (Verdict::NotEnforcing, false) => "NONE",
            (Verdict::Skipped, _) => "-",
            (Verdict::Recorded, true) => "•",
            (Verdict::Recorded, false) => "*",
            (Verdict::Xfail, _) => "x",
            (Verdict::Xpass, _) => "!",
        }
    }

    /// A text behind the sign of a verdict.
    #[must_use]
    pub fn line(self, verdict: Verdict, text: &str) -> String {
        format!("{} {text}", paint(style(verdict), self.sign(verdict)))
    }

    /// One of two spellings.
    pub(crate) fn either(self, unicode: &'static str, ascii: &'static str) -> &'static str {
        if self.unicode { unicode } else { ascii }
    }

    /// Between facts on one line.
    pub(crate) fn dot(self) -> &'static str {
        self.either(" · ", ", ")
    }

    /// A rule across the output.
    pub(crate) fn rule(self) -> String {
        self.either("─", "-").repeat(self.width.min(100))
    }
}

/// The colour of a verdict.
pub(crate) fn style(verdict: Verdict) -> Style {
    match verdict {
        Verdict::Pass => GOOD,
        Verdict::Fail | Verdict::NotEnforcing => BAD,
        Verdict::Inconclusive | Verdict::Xpass => WARN,
        Verdict::Skipped | Verdict::Recorded | Verdict::Xfail => FAINT,
    }
}

/// Text in a style.
pub(crate) fn paint(style: Style, text: &str) -> String {
    if style.is_plain() || text.is_empty() { text.to_owned() } else { format!("{style}{text}{style:#}") }
}

/// How many columns a text without colours takes.
pub(crate) fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// The blanks that bring a text of one width to another.
pub(crate) fn pad(from: usize, to: usize) -> String {
    " ".repeat(to.saturating_sub(from))
}

fn is_utf8(locale: &str) -> bool {
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// Breaks a text into lines of at most `limit` columns, at blanks where there are any.
pub(crate) fn wrap(text: &str, limit: usize) -> Vec<String> {
    let limit = limit.max(8);
    let text = visible(text);
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            let needed = width(&line) + 1 + width(word);
            if !line.is_empty() && needed > limit && !is_unit(word) {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            let bound = if is_unit(word) { usize::MAX } else { limit };
            for sign in word.chars() {
                if width(&line) >= bound {
                    lines.push(std::mem::take(&mut line));
                }
                line.push(sign);
            }
        }
        lines.push(line);
    }
    lines
}

/// A number and its unit stay together, at the price of a few columns.
fn is_unit(word: &str) -> bool {
    matches!(word.trim_end_matches(|sign: char| !sign.is_alphanumeric()), "ms" | "s" | "min")
}

/// What servers and files say must not move the terminal's cursor.
pub(crate) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for sign in text.chars() {
        if sign.is_control() && sign != '\n' { shown.extend(sign.escape_default()) } else { shown.push(sign) }
    }
    shown
}

/// A text cut to so many columns, with an ellipsis where something is missing.
pub(crate) fn cut(theme: Theme, text: &str, limit: usize) -> String {
    if width(text) <= limit {
        return text.to_owned();
    }
    let ellipsis = theme.either("…", "...");
    let mut line = String::new();
    for sign in text.chars() {
        if width(&line) + width(ellipsis) + 1 > limit {
            break;
        }
        line.push(sign);
    }
    format!("{}{ellipsis}", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locales_that_can_show_signs() {
        assert!(is_utf8("en_GB.UTF-8"));
        assert!(is_utf8("C.utf8"));
        assert!(!is_utf8("C"));
        assert!(!is_utf8("POSIX"));
    }

    #[test]
    fn wraps_at_blanks_and_breaks_what_has_none() {
        assert_eq!(wrap("metadata:80/tcp by name", 15), ["metadata:80/tcp", "by name"]);
        assert_eq!(wrap("abcdefghijkl", 8), ["abcdefgh", "ijkl"]);
        assert_eq!(wrap("tries of 100 ms, at", 13), ["tries of 100 ms,", "at"], "a number keeps its unit");
        assert_eq!(wrap("a\u{1b}[2J", 20), ["a\\u{1b}[2J"]);
        assert_eq!(wrap("", 8), Vec::<String>::new());
    }

    #[test]
    fn cuts_with_an_ellipsis() {
        let theme = Theme { unicode: true, width: 80 };
        assert_eq!(cut(theme, "Pods lose it", 20), "Pods lose it");
        assert_eq!(cut(theme, "Pods lose it", 6), "Pods…");
    }

    #[test]
    fn every_verdict_has_its_own_sign() {
        use Verdict as V;
        let all = [V::Pass, V::Skipped, V::Recorded, V::Xfail, V::Xpass, V::Inconclusive, V::Fail, V::NotEnforcing];
        for unicode in [true, false] {
            let theme = Theme { unicode, width: 80 };
            let signs: std::collections::BTreeSet<_> = all.iter().map(|verdict| theme.sign(*verdict)).collect();
            assert_eq!(signs.len(), all.len());
        }
    }
}
