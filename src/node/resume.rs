//! What a watch has seen and told, as lines of a file, so that another one goes on where it ended. Pure; the file itself is
//! left to whoever watches.
//!
//! The first line says what the file is of. Each other one has a node as it was told last, or the name of one whose removal
//! was told, or a moment at which the watch stood. A line that was cut off by a crash has no end, and does not count.

use std::{collections::BTreeMap, ops::Range, path::Path};

use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    file::ApiVersion,
    state::{NodeState, Selection},
    track::Tracker,
};
use crate::{
    lab::cluster::ClusterMark,
    scenario::{Diagnostic, Place},
};

/// What a file is of.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Head {
    api_version: ApiVersion,
    kind: Kind,
    /// The cluster.
    pub cluster: ClusterMark,
    /// Which fields count.
    pub fields: Selection,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
enum Kind {
    #[default]
    NodeWatchState,
}

impl Head {
    /// Of this cluster and these fields.
    #[must_use]
    pub fn new(cluster: ClusterMark, fields: Selection) -> Self {
        Self { api_version: ApiVersion::V1, kind: Kind::NodeWatchState, cluster, fields }
    }
}

/// A line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// A moment at which the watch stood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// A node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeState>,
    /// The name of a node that is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<String>,
}

/// Where in a file the line of each node is that counts, and what else it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// What the file is of.
    pub head: Head,
    /// The last moment at which the watch stood.
    pub at: Timestamp,
    lines: BTreeMap<String, Range<usize>>,
    length: usize,
}

/// Why text is no state of a watch.
const NONSENSE: &str = "this is no state that a watch has written";
/// What to do about it.
const REMOVE: &str = "`node watch --resume` writes this file; without it the watch begins anew, and what changed since the last one is \
                      not reported";

impl Index {
    /// Of a file that is to be written, by a watch that stands.
    #[must_use]
    pub fn new(head: Head, at: Timestamp) -> Self {
        Self { head, at, lines: BTreeMap::new(), length: 0 }
    }

    /// Reads a file's text: where each node's line is, and the nodes.
    ///
    /// # Errors
    /// Where the text is nothing that a watch has written, with the place.
    pub fn read(path: &Path, text: &str) -> Result<(Self, Tracker), Diagnostic> {
        let fault = |span: Range<usize>, message: &str| {
            Diagnostic::error(path, message).at(Place::new(text, span)).hint(REMOVE)
        };
        let mut lines = whole_lines(text);
        let nothing = || fault(0..0, if text.is_empty() { "the file is empty" } else { NONSENSE });
        let first = lines.next().ok_or_else(nothing)?;
        let head: Head = parse(text, &first).map_err(|(span, message)| fault(span, &message))?;
        let (mut at, mut index) = (None, Self { length: first.end, ..Self::new(head, Timestamp::UNIX_EPOCH) });
        let mut nodes = BTreeMap::new();
        for range in lines {
            let line: Line = parse(text, &range).map_err(|(span, message)| fault(span, &message))?;
            at = line.at.or(at);
            index.append(&line, range.len());
            line.removed.and_then(|name| nodes.remove(&name));
            if let Some(node) = line.node {
                if node.name.is_empty() || node.uid.is_empty() {
                    return Err(fault(range, "here is a node without a name or a UID"));
                }
                nodes.insert(node.name.clone(), node);
            }
        }
        index.at = at.ok_or_else(|| fault(0..0, "nothing here says when the watch stood"))?;
        let tracker = Tracker::resumed(nodes.into_values(), index.at);
        Ok((index, tracker))
    }

    /// A line of so many bytes was written behind what is there already.
    pub fn append(&mut self, line: &Line, length: usize) {
        let range = self.length..self.length + length;
        self.length = range.end;
        self.at = line.at.unwrap_or(self.at);
        if let Some(name) = &line.removed {
            self.lines.remove(name);
        }
        if let Some(node) = &line.node {
            self.lines.insert(node.name.clone(), range);
        }
    }

    /// How long the file is, in bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// A text that says the same as this one, of what counts alone.
    #[must_use]
    pub fn compacted(&self, text: &[u8]) -> (Self, Vec<u8>) {
        let mut index = Self::new(self.head.clone(), self.at);
        let mut compact = index.begin().into_bytes();
        for (name, range) in &self.lines {
            let Some(line) = text.get(range.clone()) else { continue };
            index.lines.insert(name.clone(), compact.len()..compact.len() + line.len());
            compact.extend_from_slice(line);
        }
        index.length = compact.len();
        // Last, as the lines before it may name earlier moments.
        let mut end = String::new();
        index.write(&Line { at: Some(self.at), ..Line::default() }, &mut end);
        compact.extend_from_slice(end.as_bytes());
        (index, compact)
    }

    /// The first line of a file.
    pub fn begin(&mut self) -> String {
        let text = written(&self.head);
        self.length = text.len();
        text
    }

    /// Appends a line to a text.
    pub fn write(&mut self, line: &Line, text: &mut String) {
        let written = line.written();
        self.append(line, written.len());
        text.push_str(&written);
    }
}

