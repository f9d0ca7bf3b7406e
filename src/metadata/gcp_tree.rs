//! The shape of Google's metadata: directories and values, and their forms: listing, text and JSON.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::query::Query;

/// A directory or a value.
pub(super) struct Node {
    kind: Kind,
    /// Whether the directory's listing names it.
    listed: bool,
    /// Whether a recursive answer holds it: credentials have to be asked for one by one.
    recursed: bool,
}

/// A value in the form in which it is sent.
pub(super) struct Form {
    pub(super) content_type: &'static str,
    pub(super) body: String,
}

impl Form {
    pub(super) const TEXT: &str = "application/text";
    const JSON: &str = "application/json";
}

/// Makes identity tokens: for an audience, with details or without.
pub(super) struct Identity<'a> {
    pub(super) token: &'a dyn Fn(&str, bool) -> String,
}

/// Why a query does not fit what it asks for.
pub(super) enum Unfit {
    /// The form does not exist for this.
    Malformed,
    /// An identity without an audience.
    NoAudience,
}

impl Unfit {
    pub(super) const NO_AUDIENCE: &str = "non-empty audience parameter required";
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

    /// Whether everything here is switched off.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.kind, Kind::GuestAttributes)
    }

    /// Changes a value, or adds one to a directory whose names are the user's; what is wrong with that, if so.
    pub(super) fn set(&mut self, path: &[String], value: &str) -> Result<(), String> {
        let none = || format!("there is no value `{}` that could be changed", path.join("/"));
        let Some((name, parents)) = path.split_last() else { return Err(none()) };
        let parent = parents.iter().try_fold(self, |node, name| match &mut node.kind {
            Kind::Directory(entries) | Kind::Verbatim(entries) => entries.get_mut(name),
            Kind::Numbered(entries) => entries.get_mut(name.parse::<usize>().ok()?),
            _ => None,
        });
        let (entries, is_open) = match parent.map(|parent| &mut parent.kind) {
            Some(Kind::Verbatim(entries)) => (entries, true),
            Some(Kind::Directory(entries)) => (entries, false),
            _ => return Err(none()),
        };
        match entries.get_mut(name).map(|node| &mut node.kind) {
            Some(Kind::Text(old)) => *old = value.into(),
            Some(Kind::Json(old)) => *old = serde_json::from_str(value).map_err(|error| error.to_string())?,
            None if is_open => _ = entries.insert(name.clone(), text(value)),
            _ => return Err(none()),
        }
        Ok(())
    }

    /// The value or the directory, as a query asks for it.
    pub(super) fn form(&self, query: &Query, identity: &Identity<'_>) -> Result<Form, Unfit> {
        let (alt, recursive) = (query.get("alt"), query.is_set("recursive"));
        if self.is_directory() && !recursive && (alt.is_some() || query.is_set("wait_for_change")) {
            return Err(Unfit::Malformed);
        }
        let (content_type, body) = match &self.kind {
            Kind::Identity => {
                let audience = query.some("audience").ok_or(Unfit::NoAudience)?;
                (Form::TEXT, (identity.token)(audience, query.get("format") == Some("full")))
            }
            Kind::Text(value) if alt == Some("json") => (Form::JSON, value.to_string()),
            Kind::Json(value) if alt != Some("text") => (Form::JSON, value.to_string()),
            Kind::Text(value) | Kind::Json(value) => (Form::TEXT, as_text(value)),
            _ if !recursive => (Form::TEXT, self.listing()),
            _ if alt == Some("text") => (Form::TEXT, self.lines()),
            _ => (Form::JSON, self.json().to_string()),
        };
        Ok(Form { content_type, body })
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
    fn listing(&self) -> String {
        let listed = self.children().into_iter().filter(|(_, node)| node.listed);
        listed.map(|(name, node)| name + if node.is_directory() { "/\n" } else { "\n" }).collect()
    }

    /// Everything below, as JSON.
    fn json(&self) -> Value {
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
    fn lines(&self) -> String {
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
fn as_text(value: &Value) -> String {
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
