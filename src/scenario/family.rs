//! A file with several scenarios: one `shared:` document, and then scenarios and the manifests that they apply, each a
//! document of its own. Here a scenario takes over what is shared.

use std::path::Path;

use serde_json::Value;

use super::{
    Diagnostic,
    document::{Document, Segment, at_path, parse},
    files::Origin,
};

/// The field that makes a document the shared one.
pub(super) const SHARED: &str = "shared";

/// What scenarios of a file have in common, as fields of a scenario.
pub(super) type Shared = serde_json::Map<String, Value>;

/// How many files may take over from one another.
const MOST_FILES: usize = 8;

/// Reads the shared document of a file, with that of the file that it is `from`.
pub(super) fn read(document: &Document<'_>, origin: Origin, file: &Path, faults: &mut Vec<Diagnostic>) -> Shared {
    let Some(Value::Object(shared)) = document.value.get(SHARED) else {
        faults.push(document.error(&at_path![[]; SHARED], "`shared` is a mapping of a scenario's fields"));
        return Shared::new();
    };
    let mut shared = shared.clone();
    let others = document.value.as_object().into_iter().flat_map(|object| object.keys());
    for other in others.filter(|key| *key != SHARED) {
        let fault = document.error_at_key(&at_path![[]; other.as_str()], format!("unknown field `{other}`"));
        faults.push(fault.hint("`shared:` is a document of its own: put `---` behind it"));
    }
    let mut from = shared.remove("from").map(|from| (from, file.to_owned()));
    for _ in 0..MOST_FILES {
        let Some((name, beside)) = from.take() else { return shared };
        let at = at_path![[]; SHARED, "from"];
        let Some(name) = name.as_str() else {
            faults.push(document.error(&at, "`from` is the name of a file"));
            return shared;
        };
        let path = normal(&beside.parent().unwrap_or(Path::new("")).join(name));
        let outer = origin.read(&path).map_err(|fault| fault.message).and_then(|source| {
            let documents =
                parse(&source).map_err(|found| found.first().map_or_else(String::new, |it| it.message.clone()))?;
            let shared = documents.first().and_then(|first| first.value.get(SHARED)).and_then(Value::as_object);
            shared.cloned().ok_or_else(|| "its first document is no `shared:`".to_owned())
        });
        match outer {
            Ok(mut outer) => {
                from = outer.remove("from").map(|from| (from, path));
                merge(&mut shared, &outer);
            }
            Err(why) => faults.push(document.error(&at, format!("`{name}` cannot be used: {why}"))),
        }
    }
    if from.is_some() {
        faults.push(
            document
                .error(&at_path![[]; SHARED, "from"], format!("more than {MOST_FILES} files are `from` one another")),
        );
    }
    shared
}

/// Shipped files have no folders to go up in.
fn normal(path: &Path) -> std::path::PathBuf {
    path.components().fold(std::path::PathBuf::new(), |mut path, part| {
        match part {
            std::path::Component::ParentDir if path.file_name().is_some() => _ = path.pop(),
            part => path.push(part),
        }
        path
    })
}

/// Adds what is shared to a scenario's own fields. Its own texts win; lists and mappings are joined, its own part first;
/// steps that are shared come before its own.
pub(super) fn inherit(document: &mut Document<'_>, shared: &Shared) {
    let Value::Object(own) = &mut document.value else { return };
    let mut shared = shared.clone();
    let first = match shared.remove("steps") {
        Some(Value::Array(steps)) => steps,
        _ => Vec::new(),
    };
    merge(own, &shared);
    if let Some(Value::Array(steps)) = own.get_mut("steps") {
        let count = first.len();
        steps.splice(0..0, first);
        document.shift(&[Segment::from("steps")], count);
    }
}

fn merge(own: &mut Shared, shared: &Shared) {
    for (key, value) in shared {
        match (own.get_mut(key), value) {
            (None, value) => _ = own.insert(key.clone(), value.clone()),
            (Some(Value::Array(own)), Value::Array(more)) => {
                let more = more.iter().filter(|more| !own.contains(more)).cloned().collect::<Vec<_>>();
                own.extend(more);
            }
            (Some(Value::Object(own)), Value::Object(more)) => merge(own, more),
            _ => {}
        }
    }
}
