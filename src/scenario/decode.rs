//! A document as a type, with every fault in it: after each fault the value that has it is taken out and the rest is
//! tried again.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    Diagnostic,
    diagnostic::nearest,
    document::{Document, Segment, dotted},
};

/// How many faults of one document are looked for.
const MOST_FAULTS: usize = 50;

/// Reads a type from a document. Faults are added to `faults`; with faults the value, where there is one, lacks what
/// was faulty. `schema` is asked for the fields that a type has, for hints.
pub(crate) fn decode<T: DeserializeOwned>(
    document: &Document<'_>,
    schema: impl Fn() -> Value,
    faults: &mut Vec<Diagnostic>,
) -> Option<T> {
    let mut repair = Repair { document, value: document.value.clone(), removed: BTreeSet::new() };
    let mut schema_value = None;
    for _ in 0..MOST_FAULTS {
        let mut unknown = Vec::new();
        match attempt::<T>(repair.value.clone(), &mut unknown) {
            Ok(value) => {
                for path in unknown.into_iter().take(MOST_FAULTS) {
                    let schema = schema_value.get_or_insert_with(&schema);
                    let (field, parent) = match path.split_last() {
                        Some((Segment::Key(field), parent)) => (field.clone(), parent),
                        _ => continue,
                    };
                    let known = Shape::at(schema, parent).fields;
                    let path = repair.original(&path);
                    faults.push(unknown_field(document, &path, &field, known.iter().map(String::as_str)));
                }
                return Some(value);
            }
            Err((path, message)) => {
                let shape = || Shape::at(schema_value.get_or_insert_with(&schema), &path);
                if !repair.take(&path, &message, shape, faults) {
                    return None;
                }
            }
        }
    }
    None
}

/// One try. Unknown fields that the type would swallow are noted.
fn attempt<T: DeserializeOwned>(value: Value, unknown: &mut Vec<Vec<Segment>>) -> Result<T, (Vec<Segment>, String)> {
    let mut note = |path: serde_ignored::Path<'_>| unknown.push(from_ignored(&path));
    let mut track = serde_path_to_error::Track::new();
    let ignoring = serde_ignored::Deserializer::new(value, &mut note);
    let result = T::deserialize(serde_path_to_error::Deserializer::new(ignoring, &mut track));
    result.map_err(|error| {
        let path = track.path();
        let segments = path.iter().filter_map(|segment| match segment {
            serde_path_to_error::Segment::Seq { index } => Some(Segment::Index(*index)),
            serde_path_to_error::Segment::Map { key } => Some(Segment::Key(key.clone())),
            serde_path_to_error::Segment::Enum { .. } | serde_path_to_error::Segment::Unknown => None,
        });
        (segments.collect(), error.to_string())
    })
}

fn from_ignored(path: &serde_ignored::Path<'_>) -> Vec<Segment> {
    use serde_ignored::Path;
    match path {
        Path::Root => Vec::new(),
        Path::Seq { parent, index } => push(from_ignored(parent), Segment::Index(*index)),
        Path::Map { parent, key } => push(from_ignored(parent), Segment::Key(key.clone())),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            from_ignored(parent)
        }
    }
}

fn push(mut path: Vec<Segment>, segment: Segment) -> Vec<Segment> {
    path.push(segment);
    path
}

struct Repair<'a> {
    document: &'a Document<'a>,
    /// What is left of the document.
    value: Value,
    /// What was taken out, by its path in the document.
    removed: BTreeSet<Vec<Segment>>,
}

impl Repair<'_> {
    /// Reports a fault and takes its value out; `false` where nothing is left to try.
    fn take(
        &mut self,
        path: &[Segment],
        message: &str,
        shape: impl FnOnce() -> Shape,
        faults: &mut Vec<Diagnostic>,
    ) -> bool {
        let words: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
        let field = words.first().copied().unwrap_or_default();
        if message.starts_with("unknown field") {
            let mut path = path.to_vec();
            if path.last() != Some(&Segment::from(field)) || self.get(&path).is_none() {
                path.push(Segment::from(field));
            }
            let place = self.original(&path);
            faults.push(unknown_field(self.document, &place, field, words[1..].iter().copied()));
            return self.remove(&path);
        }
        let place = self.original(path);
        if message.starts_with("missing field") {
            let taken = push(place.clone(), Segment::from(field));
            if !self.removed.contains(&taken) {
                let fault = self.document.error_at_key(&place, format!("the field `{field}` is missing{}", of(&place)));
                faults.push(fault);
            }
        } else {
            faults.push(wrong_value(self.document, &place, message, &words, shape));
        }
        self.remove(path)
    }

    fn get(&self, path: &[Segment]) -> Option<&Value> {
        path.iter().try_fold(&self.value, |value, segment| match segment {
            Segment::Key(key) => value.get(key),
            Segment::Index(index) => value.get(index),
        })
    }

    fn remove(&mut self, path: &[Segment]) -> bool {
        let place = self.original(path);
        let Some((last, parent)) = path.split_last() else { return false };
        let target = parent.iter().try_fold(&mut self.value, |value, segment| match segment {
            Segment::Key(key) => value.get_mut(key),
            Segment::Index(index) => value.get_mut(index),
        });
        let done = match (target, last) {
            (Some(Value::Object(object)), Segment::Key(key)) => object.remove(key).is_some(),
            (Some(Value::Array(array)), Segment::Index(index)) if *index < array.len() => {
                array.remove(*index);
                true
            }
            _ => false,
        };
        if done { self.removed.insert(place) } else { false }
    }

    /// The path in the document of a path in what is left of it.
    fn original(&self, path: &[Segment]) -> Vec<Segment> {
        path.iter().fold(Vec::new(), |parent, segment| {
            let Segment::Index(index) = segment else { return push(parent, segment.clone()) };
            let mut index = *index;
            for taken in &self.removed {
                if let Some((Segment::Index(gone), rest)) = taken.split_last()
                    && rest == parent.as_slice()
                    && *gone <= index
                {
                    index += 1;
                }
            }
            push(parent, Segment::Index(index))
        })
    }
}

