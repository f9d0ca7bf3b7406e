//! From files to checked scenarios: one file, or all below a folder.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

use super::{
    Diagnostic, Diagnostics, LoadedScenario, Manifest, Scenario, Severity,
    check::{self, Context},
    decode::decode,
    diagnostic::{enough, nearest},
    document::{Document, at_path, parse},
    family,
    files::{self, Origin, SHIPPED},
    manifest::{self, Strictness},
    matrix,
    places::Places,
    schema::json_schema,
};
use crate::parallel;

/// Loads a scenario file, or every scenario below a folder. In a folder a YAML file with `apiVersion` and `kind` is a
/// manifest, and every other one is taken to be a scenario.
pub fn load_path(path: &Path) -> Result<Vec<LoadedScenario>, Diagnostics> {
    let mut faults = Vec::new();
    let mut found = Vec::new();
    if path.is_dir() {
        let files = files::yaml_files(path, &mut faults);
        found.extend(load_files(&files, Origin::Disk, &mut faults));
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

/// Loads the objects of a manifest file, or of every YAML file below a folder.
pub fn load_policies(path: &Path) -> Result<Vec<Arc<Manifest>>, Diagnostics> {
    let mut faults = Vec::new();
    let files = if path.is_dir() { files::yaml_files(path, &mut faults) } else { vec![path.to_owned()] };
    let mut manifests = Vec::new();
    for file in files {
        match Origin::Disk.read(&file) {
            Ok(source) => manifests.extend(manifest::read(&source, Strictness::Valid, &mut faults)),
            Err(fault) => faults.push(fault),
        }
    }
    if faults.iter().any(|fault| fault.severity == Severity::Error) {
        return Err(Diagnostics(faults));
    }
    Ok(manifests.into_iter().map(Arc::new).collect())
}

/// The scenarios that came with the binary.
///
/// # Panics
/// Never in a released binary: a test loads them.
#[must_use]
pub fn shipped() -> &'static [LoadedScenario] {
    static ALL: LazyLock<Vec<LoadedScenario>> = LazyLock::new(|| {
        let mut faults = Vec::new();
        let found = load_files(&in_order(shipped_files()), Origin::Shipped, &mut faults);
        finish(found, faults).unwrap_or_else(|faults| panic!("the shipped scenarios have faults:\n{faults}"))
    });
    &ALL
}

/// One shipped scenario by its id, without reading the others: `lab` has no time for them. The file of a scenario that
/// has one to itself is named by its id, which a test sees to; others are not found here.
#[must_use]
pub(super) fn shipped_by_id(id: &str) -> Option<LoadedScenario> {
    let file = shipped_files().find(|file| file.file_stem().is_some_and(|stem| stem == id))?;
    load_file(&file, Origin::Shipped, true, &mut Vec::new()).into_iter().find(|loaded| loaded.scenario.id == id)
}

/// The shipped scenarios below folders of this name (`basics`, `conformance/ports`), without reading the others. None
/// where there is no such folder, or where files are at fault, which a test sees to.
#[must_use]
pub(super) fn shipped_pack(name: &str) -> Option<Vec<LoadedScenario>> {
    let name = Path::new(name.trim_end_matches('/'));
    let inside = |file: &PathBuf| {
        let folders = file.parent().into_iter().flat_map(|folder| folder.ancestors());
        folders.take_while(|folder| *folder != Path::new("scenarios")).any(|folder| folder.ends_with(name))
    };
    let found = load_files(&in_order(shipped_files().filter(inside)), Origin::Shipped, &mut Vec::new());
    (!found.is_empty()).then_some(found)
}

fn shipped_files() -> impl Iterator<Item = PathBuf> {
    let mut folders: Vec<_> = SHIPPED.dirs().collect();
    let mut next = 0;
    while let Some(folder) = folders.get(next).copied() {
        folders.extend(folder.dirs());
        next += 1;
    }
    let files = folders.into_iter().flat_map(include_dir::Dir::files);
    files.map(|file| Path::new("scenarios").join(file.path())).filter(|path| files::is_yaml(path))
}

fn in_order(files: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    files.collect::<BTreeSet<PathBuf>>().into_iter().collect()
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
                let documents = parse(&file).ok()?;
                let own = |document: &&Document<'_>| document.value.get("id").and_then(|id| id.as_str()) == Some(id);
                let at = documents.iter().rfind(own)?.error(&at_path![[]; "id"], "").place?;
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

/// Loads the scenarios of the files of a folder.
fn load_files(files: &[PathBuf], origin: Origin, faults: &mut Vec<Diagnostic>) -> Vec<LoadedScenario> {
    let loaded = parallel::each(files, |file| {
        let mut faults = Vec::new();
        (load_file(file, origin, true, &mut faults), faults)
    });
    let (found, of_files): (Vec<_>, Vec<_>) = loaded.into_iter().unzip();
    faults.extend(of_files.into_iter().flatten());
    found.into_iter().flatten().collect()
}

/// Loads the scenarios of one file. `in_folder`: manifests are passed over. Errors are added to `faults`; without an
/// error the scenarios are returned, with their warnings.
pub(super) fn load_file(
    file: &Path,
    origin: Origin,
    in_folder: bool,
    faults: &mut Vec<Diagnostic>,
) -> Vec<LoadedScenario> {
    let mut found = Vec::new();
    let loaded = load_documents(file, origin, in_folder, &mut found);
    if found.iter().all(|fault| fault.severity == Severity::Warning) {
        return loaded;
    }
    faults.extend(found);
    Vec::new()
}

/// What a document of a scenario file is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A CNI profile, which is no scenario.
    Profile,
    Shared,
    Manifest,
    Scenario,
}

fn kind(document: &Document<'_>, faults: &mut Vec<Diagnostic>) -> Option<Kind> {
    let has = |key: &str| document.value.get(key).is_some();
    if has(family::SHARED) {
        return Some(Kind::Shared);
    }
    if has("profile") && !has("steps") {
        return Some(Kind::Profile);
    }
    if has("apiVersion") && has("kind") {
        return Some(Kind::Manifest);
    }
    if let (Some(there), false) = (["apiVersion", "kind"].into_iter().find(|key| has(key)), has("steps")) {
        let missing = if there == "kind" { "apiVersion" } else { "kind" };
        let message = format!("this is neither a manifest, which has `{missing}`, nor a scenario, which has `steps`");
        faults.push(document.error_at_key(&at_path![[]; there], message).hint(format!("add `{missing}`")));
        return None;
    }
    if !document.value.is_object() {
        faults.push(document.error(&[], "a scenario is a mapping with `id`, `title` and `steps`"));
        return None;
    }
    Some(Kind::Scenario)
}

fn load_documents(file: &Path, origin: Origin, in_folder: bool, faults: &mut Vec<Diagnostic>) -> Vec<LoadedScenario> {
    let Ok(source) = origin.read(file).map_err(|fault| faults.push(fault)) else { return Vec::new() };
    let Ok(documents) = parse(&source).map_err(|found| faults.extend(found)) else { return Vec::new() };
    let kinds: Vec<Option<Kind>> = documents.iter().map(|document| kind(document, faults)).collect();
    let Some(first) = documents.first() else {
        faults.push(
            Diagnostic::error(file, "the file is empty").hint("a scenario has at least `id`, `title` and `steps`"),
        );
        return Vec::new();
    };
    if kinds.iter().all(|kind| *kind == Some(Kind::Profile)) {
        // In a folder they are checked all the same.
        match crate::profile::read(file, &documents) {
            Ok(_) if in_folder => {}
            Ok(_) => {
                let fault =
                    first.error_at_key(&at_path![[]; "profile"], "this is a CNI profile, and a scenario is meant");
                faults.push(fault.hint("`policyprobe run --profile FILE` takes profiles"));
            }
            Err(found) => faults.extend(found.0),
        }
        return Vec::new();
    }
    if kinds.iter().all(|kind| *kind == Some(Kind::Manifest)) {
        if !in_folder {
            let fault =
                first.error_at_key(&at_path![[]; "kind"], "this is a Kubernetes manifest, and a scenario is meant");
            faults.push(fault.hint("a scenario names its manifests under `apply:`"));
        }
        return Vec::new();
    }
    let mut shared = None;
    let mut inside = Vec::new();
    for (index, (document, kind)) in documents.iter().zip(&kinds).enumerate() {
        match kind {
            Some(Kind::Shared) if index > 0 => {
                let fault = document.error_at_key(&at_path![[]; family::SHARED], "`shared:` comes first in its file");
                faults.push(fault.hint("a file has one `shared:`, and it is for all scenarios of the file"));
            }
            Some(Kind::Shared) => shared = Some(family::read(document, origin, file, faults)),
            Some(Kind::Manifest) => inside.push(document),
            _ => {}
        }
    }
    let own = Own::read(&inside, faults);
    let mut loaded = Vec::new();
    let scenarios = documents.iter().zip(&kinds).filter(|(_, kind)| **kind == Some(Kind::Scenario));
    for (document, _) in scenarios {
        let mut document = document.clone();
        if let Some(shared) = &shared {
            family::inherit(&mut document, shared);
        }
        loaded.extend(load_document(&document, (file, origin), &own, faults));
    }
    own.unused(faults);
    loaded
}

/// One scenario. Without an error it has its warnings.
fn load_document(
    document: &Document<'_>,
    (file, origin): (&Path, Origin),
    own: &Own<'_>,
    faults: &mut Vec<Diagnostic>,
) -> Option<LoadedScenario> {
    let mut found = Vec::new();
    let scenario: Option<Scenario> = decode(document, json_schema, &mut found);
    let mut clean = found.is_empty();
    let mut of_manifests = Vec::new();
    let manifests = load_manifests(document, (file, origin), own, &mut of_manifests);
    let Some(mut scenario) = scenario else {
        faults.extend(found.into_iter().chain(of_manifests));
        return None;
    };
    // A scenario that lacks what was faulty would only give faults that follow from the first, and one that is too large
    // is not made larger still.
    if let Some(fault) = check::too_large(document, &scenario).filter(|_| clean) {
        found.push(fault);
        clean = false;
    }
    let places = if origin == Origin::Disk { Places::new(document, &scenario) } else { Places::default() };
    if clean {
        matrix::expand(document, &mut scenario, &mut found);
        scenario.expand_sources();
        clean = found.iter().all(|fault| fault.severity == Severity::Warning);
    }
    if clean {
        let context =
            Context { document, scenario: &scenario, manifests: &manifests, shipped: origin == Origin::Shipped };
        check::check(&context, &mut found);
    }
    found.extend(of_manifests);
    let warnings = if found.iter().all(|fault| fault.severity == Severity::Warning) {
        Diagnostics(std::mem::take(&mut found)).tidy().0
    } else {
        Vec::new()
    };
    faults.extend(found);
    let (path, shipped) = (file.to_owned(), origin == Origin::Shipped);
    Some(LoadedScenario { path, shipped, scenario: Arc::new(scenario), manifests, warnings, places })
}

/// The manifests that are documents of the scenario file itself, by name.
struct Own<'a> {
    documents: Vec<(&'a Document<'a>, String)>,
    used: RefCell<BTreeSet<String>>,
}

