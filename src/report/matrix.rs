//! One step as a table: a row a source, a column a destination. Too wide a table is continued below.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{
    theme::{self, Theme, pad, paint, width},
    words,
};
use crate::engine::{CellResult, Expectation, Verdict};

/// A heading longer than this is wrapped.
const HEADING: usize = 26;
/// What stands before each line.
const INDENT: usize = 5;

/// The cells as a table, with a newline at the end of each line.
pub(crate) fn render(cells: &[CellResult], theme: Theme) -> String {
    let grid = Grid::new(cells, theme);
    let mut text = String::new();
    let mut first = 0;
    while first < grid.columns.len() {
        let end = grid.fitting(first, theme.width);
        if first > 0 {
            text.push('\n');
        }
        grid.block(first..end, theme, &mut text);
        first = end;
    }
    text
}

struct Grid<'a> {
    rows: Vec<&'a str>,
    row_width: usize,
    columns: Vec<Column>,
    entries: BTreeMap<(&'a str, usize), Entry>,
}

struct Column {
    heading: Vec<String>,
    width: usize,
}

struct Entry {
    text: String,
    style: anstyle::Style,
    verdict: Verdict,
}

impl<'a> Grid<'a> {
    fn new(cells: &'a [CellResult], theme: Theme) -> Self {
        let mut names: Vec<&str> = Vec::new();
        let mut columns: Vec<Column> = Vec::new();
        let mut entries: BTreeMap<(&str, usize), Entry> = BTreeMap::new();
        for cell in cells {
            let name = destination(cell);
            let index = names.iter().position(|known| *known == name).unwrap_or_else(|| {
                let heading = theme::wrap(name, HEADING);
                let widest = heading.iter().map(|line| width(line)).max().unwrap_or(0);
                names.push(name);
                columns.push(Column { heading, width: widest });
                columns.len() - 1
            });
            let entry = Entry::new(cell, theme);
            columns[index].width = columns[index].width.max(width(&entry.text));
            let slot = entries.entry((&cell.from, index));
            slot.and_modify(|known| {
                if entry.verdict > known.verdict {
                    *known = Entry { text: entry.text.clone(), ..*known };
                    (known.style, known.verdict) = (entry.style, entry.verdict);
                }
            })
            .or_insert(entry);
        }
        let mut rows: Vec<&str> = cells.iter().map(|cell| cell.from.as_str()).collect();
        rows.sort_by_key(|from| (rank(from), *from));
        rows.dedup();
        let row_width = rows.iter().map(|row| width(row)).max().unwrap_or(0).max(width(CORNER));
        Self { rows, row_width, columns, entries }
    }

    /// The end of the columns from `first` on that fit; at least one does, by definition.
    fn fitting(&self, first: usize, limit: usize) -> usize {
        let mut used = INDENT + self.row_width;
        for (offset, column) in self.columns[first..].iter().enumerate() {
            used += SEPARATOR + column.width;
            if used > limit && offset > 0 {
                return first + offset;
            }
        }
        self.columns.len()
    }

    fn block(&self, range: std::ops::Range<usize>, theme: Theme, out: &mut String) {
        let bar = format!(" {} ", paint(theme::FAINT, theme.either("│", "|")));
        let columns = &self.columns[range.clone()];
        let height = columns.iter().map(|column| column.heading.len()).max().unwrap_or(0);
        for line in 0..height {
            // Headings stand on the rule below them.
            let label = if line + 1 == height { CORNER } else { "" };
            let mut text =
                format!("{}{}{}", pad(0, INDENT), paint(theme::HEAD, label), pad(width(label), self.row_width));
            for column in columns {
                let word = (line + column.heading.len()).checked_sub(height).map_or("", |at| &column.heading[at]);
                let _ = write!(text, "{bar}{}{}", paint(theme::HEAD, word), pad(width(word), column.width));
            }
            push_line(out, &text);
        }
        let dash = theme.either("─", "-");
        let cross = theme.either("─┼─", "-+-");
        let mut rule = dash.repeat(self.row_width);
        for column in columns {
            rule = rule + cross + &dash.repeat(column.width);
        }
        push_line(out, &format!("{}{}", pad(0, INDENT), paint(theme::FAINT, &rule)));
        for row in &self.rows {
            let mut text = format!("{}{row}{}", pad(0, INDENT), pad(width(row), self.row_width));
            for (column, index) in columns.iter().zip(range.clone()) {
                text.push_str(&bar);
                match self.entries.get(&(*row, index)) {
                    Some(entry) => {
                        text.push_str(&paint(entry.style, &entry.text));
                        text.push_str(&pad(width(&entry.text), column.width));
                    }
                    None => text.push_str(&pad(0, column.width)),
                }
            }
            push_line(out, &text);
        }
    }
}

