//! `policyprobe init`: the shipped scenarios, the schema and the kind configurations as files, for a start.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use include_dir::{Dir, DirEntry, include_dir};

use super::{Problem, output::conclude};
use crate::{engine, scenario};

/// Configurations of kind clusters.
static KIND_CONFIG: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/kind-config");

/// Write the shipped scenarios, their schema and kind configurations into a folder, as a start for your own
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "\
Nothing that exists is overwritten: where one of the files is there already, none is written.

Examples:
  policyprobe init my-tests
  policyprobe lint my-tests
  policyprobe run my-tests/scenarios/basics")]
pub struct Args {
    /// The folder; it is made where it does not exist
    pub dir: PathBuf,
}

/// Writes the files; returns the exit code.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    let mut files = Vec::new();
    collect(&scenario::SHIPPED, Path::new("scenarios"), &mut files);
    collect(&KIND_CONFIG, Path::new("kind-config"), &mut files);
    let files: Vec<(PathBuf, &[u8])> = files.into_iter().map(|(path, bytes)| (args.dir.join(path), bytes)).collect();
    if let Some((path, _)) = files.iter().find(|(path, _)| path.symlink_metadata().is_ok()) {
        return Err(Problem::usage(format!("`{}` exists already: nothing was written", path.display()))
            .hint("name a new folder, or move the file away")
            .into());
    }
    if args.dir.symlink_metadata().is_ok() && !args.dir.is_dir() {
        return Err(Problem::usage(format!("`{}` is a file, and a folder is meant", args.dir.display()))
            .hint("name a new folder")
            .into());
    }
    let mut made = Made::default();
    for (path, bytes) in &files {
        if let Err(error) = made.write(path, bytes) {
            let left = made.undo();
            let error = anyhow::Error::new(error).context(format!("{} cannot be written", path.display()));
            return match left {
                Ok(()) => Err(error.context("nothing was written")),
                Err(left) => Err(error.context(format!("what was written before cannot be removed: {left}"))),
            };
        }
    }
    let dir = args.dir.display();
    let next = format!("next: policyprobe lint {dir} && policyprobe run {dir}");
    Ok(conclude(&format!("{} files written to {dir}\n{next}\n", files.len()), engine::OK))
}

fn collect(dir: &'static Dir<'static>, into: &Path, files: &mut Vec<(PathBuf, &'static [u8])>) {
    for entry in dir.entries() {
        match entry {
            DirEntry::Dir(dir) => collect(dir, into, files),
            DirEntry::File(file) => files.push((into.join(file.path()), file.contents())),
        }
    }
}

/// What was made, to be undone where the rest cannot be.
#[derive(Debug, Default)]
struct Made {
    files: Vec<PathBuf>,
    folders: Vec<PathBuf>,
}

impl Made {
    fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            self.folder(folder)?;
        }
        let mut file = fs::OpenOptions::new().write(true).create_new(true).open(path)?;
        self.files.push(path.to_owned());
        io::Write::write_all(&mut file, bytes)?;
        file.sync_all()
    }

    fn folder(&mut self, path: &Path) -> io::Result<()> {
        if path.as_os_str().is_empty() || path.is_dir() {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.folder(parent)?;
        }
        fs::create_dir(path)?;
        self.folders.push(path.to_owned());
        Ok(())
    }

    fn undo(&self) -> anyhow::Result<()> {
        for file in &self.files {
            fs::remove_file(file).with_context(|| file.display().to_string())?;
        }
        for folder in self.folders.iter().rev() {
            fs::remove_dir(folder).with_context(|| folder.display().to_string())?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_lints_and_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let args = Args { dir: dir.path().join("new/tests") };
        assert_eq!(run(&args).unwrap(), engine::OK);
        let loaded = scenario::load_path(&args.dir).unwrap();
        assert_eq!(loaded.len(), scenario::shipped().len());
        assert!(args.dir.join("scenarios/schema.json").is_file());
        let readme = args.dir.join("scenarios/README.md");
        fs::write(&readme, "mine").unwrap();
        assert!(run(&args).unwrap_err().to_string().contains("exists already"));
        assert_eq!(fs::read_to_string(readme).unwrap(), "mine");
    }

    #[test]
    fn nothing_half_written_stays() {
        let dir = tempfile::tempdir().unwrap();
        let args = Args { dir: dir.path().join("tests") };
        fs::create_dir(&args.dir).unwrap();
        // A file where a folder is needed: the first files are written, and then it fails.
        fs::write(args.dir.join("kind-config"), "").unwrap();
        assert!(run(&args).is_err());
        assert_eq!(fs::read_dir(&args.dir).unwrap().count(), 1);
    }
}
