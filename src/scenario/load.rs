//! From files to checked scenarios: one file, or all below a folder.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

use super::{
    Diagnostic, Diagnostics, LoadedScenario, Scenario, Severity,
    check::{self, Context},
    decode::decode,
    diagnostic::{enough, nearest},
    document::{Document, at_path, parse},
    files::{self, Origin, SHIPPED},
    manifest::{self, Strictness},
    schema::json_schema,
};

/// Loads a scenario file, or every scenario below a folder. In a folder a YAML file with `apiVersion` and `kind` is a
/// manifest, and every other one is taken to be a scenario.
pub fn load_path(path: &Path) -> Result<Vec<LoadedScenario>, Diagnostics> {
    let mut faults = Vec::new();
    let mut found = Vec::new();
    if path.is_dir() {
        for file in files::yaml_files(path, &mut faults) {
            found.extend(load_file(&file, Origin::Disk, true, &mut faults));
        }
        if found.is_empty() && faults.is_empty() {
            let fault = Diagnostic::error(path, "there is no scenario in this folder");
            faults.push(
                fault.hint("scenarios are files named `*.yaml`; `policyprobe init DIR` writes some to begin with"),
            );
        }
    } else {
        found.extend(load_file(path, Origin::Disk, false, &mut faults));
    }
    finish(found, faults)
}

/// The scenarios that came with the binary.
///
/// # Panics
/// Never in a released binary: a test loads them.
#[must_use]
pub fn shipped() -> &'static [LoadedScenario] {
    static ALL: LazyLock<Vec<LoadedScenario>> = LazyLock::new(|| {
        let mut faults = Vec::new();
        let files: BTreeSet<PathBuf> = shipped_files().collect();
        let found =
            files.iter().filter_map(|file| load_file(file, Origin::Shipped, true, &mut faults)).collect::<Vec<_>>();
        finish(found, faults).unwrap_or_else(|faults| panic!("the shipped scenarios have faults:\n{faults}"))
    });
    &ALL
}

/// One shipped scenario by its id, without reading the others: `lab` has no time for them. A shipped scenario's file is
/// named by its id, which a test sees to.
#[must_use]
pub(super) fn shipped_by_id(id: &str) -> Option<LoadedScenario> {
    let file = shipped_files().find(|file| file.file_stem().is_some_and(|stem| stem == id))?;
    load_file(&file, Origin::Shipped, true, &mut Vec::new())
}

fn shipped_files() -> impl Iterator<Item = PathBuf> {
    let files = SHIPPED.dirs().flat_map(include_dir::Dir::files).map(|file| Path::new("scenarios").join(file.path()));
    files.filter(|path| files::is_yaml(path))
}

/// Ends a load: all scenarios, or all faults with the warnings of scenarios that are right in themselves.
pub(super) fn finish(
    found: Vec<LoadedScenario>,
    mut faults: Vec<Diagnostic>,
) -> Result<Vec<LoadedScenario>, Diagnostics> {
    faults.extend(duplicate_ids(&found));
    if faults.is_empty() {
        return Ok(found);
    }
    faults.extend(found.into_iter().flat_map(|scenario| scenario.warnings));
    Err(Diagnostics(faults).tidy())
}

fn duplicate_ids(found: &[LoadedScenario]) -> Vec<Diagnostic> {
    let mut first: BTreeMap<&str, &LoadedScenario> = BTreeMap::new();
    let mut faults = Vec::new();
    for loaded in found {
        let id = loaded.scenario.id.as_str();
        if let Some(earlier) = first.get(id) {
            let place = |loaded: &LoadedScenario| {
                let origin = if loaded.shipped { Origin::Shipped } else { Origin::Disk };
                let file = origin.read(&loaded.path).ok()?;
                let at = parse(&file).ok()?.first()?.error(&at_path![[]; "id"], "").place?;
                Some(at)
            };
            let mut fault = Diagnostic::error(&loaded.path, format!("the id `{id}` is taken"));
            fault.place = place(loaded);
            let other = Diagnostic { place: place(earlier), ..Diagnostic::error(&earlier.path, "") };
            let whose = if earlier.shipped { " (shipped)" } else { "" };
            faults.push(
                fault.hint(format!(
                    "it is also the id of {}{whose}; reports tell scenarios apart by it",
                    other.location()
                )),
            );
        } else {
            first.insert(id, loaded);
        }
    }
    faults
}

/// Loads one file. `in_folder`: manifests are passed over. Errors are added to `faults`; without an error the scenario
/// is returned, with its warnings.
pub(super) fn load_file(
    file: &Path,
    origin: Origin,
    in_folder: bool,
    faults: &mut Vec<Diagnostic>,
) -> Option<LoadedScenario> {
    let mut found = Vec::new();
    let loaded = load_document(file, origin, in_folder, &mut found);
    match loaded {
        Some(mut loaded) if found.iter().all(|fault| fault.severity == Severity::Warning) => {
            loaded.warnings = Diagnostics(found).tidy().0;
            Some(loaded)
        }
        _ => {
            faults.extend(found);
            None
        }
    }
}

