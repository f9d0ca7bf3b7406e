//! Which scenarios a command line means.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use include_dir::Dir;

use super::{
    Diagnostic, Diagnostics, LoadedScenario,
    diagnostic::nearest,
    files::{SHIPPED, is_yaml},
    load::{finish, load_path, shipped, shipped_by_id, shipped_pack},
};

/// The scenarios that words mean: paths of files and folders, and ids, packs (folders) and tags of shipped scenarios.
/// Without words all shipped ones. A scenario that is meant twice is returned once.
pub fn select(words: &[String]) -> Result<Vec<LoadedScenario>, Diagnostics> {
    if words.is_empty() {
        return Ok(shipped().to_vec());
    }
    let mut found: Vec<LoadedScenario> = Vec::new();
    let mut faults = Vec::new();
    let mut seen: BTreeSet<(PathBuf, String)> = BTreeSet::new();
    for word in words {
        let path = Path::new(word);
        if word.is_empty() {
            // An empty path is every folder's beginning: it would mean all that is shipped.
            let fault = Diagnostic::error("", "the path is empty");
            faults.push(fault.hint("leave it out for every shipped scenario, or name a file or folder"));
            continue;
        }
        let selected = if path.symlink_metadata().is_ok() {
            load_path(path)
        } else if let Some(loaded) = shipped_by_id(word) {
            Ok(vec![loaded])
        } else if let Some(pack) = shipped_pack(word) {
            Ok(pack)
        } else {
            let matching: Vec<_> = shipped().iter().filter(|loaded| answers_to(loaded, word)).cloned().collect();
            if matching.is_empty() { Err(unknown(word).into()) } else { Ok(matching) }
        };
        match selected {
            Ok(selected) => {
                found.extend(selected.into_iter().filter(|loaded| {
                    let place = if loaded.shipped { None } else { loaded.path.canonicalize().ok() };
                    // A shipped scenario has no place on the disk that could be the same.
                    let place = place.unwrap_or_else(|| Path::new("shipped:").join(&loaded.path));
                    seen.insert((place, loaded.scenario.id.clone()))
                }));
            }
            Err(more) => faults.extend(more.0),
        }
    }
    finish(found, faults)
}

/// The folders of a shipped scenario, the innermost last: its pack, and where it has one its family.
#[must_use]
pub fn packs(loaded: &LoadedScenario) -> Vec<&str> {
    let folders = loaded.path.parent().into_iter().flat_map(Path::components).skip(1);
    folders.filter_map(|folder| folder.as_os_str().to_str()).collect()
}

fn answers_to(loaded: &LoadedScenario, word: &str) -> bool {
    loaded.scenario.id == word || loaded.scenario.tags.iter().any(|tag| tag == word)
}

fn unknown(word: &str) -> Diagnostic {
    let looks_like_path = word.contains(['/', '\\']) || is_yaml(Path::new(word));
    if looks_like_path {
        let fault = Diagnostic::error(word, "there is no such file or folder");
        // By the folders alone: whoever has mistyped a path of their own need not wait until all that is shipped is read.
        let folders = SHIPPED.dirs().flat_map(Dir::dirs).filter_map(|family| family.path().to_str());
        return match nearest(word, folders) {
            Some(near) => fault.hint(format!("did you mean `{near}`, which is shipped?")),
            None => fault,
        };
    }
    let known: BTreeSet<&str> = shipped()
        .iter()
        .flat_map(|loaded| {
            std::iter::once(loaded.scenario.id.as_str())
                .chain(packs(loaded))
                .chain(loaded.scenario.tags.iter().map(String::as_str))
        })
        .collect();
    let fault = Diagnostic::error("", format!("`{word}` is no file or folder, and no shipped scenario, pack or tag"));
    match nearest(word, known.iter().copied()) {
        Some(near) => fault.hint(format!("did you mean `{near}`?")),
        None => fault.hint("`policyprobe list` shows what there is"),
    }
}
