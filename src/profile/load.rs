//! Profiles of the package and of files, and the one that a cluster's CNI asks for.

use std::{collections::BTreeSet, path::Path, sync::LazyLock};

use semver::{Version, VersionReq};

use super::{Known, Profile};
use crate::scenario::{
    Diagnostic, Diagnostics, SHIPPED,
    decode::decode,
    document::{Document, at_path, parse},
    files::Origin,
};

/// The folder of the package's profiles, among its scenarios.
const FOLDER: &str = "profiles";

/// The profiles that came with the binary.
///
/// # Panics
/// Never in a released binary: a test loads them.
#[must_use]
pub fn shipped() -> &'static [Profile] {
    static ALL: LazyLock<Vec<Profile>> = LazyLock::new(|| {
        let files = SHIPPED.get_dir(FOLDER).into_iter().flat_map(include_dir::Dir::files);
        let profiles: Result<_, _> =
            files.map(|file| load(&Path::new("scenarios").join(file.path()), Origin::Shipped)).collect();
        profiles.unwrap_or_else(|faults| panic!("the shipped profiles have faults:\n{faults}"))
    });
    &ALL
}

/// A shipped profile.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Profile> {
    shipped().iter().find(|profile| profile.profile == name)
}

/// Reads a profile file. Errors name all its faults, with their places.
pub fn load_file(path: &Path) -> Result<Profile, Diagnostics> {
    load(path, Origin::Disk)
}

/// The profile that a lab's facts ask for: by the name of its CNI, with the version of its image.
#[must_use]
pub fn detect(cni: &str) -> Option<Known> {
    let (name, _) = cni.split_once(", by ")?;
    let profile = shipped().iter().find(|profile| profile.cni.as_deref() == Some(name))?;
    Some(Known::new(profile.clone(), version(cni).as_ref(), format!("detected: {cni}")))
}

/// The version in the tag of the image that is told of a CNI (`..., by the DaemonSet a/b (registry/image:v1.2.3)`).
pub(super) fn version(cni: &str) -> Option<Version> {
    let (_, image) = cni.strip_suffix(')')?.rsplit_once('(')?;
    let (_, tag) = image.split('@').next()?.rsplit_once(':')?;
    let number = tag.trim_start_matches('v');
    Version::parse(number).or_else(|_| Version::parse(&format!("{number}.0"))).ok()
}

fn load(path: &Path, origin: Origin) -> Result<Profile, Diagnostics> {
    let source = origin.read(path)?;
    read(path, &parse(&source).map_err(Diagnostics)?)
}

/// Reads the documents of a profile file.
pub(crate) fn read(path: &Path, documents: &[Document<'_>]) -> Result<Profile, Diagnostics> {
    let [document] = documents else {
        let fault = Diagnostic::error(path, "a profile is one YAML document");
        return Err(fault.hint("it has at least `profile` and `deviations`").into());
    };
    let mut faults = Vec::new();
    let schema = || serde_json::to_value(schemars::schema_for!(Profile)).unwrap_or_default();
    let profile: Option<Profile> = decode(document, schema, &mut faults);
    if let Some(profile) = &profile {
        check(document, profile, &mut faults);
    }
    match profile {
        Some(profile) if faults.is_empty() => Ok(profile),
        _ => Err(Diagnostics(faults)),
    }
}

/// Finds what the type cannot say.
fn check(document: &Document<'_>, profile: &Profile, faults: &mut Vec<Diagnostic>) {
    let mut ids = BTreeSet::new();
    for (index, deviation) in profile.deviations.iter().enumerate() {
        let at = |field: &str| at_path![[]; "deviations", index, field];
        if !ids.insert(&deviation.id) {
            faults.push(document.error(&at("id"), format!("there are two deviations `{}`", deviation.id)));
        }
        if deviation.scenarios.is_empty() {
            let fault = document.error(&at("scenarios"), "a deviation without scenarios shows nowhere");
            faults.push(fault.hint("name their ids; `*` stands for any text"));
        }
        if let Some(Err(error)) = deviation.versions.as_deref().map(VersionReq::parse) {
            let fault = document.error(&at("versions"), format!("this is no range of versions: {error}"));
            faults.push(fault.hint("write `<1.15`, or `>=1.2, <1.4`"));
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::scenario::{self, document::SourceFile};

    #[test]
    fn shipped_profiles_are_sound_and_speak_of_scenarios_that_there_are() {
        let ids: Vec<&str> = scenario::shipped().iter().map(|loaded| loaded.scenario.id.as_str()).collect();
        for file in SHIPPED.get_dir(FOLDER).unwrap().files() {
            let stem = file.path().file_stem().unwrap().to_str().unwrap();
            assert!(by_name(stem).is_some(), "{stem}: a profile is named as its file is");
        }
        for profile in shipped() {
            for deviation in &profile.deviations {
                for glob in &deviation.scenarios {
                    let one = super::super::Deviation { scenarios: vec![glob.clone()], ..deviation.clone() };
                    let found = ids.iter().any(|id| one.covers_scenario(id));
                    assert!(found, "{}: {}: no scenario is `{glob}`", profile.profile, deviation.id);
                }
                assert!(deviation.link.starts_with("https://"), "{}: {}", profile.profile, deviation.id);
            }
        }
    }

    #[test]
    fn a_profile_is_detected_with_its_version() {
        let known = detect("Calico, by the DaemonSet kube-system/calico-node (docker.io/calico/node:v3.29.1)").unwrap();
        assert_eq!(known.name(), "calico");
        assert_eq!(version("x, by the DaemonSet a/b (r:5000/i:v1.2.3@sha256:abc)"), Some(Version::new(1, 2, 3)));
        assert_eq!(version("x, by the DaemonSet a/b (registry.example:5000/image)"), None);
        assert_eq!(version("x, by the DaemonSet a/b (image:latest)"), None);
        assert_eq!(version("x, by the DaemonSet a/b (image:v2.1)"), Some(Version::new(2, 1, 0)));
        assert!(detect("unknown: no DaemonSet of a known CNI").is_none());
    }

    #[test]
    fn faults_have_their_places() {
        let text = "\
profile: mine
deviation: []
deviations:
  - {id: a, scenarios: [], reason: r, link: https://example.org}
  - {id: a, scenarios: ['*'], versions: old, reason: r, link: https://example.org}
";
        let source = SourceFile::new(Path::new("mine.yaml"), text.to_owned());
        let faults = read(&source.path, &parse(&source).unwrap()).unwrap_err();
        assert_snapshot!(faults.to_string());
    }
}
