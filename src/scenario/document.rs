//! YAML text as values with positions. One parser, `yaml_serde`, decides values; the other, `serde-saphyr`, only says
//! where they are, because the two read `on` or `0777` differently.

use std::{
    collections::{BTreeSet, HashMap},
    ops::Range,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::{
    Location, Spanned,
    options::{DuplicateKeyPolicy, MergeKeyPolicy},
};

use super::{Diagnostic, Place, Severity, diagnostic::enough, shape::Node};

/// A step from a value to one inside it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Segment {
    Key(String),
    Index(usize),
}

impl From<&str> for Segment {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<usize> for Segment {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

/// A path as people write it: `steps[0].expect[1].to`.
pub(crate) fn dotted(path: &[Segment]) -> String {
    path.iter().fold(String::new(), |mut text, segment| {
        match segment {
            Segment::Key(key) if text.is_empty() => text.push_str(key),
            Segment::Key(key) => text.extend([".", key]),
            Segment::Index(index) => text.extend(["[", &index.to_string(), "]"]),
        }
        text
    })
}

/// A path from a base, keys and indices.
macro_rules! at_path {
    ($base:expr; $($segment:expr),* $(,)?) => {{
        let mut path: Vec<$crate::scenario::document::Segment> = $base.to_vec();
        $(path.push($crate::scenario::document::Segment::from($segment));)*
        path
    }};
}
pub(crate) use at_path;

/// A text and the name of its file.
#[derive(Clone, Debug)]
pub(crate) struct SourceFile {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    /// Where lines begin, in bytes.
    lines: Vec<usize>,
}

impl SourceFile {
    pub(crate) fn new(path: &Path, text: String) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(newline, _)| newline + 1)).collect();
        Self { path: path.to_owned(), text, lines }
    }

    /// An error at a range of bytes.
    pub(crate) fn error(&self, span: Range<usize>, message: impl Into<String>) -> Diagnostic {
        let line = self.lines.partition_point(|start| *start <= span.start).saturating_sub(1);
        let start = self.lines[line];
        let text = self.text[start..].split('\n').next().unwrap_or_default();
        let within = span.start - start..span.end.max(span.start) - start;
        Diagnostic::error(&self.path, message).at(Place::in_line(line + 1, text, within))
    }

    /// The bytes of a place that the parser of positions names.
    fn bytes(&self, location: Location) -> Option<Range<usize>> {
        let span = location.span();
        let number = |number: u64| usize::try_from(number).ok();
        if let Some(start) = span.byte_offset().and_then(number) {
            let length = span.byte_len().and_then(number).unwrap_or(0);
            return Some(start..start + length);
        }
        // Errors of syntax have a line and a column alone.
        let start = *self.lines.get(number(location.line())?.checked_sub(1)?)?;
        let line = self.text[start..].split('\n').next().unwrap_or_default();
        let column = number(location.column())?.saturating_sub(1);
        let at = start + line.char_indices().nth(column).map_or(line.len(), |(at, _)| at);
        Some(at..at)
    }
}

/// Where a value is: its key, where it has one, and itself.
#[derive(Clone, Debug, Default)]
struct Spans {
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
}

/// One YAML document.
#[derive(Clone, Debug)]
pub(crate) struct Document<'a> {
    pub(crate) file: &'a SourceFile,
    pub(crate) value: Value,
    spans: HashMap<Vec<Segment>, Spans>,
}