impl<'a> Own<'a> {
    /// A name that several of one kind have is a fault: `#NAME` would be all of them.
    fn read(inside: &[&'a Document<'a>], faults: &mut Vec<Diagnostic>) -> Self {
        let name = |document: &&'a Document<'a>| {
            let name = document.value.pointer("/metadata/name").and_then(|name| name.as_str());
            (*document, name.unwrap_or_default().to_owned())
        };
        let documents: Vec<_> = inside.iter().map(name).collect();
        let mut taken = BTreeSet::new();
        for (document, name) in documents.iter().filter(|(_, name)| !name.is_empty()) {
            let of = |field| document.value.pointer(field).and_then(|value| value.as_str()).unwrap_or_default();
            if !taken.insert((of("/kind"), of("/metadata/namespace"), name.as_str())) {
                let message = format!("there are two documents `{name}` of this kind in the file");
                let fault = document.error(&at_path![[]; "metadata", "name"], message);
                faults.push(fault.hint(format!("`#{name}` would be both of them; give one another name")));
            }
        }
        Self { documents, used: RefCell::default() }
    }

    /// The objects of a name; none where there is no such document.
    fn objects(
        &self,
        name: &str,
        strictness: Strictness,
        faults: &mut Vec<Diagnostic>,
    ) -> Option<Vec<Arc<super::Manifest>>> {
        let meant: Vec<_> = self.documents.iter().filter(|(_, other)| other == name).collect();
        // The faults of a manifest are told once, however many scenarios apply it.
        let first = self.used.borrow_mut().insert(name.to_owned());
        let mut found = Vec::new();
        let objects = meant.iter().filter_map(|(document, _)| manifest::read_one(document, strictness, &mut found));
        let objects = objects.map(Arc::new).collect();
        if first {
            faults.extend(found);
        }
        (!meant.is_empty()).then_some(objects)
    }