/// Above the rows.
const CORNER: &str = "from";
/// The width of the bar between columns.
const SEPARATOR: usize = 3;

impl Entry {
    fn new(cell: &CellResult, theme: Theme) -> Self {
        let style = match (cell.verdict, &cell.expectation) {
            (Verdict::Pass, Expectation::Blocked) => theme::DENIED,
            (verdict, _) => theme::style(verdict),
        };
        let wrong = matches!(cell.verdict, Verdict::Fail | Verdict::NotEnforcing | Verdict::Xfail);
        let missed = match cell.expectation {
            _ if !wrong => String::new(),
            Expectation::Reachable => ", not allowed".to_owned(),
            Expectation::Blocked => ", not denied".to_owned(),
            Expectation::Status { code } => format!(", not {code}"),
            Expectation::Rejected { .. } => ", not rejected".to_owned(),
            Expectation::Silent => ", not silent".to_owned(),
            Expectation::Refused => ", not refused".to_owned(),
            Expectation::Noticed { .. } | Expectation::Recorded => String::new(),
        };
        let text = format!("{} {}{missed}", theme.sign(cell.verdict), words::observed(cell));
        Self { text, style, verdict: cell.verdict }
    }
}

/// The part of a cell's id that tells its destination apart from all others of the step.
fn destination(cell: &CellResult) -> &str {
    cell.id.strip_prefix(cell.from.as_str()).and_then(|rest| rest.strip_prefix(" -> ")).unwrap_or(&cell.to)
}

/// Pods, then nodes, then hosts outside: the same order in every step.
fn rank(from: &str) -> u8 {
    match from.split_once('/') {
        Some(("node", _)) => 1,
        Some(("outside", _)) => 2,
        _ => 0,
    }
}

fn push_line(out: &mut String, line: &str) {
    out.push_str(line.trim_end());
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::{self, cell};

    fn plain(cells: &[CellResult], unicode: bool, columns: usize) -> String {
        let text = render(cells, Theme { unicode, width: columns });
        anstream::adapter::strip_str(&text).to_string()
    }

    #[test]
    fn a_step_as_a_table() {
        insta::assert_snapshot!(plain(&testing::passing().scenarios[0].steps[1].cells, true, 100));
    }

    #[test]
    fn a_step_as_a_table_in_ascii() {
        insta::assert_snapshot!(plain(&testing::failing().scenarios[0].steps[1].cells, false, 100));
    }

    #[test]
    fn too_wide_a_table_is_continued() {
        let names =
            ["web:80/tcp", "web:8080/tcp", "other/database:5432/tcp", "metadata:80/tcp computeMetadata/v1/instance"];
        let cells: Vec<_> = names.iter().map(|to| cell("app1", to).allowed().build()).collect();
        let text = plain(&cells, true, 60);
        assert!(text.lines().all(|line| width(line) <= 60), "{text}");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn colours_say_what_signs_say() {
        let cells = [cell("app1", "web:80/tcp").denied().build(), cell("app2", "web:80/tcp").allowed().build()];
        insta::assert_snapshot!(render(&cells, Theme { unicode: true, width: 80 }).replace('\u{1b}', "ESC"));
    }
}
