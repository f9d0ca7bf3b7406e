//! The shape of Google's metadata: directories and values, and their forms: listing, text and JSON.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A directory or a value.
pub(super) struct Node {
    pub(super) kind: Kind,
    /// Whether the directory's listing names it.
    listed: bool,
    /// Whether a recursive answer holds it: credentials have to be asked for one by one.
    recursed: bool,
}

/// What a node is.
pub(super) enum Kind {
    /// A directory whose names are the API's: JSON has them in camel case.
    Directory(BTreeMap<String, Node>),
    /// A directory whose names are the user's: JSON has them as they are.
    Verbatim(BTreeMap<String, Node>),
    /// A directory whose names are numbers: JSON has an array.
    Numbered(Vec<Node>),
    /// A value that is text unless JSON is asked for.
    Text(Value),
    /// A value that is JSON unless text is asked for.
    Json(Value),
    /// The signed identity, made for each audience.
    Identity,
    /// The guest attributes, which are switched off.
    GuestAttributes,
}

pub(super) fn directory<const N: usize>(entries: [(&str, Node); N]) -> Node {
    Kind::Directory(named(entries)).into()
}

pub(super) fn verbatim<const N: usize>(entries: [(&str, Node); N]) -> Node {
    Kind::Verbatim(named(entries)).into()
}

pub(super) fn numbered<const N: usize>(entries: [Node; N]) -> Node {
    Kind::Numbered(entries.into()).into()
}

pub(super) fn text(value: impl Into<Value>) -> Node {
    Kind::Text(value.into()).into()
}

fn named<const N: usize>(entries: [(&str, Node); N]) -> BTreeMap<String, Node> {
    entries.into_iter().map(|(name, node)| (name.to_owned(), node)).collect()
}

impl From<Kind> for Node {
    fn from(kind: Kind) -> Self {
        Self { kind, listed: true, recursed: true }
    }
}

impl Node {
    /// Leaves it out of recursive answers.
    pub(super) fn credential(self) -> Self {
        Self { recursed: false, ..self }
    }

    /// Leaves it out of recursive answers and of the listing.
    pub(super) fn unlisted(self) -> Self {
        Self { listed: false, recursed: false, ..self }
    }

    pub(super) fn is_directory(&self) -> bool {
        matches!(self.kind, Kind::Directory(_) | Kind::Verbatim(_) | Kind::Numbered(_) | Kind::GuestAttributes)
    }

    /// The node at the end of these names.
    pub(super) fn find<'a>(&self, mut path: impl Iterator<Item = &'a str>) -> Option<&Self> {
        path.try_fold(self, |node, name| match &node.kind {
            Kind::Directory(entries) | Kind::Verbatim(entries) => entries.get(name),
            Kind::Numbered(entries) => entries.get(name.parse::<usize>().ok().filter(|n| n.to_string() == name)?),
            // Whatever is below is answered as the directory is.
            Kind::GuestAttributes => Some(node),
            Kind::Text(_) | Kind::Json(_) | Kind::Identity => None,
        })
    }

    fn children(&self) -> Vec<(String, &Self)> {
        match &self.kind {
            Kind::Directory(entries) | Kind::Verbatim(entries) => {
                entries.iter().map(|(name, node)| (name.clone(), node)).collect()
            }
            Kind::Numbered(entries) => entries.iter().enumerate().map(|(n, node)| (n.to_string(), node)).collect(),
            Kind::GuestAttributes | Kind::Text(_) | Kind::Json(_) | Kind::Identity => Vec::new(),
        }
    }

    /// A line for each child, directories with a slash.
    pub(super) fn listing(&self) -> String {
        let listed = self.children().into_iter().filter(|(_, node)| node.listed);
        listed.map(|(name, node)| name + if node.is_directory() { "/\n" } else { "\n" }).collect()
    }

    /// Everything below, as JSON.
    pub(super) fn json(&self) -> Value {
        let recursed = self.children().into_iter().filter(|(_, node)| node.recursed);
        match &self.kind {
            Kind::Directory(_) => {
                recursed.map(|(name, node)| (camel(&name), node.json())).collect::<Map<_, _>>().into()
            }
            Kind::Verbatim(_) => recursed.map(|(name, node)| (name, node.json())).collect::<Map<_, _>>().into(),
            Kind::Numbered(_) => recursed.map(|(_, node)| node.json()).collect(),
            Kind::GuestAttributes => Value::Object(Map::new()),
            Kind::Text(value) | Kind::Json(value) => value.clone(),
            Kind::Identity => Value::Null,
        }
    }

    /// Everything below, a line a value: its path from here and its text.
    pub(super) fn lines(&self) -> String {
        let mut lines = String::new();
        self.add_lines("", &mut lines);
        lines
    }

    fn add_lines(&self, path: &str, lines: &mut String) {
        match &self.kind {
            Kind::Text(value) | Kind::Json(value) => lines.extend([path, " ", &as_text(value), "\n"]),
            _ => {
                for (name, node) in self.children().into_iter().filter(|(_, node)| node.recursed) {
                    let separator = if path.is_empty() { "" } else { "/" };
                    node.add_lines(&format!("{path}{separator}{name}"), lines);
                }
            }
        }
    }
}

/// A value as text: lists a line an item, strings without quotes.
pub(super) fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(as_text).collect::<Vec<_>>().join("\n"),
        other => other.to_string(),
    }
}

fn camel(name: &str) -> String {
    let mut words = name.split('-');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let (first, rest) = word.split_at(usize::from(!word.is_empty()));
        camel.extend([first.to_uppercase().as_str(), rest]);
    }
    camel
}
