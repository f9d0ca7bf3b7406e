//! Where scenario files come from: the disk or the binary. Bounded reading, and the search through folders.

use std::{
    fs,
    path::{Path, PathBuf},
};

use include_dir::{Dir, include_dir};

use super::{Diagnostic, Place, document::SourceFile};
use crate::input::{self, InputError};

/// The shipped scenarios, manifests and the schema.
pub static SHIPPED: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/scenarios");

/// The largest scenario or manifest that is read, in bytes.
pub const LARGEST_FILE: u64 = 1 << 20;

/// Where files are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Disk,
    Shipped,
}

impl Origin {
    /// Reads a text file. Shipped files are named by their path with `scenarios/` in front.
    pub(crate) fn read(self, path: &Path) -> Result<SourceFile, Diagnostic> {
        let bytes = match self {
            Self::Disk => read_disk(path)?,
            Self::Shipped => {
                let file = path.strip_prefix("scenarios").ok().and_then(|inside| SHIPPED.get_file(inside));
                file.ok_or_else(|| Diagnostic::error(path, "there is no such shipped file"))?.contents().to_vec()
            }
        };
        let text = String::from_utf8(bytes).map_err(|error| not_utf8(path, &error))?;
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        Ok(SourceFile::new(path, text))
    }
}

fn read_disk(path: &Path) -> Result<Vec<u8>, Diagnostic> {
    input::bytes(path, LARGEST_FILE).map_err(|error| {
        let fault = Diagnostic::error(path, error.to_string());
        match error {
            InputError::Large { .. } => fault.hint("split it into several files"),
            _ => fault,
        }
    })
}

fn not_utf8(path: &Path, error: &std::string::FromUtf8Error) -> Diagnostic {
    let valid = error.utf8_error().valid_up_to();
    let text = String::from_utf8_lossy(&error.as_bytes()[..valid]);
    let message = "the file is not UTF-8 text from here on";
    Diagnostic::error(path, message).at(Place::new(&text, valid..valid)).hint("save the file as UTF-8")
}

/// All YAML files below a folder, in order of their names. Hidden entries are left out.
pub(crate) fn yaml_files(folder: &Path, faults: &mut Vec<Diagnostic>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    search(folder, &mut Vec::new(), &mut found, faults);
    found
}

fn search(folder: &Path, above: &mut Vec<PathBuf>, found: &mut Vec<PathBuf>, faults: &mut Vec<Diagnostic>) {
    let cannot = |path: &Path, error: &std::io::Error| Diagnostic::error(path, format!("cannot be read: {error}"));
    let real = match folder.canonicalize() {
        Ok(real) => real,
        Err(error) => return faults.push(cannot(folder, &error)),
    };
    if above.contains(&real) {
        let message = "this symbolic link leads back to a folder that it is in";
        return faults.push(Diagnostic::error(folder, message).hint("remove the link"));
    }
    let mut entries: Vec<PathBuf> = match fs::read_dir(folder) {
        Ok(entries) => entries.filter_map(Result::ok).map(|entry| entry.path()).collect(),
        Err(error) => return faults.push(cannot(folder, &error)),
    };
    entries.sort();
    above.push(real);
    for entry in entries {
        let hidden = entry.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if hidden {
            continue;
        }
        match fs::metadata(&entry) {
            Ok(metadata) if metadata.is_dir() => search(&entry, above, found, faults),
            Ok(_) if is_yaml(&entry) => found.push(entry),
            Err(error) if is_yaml(&entry) => faults.push(cannot(&entry, &error)),
            // What is no YAML is no scenario, be it readable or not.
            Ok(_) | Err(_) => {}
        }
    }
    above.pop();
}

/// Whether a file is YAML, by its name.
pub(crate) fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}