/// ` of PARENT`, or nothing at the top.
fn of(path: &[Segment]) -> String {
    if path.is_empty() { String::new() } else { format!(" in `{}`", dotted(path)) }
}

fn unknown_field<'k>(
    document: &Document<'_>,
    path: &[Segment],
    field: &str,
    known: impl Iterator<Item = &'k str> + Clone,
) -> Diagnostic {
    let parent = path.split_last().map_or(&[][..], |(_, parent)| parent);
    let fault = document.error_at_key(path, format!("unknown field `{field}`{}", of(parent)));
    if field == "<<" {
        return fault.hint("merge keys are not supported; write the fields out");
    }
    if let Some(name) = nearest(field, known.clone()) {
        return fault.hint(format!("did you mean `{name}`?"));
    }
    match known_fields(known) {
        Some(hint) => fault.hint(hint),
        None => fault,
    }
}

fn known_fields<'k>(known: impl Iterator<Item = &'k str>) -> Option<String> {
    let known: Vec<String> = known.map(|name| format!("`{name}`")).collect();
    (!known.is_empty()).then(|| format!("known fields: {}", known.join(", ")))
}

fn wrong_value(
    document: &Document<'_>,
    path: &[Segment],
    message: &str,
    words: &[&str],
    shape: impl FnOnce() -> Shape,
) -> Diagnostic {
    let name = if path.is_empty() { "the file".to_owned() } else { format!("`{}`", dotted(path)) };
    if message.starts_with("unknown variant") {
        let known = &words[1.min(words.len())..];
        let fault = document.error(path, format!("{name} cannot be `{}`", words.first().unwrap_or(&"")));
        return match nearest(words.first().unwrap_or(&""), known.iter().copied()) {
            Some(near) => fault.hint(format!("did you mean `{near}`?")),
            None => fault.hint(format!("one of: {}", known.join(", "))),
        };
    }
    let message = message
        .replace("unit value", "nothing")
        .replace("expected u16", "expected a number from 0 to 65535")
        .replace("expected i32", "expected a whole number")
        .replace("expected a map", "expected a mapping")
        .replace("map, expected", "mapping, expected")
        .replace("sequence", "list")
        .replace("null, expected", "nothing, expected");
    let mapping = message.split_once("expected struct ").map(|(found, _)| format!("{found}expected a mapping"));
    let (message, shape) = match mapping {
        Some(message) => (message, Some(shape())),
        None => (message, None),
    };
    let fault = document.error(path, format!("{name}: {message}"));
    match document.get(path) {
        Some(Value::Number(_) | Value::Bool(_)) if message.contains("expected a string") => {
            fault.hint("put the value in quotes")
        }
        Some(Value::Null) => fault.hint("write a value, or remove the key"),
        value => match shape.and_then(|shape| shape.instead_of(value)) {
            Some(hint) => fault.hint(hint),
            None => fault,
        },
    }
}

/// What a JSON Schema has at a path.
#[derive(Default)]
struct Shape {
    fields: Vec<String>,
    /// Those without which there is nothing.
    required: Vec<String>,
}

impl Shape {
    fn at(schema: &Value, path: &[Segment]) -> Self {
        let mut at = vec![schema];
        for segment in path {
            let inner: Vec<&Value> = at.iter().flat_map(|node| variants(schema, node)).collect();
            at = inner
                .iter()
                .filter_map(|node| match segment {
                    Segment::Key(key) => {
                        node.get("properties").and_then(|all| all.get(key)).or(node.get("additionalProperties"))
                    }
                    Segment::Index(_) => node.get("items"),
                })
                .collect();
        }
        let mut shape = Self::default();
        for node in at.iter().flat_map(|node| variants(schema, node)) {
            let fields = node.get("properties").and_then(Value::as_object);
            shape.fields.extend(fields.into_iter().flat_map(|all| all.keys().cloned()));
            let required = node.get("required").and_then(Value::as_array).into_iter().flatten();
            shape.required.extend(required.filter_map(Value::as_str).map(str::to_owned));
        }
        shape
    }

    /// What to write in place of a value that is no mapping.
    fn instead_of(&self, value: Option<&Value>) -> Option<String> {
        match (value, self.required.as_slice()) {
            (Some(scalar @ (Value::Number(_) | Value::Bool(_) | Value::String(_))), [only]) => {
                // As JSON: a text that looks like a number is none in YAML either.
                Some(format!("write `{{ {only}: {scalar} }}`"))
            }
            _ => known_fields(self.fields.iter().map(String::as_str)),
        }
    }
}

/// A schema, with what it refers to and what it may be.
fn variants<'a>(root: &'a Value, node: &'a Value) -> Vec<&'a Value> {
    let mut found = vec![node];
    let mut next = 0;
    while next < found.len() && found.len() < 16 {
        let node = found[next];
        let target = node.get("$ref").and_then(Value::as_str).and_then(|to| root.pointer(to.strip_prefix('#')?));
        found.extend(target);
        for word in ["allOf", "anyOf", "oneOf"] {
            found.extend(node.get(word).and_then(Value::as_array).into_iter().flatten());
        }
        next += 1;
    }
    found
}