fn load_document(file: &Path, origin: Origin, in_folder: bool, faults: &mut Vec<Diagnostic>) -> Option<LoadedScenario> {
    let source = origin.read(file).map_err(|fault| faults.push(fault)).ok()?;
    let documents = parse(&source).map_err(|found| faults.extend(found)).ok()?;
    let Some(document) = documents.first() else {
        faults.push(
            Diagnostic::error(file, "the file is empty").hint("a scenario has at least `id`, `title` and `steps`"),
        );
        return None;
    };
    if document.value.get("apiVersion").is_some() && document.value.get("kind").is_some() {
        if !in_folder {
            let fault =
                document.error_at_key(&at_path![[]; "kind"], "this is a Kubernetes manifest, and a scenario is meant");
            faults.push(fault.hint("a scenario names its manifests under `apply:`"));
        }
        return None;
    }
    let half = ["apiVersion", "kind"].into_iter().find(|key| document.value.get(key).is_some());
    if let (Some(there), None) = (half, document.value.get("steps")) {
        let missing = if there == "kind" { "apiVersion" } else { "kind" };
        let message = format!("this is neither a manifest, which has `{missing}`, nor a scenario, which has `steps`");
        faults.push(document.error_at_key(&at_path![[]; there], message).hint(format!("add `{missing}`")));
        return None;
    }
    if !document.value.is_object() {
        let fault = document.error(&[], "a scenario is a mapping with `id`, `title` and `steps`");
        faults.push(fault);
        return None;
    }
    if let Some(second) = documents.get(1) {
        let fault = second.error(&[], "a scenario file holds one scenario, and this is a second document");
        faults.push(fault.hint("put it in a file of its own"));
    }
    let scenario: Option<Scenario> = decode(document, json_schema, faults);
    let clean = faults.is_empty();
    let manifests = load_manifests(document, origin, file, faults);
    let scenario = scenario?;
    // A scenario that lacks what was faulty would only give faults that follow from the first.
    if clean {
        let context =
            Context { document, scenario: &scenario, manifests: &manifests, shipped: origin == Origin::Shipped };
        check::check(&context, faults);
    }
    Some(LoadedScenario {
        path: file.to_owned(),
        shipped: origin == Origin::Shipped,
        scenario,
        manifests,
        warnings: Vec::new(),
    })
}

/// Loads the manifests that steps name, each once. It reads names from the document as it is, so that the manifests of
/// a scenario with faults are checked too.
fn load_manifests(
    document: &Document<'_>,
    origin: Origin,
    scenario_file: &Path,
    faults: &mut Vec<Diagnostic>,
) -> BTreeMap<String, Vec<Arc<super::Manifest>>> {
    let mut named: BTreeMap<&str, (Strictness, Vec<super::document::Segment>)> = BTreeMap::new();
    let steps = document.value.get("steps").and_then(|steps| steps.as_array());
    for (step_index, step) in steps.into_iter().flatten().enumerate() {
        for (action, strictness) in
            [("apply", Strictness::Valid), ("delete", Strictness::Valid), ("rejected", Strictness::ToBeRefused)]
        {
            for (index, entry) in step.get(action).and_then(|all| all.as_array()).into_iter().flatten().enumerate() {
                let mut at = at_path![[]; "steps", step_index, action, index];
                let file = if action == "rejected" { entry.get("file") } else { Some(entry) };
                if action == "rejected" {
                    at.push("file".into());
                }
                let Some(file) = file.and_then(|file| file.as_str()) else { continue };
                let entry = named.entry(file).or_insert((strictness, at));
                if strictness == Strictness::Valid {
                    entry.0 = Strictness::Valid;
                }
            }
        }
    }
    let folder = scenario_file.parent().unwrap_or(Path::new(""));
    let mut manifests = BTreeMap::new();
    for (name, (strictness, at)) in named {
        if enough(faults) {
            break;
        }
        if name.is_empty() {
            faults.push(document.error(&at, "a manifest's file name is empty"));
            continue;
        }
        let path = folder.join(name);
        match origin.read(&path) {
            Ok(source) => {
                let objects = manifest::read(&source, strictness, faults);
                manifests.insert(name.to_owned(), objects.into_iter().map(Arc::new).collect());
            }
            Err(fault) => {
                let mut beside = if origin == Origin::Disk { siblings(folder) } else { Vec::new() };
                beside.retain(|other| Path::new(other).file_name() != scenario_file.file_name());
                let missing = document.error(&at, format!("the manifest `{name}` cannot be used: {}", fault.message));
                let hint = nearest_file(name, &beside);
                let hint = hint.map(|near| format!("did you mean `{near}`?")).or(fault.hint);
                let hint =
                    hint.unwrap_or_else(|| format!("it is looked for at {}, beside the scenario", path.display()));
                faults.push(missing.hint(hint));
            }
        }
    }
    manifests
}

/// The file that is nearest to a mistyped one. The ending that all have in common makes no two alike.
fn nearest_file<'a>(name: &str, files: &'a [String]) -> Option<&'a str> {
    let stem = |file: &'a str| file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let word = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let near = nearest(word, files.iter().map(|file| stem(file)))?;
    files.iter().map(String::as_str).find(|file| stem(file) == near)
}

fn siblings(folder: &Path) -> Vec<String> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| files::is_yaml(Path::new(name))).take(1_000).collect()
}