impl Line {
    /// Its text.
    #[must_use]
    pub fn written(&self) -> String {
        written(self)
    }
}

fn written(line: &impl Serialize) -> String {
    // Names, texts and lists of them: nothing in it cannot be JSON.
    let mut text = serde_json::to_string(line).unwrap_or_default();
    text.push('\n');
    text
}

/// The lines that have an end, with it.
fn whole_lines(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    text.match_indices('\n').map(move |(newline, _)| std::mem::replace(&mut start, newline + 1)..newline + 1)
}

/// What a line says, or what is wrong with it and where.
fn parse<T: DeserializeOwned>(text: &str, range: &Range<usize>) -> Result<T, (Range<usize>, String)> {
    let line = text[range.clone()].trim_end_matches('\n');
    serde_json::from_str(line).map_err(|error| {
        let at = range.start + error.column().saturating_sub(1).min(line.len());
        let said = error.to_string();
        let said = said.rsplit_once(" at line ").map_or(said.as_str(), |(said, _)| said);
        (at..at, format!("{NONSENSE}: {said}"))
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head() -> Head {
        Head::new(ClusterMark { server: "https://a:6443/".into(), authority: "x".into() }, Selection::default())
    }

    fn node(name: &str, value: &str) -> NodeState {
        let fields = [("spec.x".to_owned(), value.to_owned())].into();
        NodeState { name: name.into(), uid: format!("uid of {name}"), fields, ..NodeState::default() }
    }

    fn line(node: NodeState) -> Line {
        Line { node: Some(node), ..Line::default() }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::new(1_800_000_000 + second, 0).unwrap()
    }

    /// A file that says no more than that the watch stood.
    fn begun() -> (Index, String) {
        let (index, text) = Index::new(head(), at(0)).compacted(&[]);
        (index, String::from_utf8(text).unwrap())
    }

    fn read(text: &str) -> Result<(Index, Tracker), Diagnostic> {
        Index::read(Path::new("state.json"), text)
    }

    #[test]
    fn a_line_that_was_cut_off_does_not_count() {
        let (mut index, mut text) = begun();
        index.write(&line(node("a", "1")), &mut text);
        let whole = text.clone();
        index.write(&line(node("a", "2")), &mut text);
        for cut in whole.len()..text.len() {
            let (_, tracker) = read(&text[..cut]).unwrap();
            assert_eq!(tracker.get("a"), Some(&node("a", "1")), "{cut}");
        }
        assert_eq!(read(&text).unwrap().1.get("a"), Some(&node("a", "2")));
    }

    #[test]
    fn nonsense_is_reported_with_its_place() {
        let (mut index, mut good) = begun();
        index.write(&line(node("a", "1")), &mut good);
        let first = good.split_inclusive('\n').next().unwrap();
        let texts = [
            String::new(),
            "no".to_owned(),
            "nodes: {}\n".to_owned(),
            first.to_owned(),
            first.replace("NodeWatchState", "NodeBaseline"),
            format!("{good}{{\"at\": \"yesterday\"}}\n"),
            format!("{good}{{\"nodes\": []}}\n"),
            format!("{good}\n"),
            good.replace("uid of a", ""),
            good.replace("\"spec.x\":\"1\"", "\"spec.x\":1"),
        ];
        let faults = texts.map(|text| read(&text).unwrap_err());
        assert!(faults.iter().all(|fault| fault.hint.is_some()));
        insta::assert_snapshot!(faults.map(|fault| format!("{} {}", fault.location(), fault.message)).join("\n"));
    }

    proptest! {
        /// However often it is compacted, and read again, it says what was told last.
        #[test]
        fn what_counts_is_what_was_told_last(told in proptest::collection::vec(("[a-c]", proptest::option::of("[x\n\"é]{0,3}"), any::<bool>()), 0..20)) {
            let (mut index, mut text) = begun();
            let mut known = BTreeMap::new();
            for (second, (name, value, compact)) in (1..).zip(told) {
                let told = match &value {
                    Some(value) => line(node(&name, value)),
                    None => Line { removed: Some(name.clone()), ..Line::default() },
                };
                match value {
                    Some(value) => known.insert(name.clone(), node(&name, &value)),
                    None => known.remove(&name),
                };
                index.write(&Line { at: Some(at(second)), ..told }, &mut text);
                if compact {
                    let (shorter, bytes) = index.compacted(text.as_bytes());
                    prop_assert_eq!(&shorter.compacted(&bytes).1, &bytes, "it cannot be shorter");
                    (index, text) = (shorter, String::from_utf8(bytes).unwrap());
                }
                let (again, tracker) = read(&text).unwrap();
                prop_assert_eq!(&again, &index);
                prop_assert_eq!(again.at, at(second));
                prop_assert_eq!(tracker.nodes().map(|node| (node.name.clone(), node.clone())).collect::<BTreeMap<_, _>>(), known.clone());
            }
        }
    }
}