impl Document<'_> {
    /// An error at a value, or at the nearest value around it whose place is known.
    pub(crate) fn error(&self, path: &[Segment], message: impl Into<String>) -> Diagnostic {
        self.file.error(self.span(path, false), message)
    }

    /// An error at a key.
    pub(crate) fn error_at_key(&self, path: &[Segment], message: impl Into<String>) -> Diagnostic {
        self.file.error(self.span(path, true), message)
    }

    /// A warning at a value.
    pub(crate) fn warning(&self, path: &[Segment], message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..self.error(path, message) }
    }

    /// Whether what is at a path stands in this document, and was not taken over from another.
    pub(crate) fn has_place(&self, path: &[Segment]) -> bool {
        self.spans.contains_key(path)
    }

    /// Whether the text at a path stands there as it is, without quotes.
    pub(crate) fn is_plain(&self, path: &[Segment], text: &str) -> bool {
        let span = self.spans.get(path).and_then(|spans| spans.value.clone());
        span.and_then(|span| self.file.text.get(span)).is_some_and(|written| written.trim() == text)
    }

    /// The value at a path.
    pub(crate) fn get(&self, path: &[Segment]) -> Option<&Value> {
        path.iter().try_fold(&self.value, |value, segment| match segment {
            Segment::Key(key) => value.get(key),
            Segment::Index(index) => value.get(index),
        })
    }

    /// Moves the places of a list's items on: others were put before them.
    pub(crate) fn shift(&mut self, list: &[Segment], by: usize) {
        let moved = std::mem::take(&mut self.spans).into_iter().map(|(mut path, spans)| {
            if path.starts_with(list)
                && let Some(Segment::Index(index)) = path.get_mut(list.len())
            {
                *index += by;
            }
            (path, spans)
        });
        self.spans = moved.collect();
    }

    fn span(&self, path: &[Segment], prefer_key: bool) -> Range<usize> {
        (0..=path.len())
            .rev()
            .find_map(|length| {
                let spans = self.spans.get(&path[..length])?;
                // What is missing below a value is best shown at the value's key.
                let key = prefer_key || length < path.len();
                if key { spans.key.clone().or(spans.value.clone()) } else { spans.value.clone().or(spans.key.clone()) }
            })
            .unwrap_or(0..0)
    }
}

/// How many keys and values a file may have: more than anybody writes by hand, and little enough to be read at once.
const MOST_VALUES: usize = 30_000;

/// How many documents a file may have.
const MOST_DOCUMENTS: usize = 1_000;

/// Reads all documents of a text. Documents without content are left out, as `kubectl` does.
pub(crate) fn parse(file: &SourceFile) -> Result<Vec<Document<'_>>, Vec<Diagnostic>> {
    parse_within(file, MOST_VALUES)
}

/// The same for files of so many keys and values.
pub(crate) fn parse_within(file: &SourceFile, most_values: usize) -> Result<Vec<Document<'_>>, Vec<Diagnostic>> {
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        with_snippet: false,
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 20_000 },
        budget: serde_saphyr::budget! { max_depth: 32, max_nodes: most_values, max_documents: MOST_DOCUMENTS },
    };
    let nodes: Vec<Spanned<Node>> = serde_saphyr::from_multiple_with_options(&file.text, options)
        .map_err(|error| vec![syntax_error(file, &error, most_values)])?;
    let mut faults = Vec::new();
    let mut indices = Vec::new();
    for node in &nodes {
        let mut index = Index { file, spans: HashMap::new(), faults: &mut faults };
        index.walk(node, None, &mut Vec::new());
        indices.push(index.spans);
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut values = Vec::new();
    for document in serde_yaml::Deserializer::from_str(&file.text) {
        let value = serde_yaml::Value::deserialize(document).map_err(|error| {
            let at = error.location().map_or(0, |location| location.index());
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or_default();
            vec![file.error(at..at, format!("this is no YAML that can be used: {message}"))]
        })?;
        if !value.is_null() {
            values.push(value);
        }
    }
    if values.len() != indices.len() {
        // The parsers disagree on what a document is: values still count, places are unknown.
        indices.resize_with(values.len(), HashMap::new);
    }
    let mut documents = Vec::new();
    for (value, spans) in values.into_iter().zip(indices) {
        let mut document = Document { file, value: Value::Null, spans };
        match to_json(value, &mut Vec::new()) {
            Ok(value) => document.value = value,
            Err((path, message)) => faults.push(document.error(&path, message)),
        }
        documents.push(document);
    }
    if faults.is_empty() { Ok(documents) } else { Err(faults) }
}