    /// Warns of manifests that no scenario uses.
    fn unused(&self, faults: &mut Vec<Diagnostic>) {
        let used = self.used.borrow();
        for (document, name) in self.documents.iter().filter(|(_, name)| !used.contains(name)) {
            let fault =
                document.error(&at_path![[]; "metadata", "name"], format!("no scenario of this file uses `{name}`"));
            faults.push(fault.hint(format!("apply it as `#{name}`, or remove it")));
        }
    }
}

/// Loads the manifests that steps name, each once. It reads names from the document as it is, so that the manifests of
/// a scenario with faults are checked too.
fn load_manifests(
    document: &Document<'_>,
    (scenario_file, origin): (&Path, Origin),
    own: &Own<'_>,
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
        if let Some(inside) = name.strip_prefix('#') {
            if let Some(objects) = own.objects(inside, strictness, faults) {
                manifests.insert(name.to_owned(), objects);
            } else {
                let fault = document.error(&at, format!("no document of this file is called `{inside}`"));
                let near = nearest(inside, own.documents.iter().map(|(_, name)| name.as_str()));
                let hint = near.map(|near| format!("did you mean `#{near}`?"));
                let hint = hint.unwrap_or_else(|| "write the object behind the scenario, after `---`".to_owned());
                faults.push(fault.hint(hint));
            }
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
