//! One node as a sheet: a line a field, with its value, who set it, what it is used for and what it tells.

use std::fmt::Write as _;

use super::{
    inventory::{FieldEntry, NodeEntry},
    table::NOT_REPORTED,
};
use crate::report::theme::{self, Theme, pad, paint, width};

/// The most that a column may take; what is longer is wrapped.
const FIELD: usize = 46;
const VALUE: usize = 38;
const FROM: usize = 26;
const GAP: usize = 2;

/// The sheet of a node.
#[must_use]
pub fn sheet(node: &NodeEntry, theme: Theme) -> String {
    let mut text = format!("{}\n", paint(theme::HEAD, &theme::visible(&node.name)));
    let rows: Vec<_> = node.fields.iter().filter(|entry| entry.field != "metadata.name").map(row).collect();
    let widest = |at: usize, most: usize| rows.iter().map(|(_, row)| width(&row[at])).max().unwrap_or(0).min(most);
    let widths = [widest(0, FIELD), widest(1, VALUE), widest(2, FROM)];
    let used: usize = 2 + widths.iter().map(|width| width + GAP).sum::<usize>();
    let limits = [widths[0], widths[1], widths[2], theme.width.saturating_sub(used).max(30)];
    line(&mut text, " ", &["FIELD", "VALUE", "FROM", "USED FOR"].map(str::to_owned), limits, Some(theme::HEAD));
    for (sensitive, row) in &rows {
        let sign = if *sensitive { paint(theme::WARN, "!") } else { " ".to_owned() };
        line(&mut text, &sign, row, limits, None);
    }
    let legend = "! tells an attacker something; FROM is the field manager as clients claim it, no proof of who it was";
    for part in theme::wrap(legend, theme.width) {
        let _ = writeln!(text, "{}", paint(theme::FAINT, &part));
    }
    text
}

fn row(entry: &FieldEntry) -> (bool, [String; 4]) {
    let mut value = entry.value.clone().unwrap_or_else(|| NOT_REPORTED.to_owned());
    if entry.value.as_deref() == Some("") {
        "\"\"".clone_into(&mut value);
    }
    if let Some(age) = &entry.age {
        value = format!("{value} ({age})");
    }
    let tells = entry.sensitive.filter(|_| entry.value.is_some());
    let used = match tells {
        Some(tells) => format!("{}; tells: {tells}", entry.used_for),
        None => entry.used_for.to_owned(),
    };
    (tells.is_some(), [entry.field.clone(), value, entry.origin(), used])
}

fn line(out: &mut String, sign: &str, cells: &[String; 4], limits: [usize; 4], style: Option<anstyle::Style>) {
    let wrapped: Vec<Vec<String>> =
        cells.iter().zip(limits).map(|(cell, limit)| theme::wrap(&cell.replace('\n', "\\n"), limit)).collect();
    let height = wrapped.iter().map(Vec::len).max().unwrap_or(0);
    for at in 0..height {
        let mut text = format!("{} ", if at == 0 { sign } else { " " });
        for (lines, limit) in wrapped.iter().zip(limits) {
            let cell = lines.get(at).map_or("", String::as_str);
            text.push_str(&style.map_or_else(|| cell.to_owned(), |style| paint(style, cell)));
            text.push_str(&pad(width(cell), limit + GAP));
        }
        let _ = writeln!(out, "{}", text.trim_end());
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::node::inventory::tests::{example, now};

    #[test]
    fn a_line_a_field() {
        let node = NodeEntry::of(example(), now()).unwrap();
        let text = sheet(&node, Theme { unicode: true, width: 150 });
        insta::assert_snapshot!(anstream::adapter::strip_str(&text).to_string());
    }
}
