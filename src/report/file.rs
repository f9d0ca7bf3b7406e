//! Report files: checked before a run, so that a wrong path costs no hour, and written whole or not at all.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    str::FromStr,
};

use tempfile::NamedTempFile;

use crate::engine::RunResult;

/// The formats of `--report`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The run's record.
    Json,
    /// What CI systems read.
    Junit,
}

impl Format {
    /// The name, as `--report` takes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Junit => "junit",
        }
    }

    fn write(self, result: &RunResult, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Json => super::json(result, out),
            Self::Junit => out.write_all(&super::junit(result)),
        }
    }
}

/// One `--report KIND=FILE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportSpec {
    /// The format.
    pub format: Format,
    /// The file; none is stdout.
    pub path: Option<PathBuf>,
}

impl FromStr for ReportSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, path) = text.split_once('=').ok_or("expected `json=FILE` or `junit=FILE`")?;
        let format = match kind {
            "json" => Format::Json,
            "junit" => Format::Junit,
            _ => return Err(format!("`{kind}` is no report format; there are `json` and `junit`")),
        };
        let path = match path {
            "" => return Err(format!("no file: `{kind}=FILE`, or `{kind}=-` for stdout")),
            // Whoever names stdout by its file means the same, and wants nothing else written to it.
            "-" | "/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1" => None,
            path => Some(PathBuf::from(path)),
        };
        Ok(Self { format, path })
    }
}

impl ReportSpec {
    /// Whether the report can be written, tried for real beside the file and leaving nothing.
    pub fn check(&self) -> io::Result<()> {
        let Some(path) = &self.path else {
            let closed = io::Error::new(io::ErrorKind::NotConnected, "it is closed");
            return if stdout_is_closed() { Err(closed) } else { Ok(()) };
        };
        let path = resolve(path)?;
        if fs::metadata(&path).is_ok_and(|file| file.permissions().readonly()) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the file is read-only"));
        }
        if is_special(&path) { OpenOptions::new().write(true).open(&path).map(drop) } else { beside(&path).map(drop) }
    }

    /// Writes the report; what was at the path is there until the new one is whole and on the disk. Returns a line
    /// for the summary, where the report went to a file.
    pub fn write(&self, result: &RunResult) -> io::Result<Option<String>> {
        self.write_by(|out| self.format.write(result, out))
    }

    /// Writes what is rendered already, in the same way.
    pub fn write_bytes(&self, bytes: &[u8]) -> io::Result<Option<String>> {
        self.write_by(|out| out.write_all(bytes))
    }

    fn write_by(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<Option<String>> {
        let to = |out: &mut dyn Write| {
            let mut out = BufWriter::new(out);
            write(&mut out)?;
            out.flush()
        };
        let Some(path) = &self.path else {
            return to(&mut io::stdout().lock()).map(|()| None);
        };
        let target = resolve(path)?;
        if is_special(&target) {
            to(&mut OpenOptions::new().write(true).open(&target)?)?;
        } else {
            let mut temporary = beside(&target)?;
            to(&mut temporary)?;
            temporary.as_file().sync_all()?;
            temporary.persist(&target).map_err(|failed| failed.error)?;
            // The rename itself is on the disk only when its folder is; where a folder cannot be synced, so be it.
            let _ = File::open(folder(&target)).and_then(|folder| folder.sync_all());
        }
        Ok(Some(format!("{} {}", self.format.name(), path.display())))
    }
}

/// Whether this was started without a stdout: then Rust has put `/dev/null` in its place, open for reading too, which no
/// shell's `>/dev/null` is.
#[cfg(target_os = "linux")]
fn stdout_is_closed() -> bool {
    use nix::{
        fcntl::{FcntlArg, OFlag, fcntl},
        sys::stat::{fstat, stat},
    };
    let nothing = stat("/dev/null").is_ok_and(|null| fstat(io::stdout()).is_ok_and(|own| own.st_rdev == null.st_rdev));
    let flags = fcntl(io::stdout(), FcntlArg::F_GETFL).map(OFlag::from_bits_retain);
    nothing && flags.is_ok_and(|flags| flags & OFlag::O_ACCMODE == OFlag::O_RDWR)
}

#[cfg(not(target_os = "linux"))]
fn stdout_is_closed() -> bool {
    false
}

/// The file that is meant where the path is a symbolic link: the link stays.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Ok(target) if target.is_dir() => Err(io::Error::new(io::ErrorKind::IsADirectory, "that is a folder")),
        Ok(target) => Ok(target),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path.to_owned()),
        Err(error) => Err(error),
    }
}

/// A pipe or a device is written to, never replaced.
fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| !file.is_file())
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A temporary file in the same folder, which is removed when it is dropped.
fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".policyprobe-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // A report is as readable as any other new file: the umask decides.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder(path)).map_err(|error| match error.kind() {
        // `tempfile` says which temporary file it could not make; its folder is what matters.
        io::ErrorKind::NotFound => {
            io::Error::new(error.kind(), format!("there is no folder `{}`", folder(path).display()))
        }
        kind => io::Error::new(kind, kind.to_string()),
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::report::testing;

    fn spec(path: &Path) -> ReportSpec {
        ReportSpec { format: Format::Json, path: Some(path.to_owned()) }
    }

    #[test]
    fn reads_flags() {
        let file = |format, path: &str| ReportSpec { format, path: Some(path.into()) };
        assert_eq!("json=a=b.json".parse(), Ok(file(Format::Json, "a=b.json")));
        assert_eq!("junit=out.xml".parse(), Ok(file(Format::Junit, "out.xml")));
        for stdout in ["json=-", "json=/dev/stdout", "json=/proc/self/fd/1"] {
            assert_eq!(stdout.parse(), Ok(ReportSpec { format: Format::Json, path: None }));
        }
        for bad in ["json", "json=", "html=a.html", ""] {
            assert!(bad.parse::<ReportSpec>().is_err(), "{bad}");
        }
    }

    #[test]
    fn writes_a_whole_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        fs::write(&path, "what was there before, and was longer than nothing").unwrap();
        spec(&path).check().unwrap();
        assert!(fs::read_to_string(&path).unwrap().starts_with("what was"), "checking changes nothing");
        let line = spec(&path).write(&testing::passing()).unwrap().unwrap();
        assert_eq!(line, format!("json {}", path.display()));
        let value: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(value["schema_version"], 1);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target.json"), folder.path().join("link.json"));
        fs::write(&target, "").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        spec(&link).write(&testing::passing()).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(fs::metadata(&target).unwrap().len() > 0);
    }

    #[test]
    fn says_what_is_wrong_with_a_path() {
        let folder = tempfile::tempdir().unwrap();
        let missing = spec(&folder.path().join("missing/report.json")).check().unwrap_err();
        assert!(missing.to_string().starts_with("there is no folder"), "{missing}");
        let error = spec(folder.path()).check().unwrap_err();
        assert_eq!(error.to_string(), "that is a folder");
    }

    #[test]
    fn a_device_is_written_to_and_not_replaced() {
        spec(Path::new("/dev/null")).write(&testing::passing()).unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_device_is_an_error() {
        let error = spec(Path::new("/dev/full")).write(&testing::passing()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