fn syntax_error(file: &SourceFile, error: &serde_saphyr::Error, most_values: usize) -> Diagnostic {
    let at = error.location().and_then(|location| file.bytes(location)).map_or(0..0, |span| span.start..span.start);
    let message = error.render_with_formatter(&serde_saphyr::DefaultMessageFormatter);
    let message = message.split(" at line ").next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    if message.starts_with("budget breached: Nodes") {
        let message = format!("the file is too large: at most {most_values} keys and values are read");
        return file.error(at, message).hint("split it into several files");
    }
    if message.starts_with("budget breached: Documents") {
        let message = format!("the file is too large: at most {MOST_DOCUMENTS} documents are read");
        return file.error(at, message).hint("split it into several files");
    }
    let diagnostic = file.error(at.clone(), format!("this is no YAML that can be used: {message}"));
    let line = file.text.get(..at.start).map_or(0, |before| before.rfind('\n').map_or(0, |newline| newline + 1));
    if file.text[line..].chars().take_while(|c| *c == ' ' || *c == '\t').any(|c| c == '\t') {
        diagnostic.hint("YAML is indented with spaces, never with tabs")
    } else {
        diagnostic
    }
}

struct Index<'a> {
    file: &'a SourceFile,
    spans: HashMap<Vec<Segment>, Spans>,
    faults: &'a mut Vec<Diagnostic>,
}

impl Index<'_> {
    /// Notes the places of a value and of all inside it.
    fn walk(&mut self, node: &Spanned<Node>, key: Option<Range<usize>>, path: &mut Vec<Segment>) {
        let own = self.file.bytes(node.referenced).filter(|span| !span.is_empty());
        let first_key = match &node.value {
            Node::Map(entries) => entries.first().and_then(|(key, _)| self.file.bytes(key.referenced)),
            _ => None,
        };
        // A mapping has no extent of its own: its key stands for it, and in a list its first key.
        let value = match &node.value {
            Node::Scalar => own,
            Node::Map(_) | Node::Seq(_) => key.clone().or(first_key).or(own),
        };
        self.spans.insert(path.clone(), Spans { key, value });
        match &node.value {
            Node::Scalar => {}
            Node::Seq(items) => {
                for (index, item) in items.iter().enumerate() {
                    path.push(Segment::Index(index));
                    self.walk(item, None, path);
                    path.pop();
                }
            }
            Node::Map(entries) => {
                let mut seen = BTreeSet::new();
                for (key, value) in entries {
                    let span = self.file.bytes(key.referenced);
                    if !seen.insert(key.value.0.as_str()) && !enough(self.faults) {
                        let fault = self.file.error(
                            span.clone().unwrap_or_default(),
                            format!("the key `{}` is here for the second time", key.value.0),
                        );
                        self.faults.push(fault.hint("only one of them can count; remove the other"));
                    }
                    path.push(Segment::Key(key.value.0.clone()));
                    self.walk(value, span, path);
                    path.pop();
                }
            }
        }
    }
}

fn to_json(value: serde_yaml::Value, path: &mut Vec<Segment>) -> Result<Value, (Vec<Segment>, String)> {
    use serde_yaml::Value as Yaml;
    Ok(match value {
        Yaml::Null => Value::Null,
        Yaml::Bool(value) => Value::Bool(value),
        Yaml::String(value) => Value::String(value),
        Yaml::Number(number) => serde_json::to_value(&number)
            .ok()
            .filter(Value::is_number)
            .ok_or_else(|| (path.clone(), format!("`{number}` is no number that JSON knows")))?,
        Yaml::Sequence(items) => {
            let mut array = Vec::with_capacity(items.len());
            for (index, item) in items.into_iter().enumerate() {
                path.push(Segment::Index(index));
                array.push(to_json(item, path)?);
                path.pop();
            }
            Value::Array(array)
        }
        Yaml::Mapping(entries) => {
            let mut object = serde_json::Map::new();
            for (key, value) in entries {
                let key = match key {
                    Yaml::String(key) => key,
                    Yaml::Number(key) => key.to_string(),
                    Yaml::Bool(key) => key.to_string(),
                    Yaml::Null => return Err((path.clone(), "a key is empty".to_owned())),
                    _ => return Err((path.clone(), "a key must be a plain word".to_owned())),
                };
                path.push(Segment::Key(key.clone()));
                let value = to_json(value, path)?;
                path.pop();
                object.insert(key, value);
            }
            Value::Object(object)
        }
        Yaml::Tagged(tagged) => {
            return Err((path.clone(), format!("tags such as `{}` have no meaning here", tagged.tag)));
        }
    })
}
