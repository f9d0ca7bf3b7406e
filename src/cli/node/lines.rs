//! Lines of a log that grows, from a file or from stdin.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// How often a file is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// How many lines wait to be read.
const WAITING: usize = 1024;

/// The lines of a file from its end on, or of stdin where it is `-`. A log that is rotated is followed.
pub(super) fn follow(path: &Path) -> anyhow::Result<Receiver<String>> {
    let (sender, receiver) = channel(WAITING);
    if path == Path::new("-") {
        // A thread and not a task: reading cannot be given up, and must not hold up the end of the program.
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                if sender.blocking_send(line).is_err() {
                    break;
                }
            }
        });
        return Ok(receiver);
    }
    let mut file = File::open(path).with_context(|| format!("cannot read the audit log {}", path.display()))?;
    file.seek(SeekFrom::End(0)).with_context(|| format!("cannot read the audit log {}", path.display()))?;
    tokio::spawn(tail(path.to_owned(), file, sender));
    Ok(receiver)
}

async fn tail(path: PathBuf, file: File, sender: Sender<String>) {
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    let mut look = tokio::time::interval(LOOK);
    loop {
        // What is there is read at once; a line is whole when its end is there.
        while matches!(reader.by_ref().read_until(b'\n', &mut line), Ok(count) if count > 0) {
            if line.ends_with(b"\n") {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                line.clear();
                if sender.send(text).await.is_err() {
                    return;
                }
            }
        }
        if let Some(next) = rotated(&path, reader.get_ref()) {
            reader = BufReader::new(next);
            line.clear();
            continue;
        }
        look.tick().await;
    }
}

/// The file that has taken the place of the one that is read, or itself where it was cut.
fn rotated(path: &Path, file: &File) -> Option<File> {
    let (now, read) = (std::fs::metadata(path).ok()?, file.metadata().ok()?);
    let mut position = file;
    let cut = position.stream_position().is_ok_and(|at| at > read.len());
    (cut || (now.dev(), now.ino()) != (read.dev(), read.ino())).then(|| File::open(path).ok()).flatten()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[tokio::test]
    async fn new_lines_come_also_after_a_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let mut log = File::create(&path).unwrap();
        writeln!(log, "old").unwrap();
        let mut lines = follow(&path).unwrap();
        write!(log, "one\ntw").unwrap();
        assert_eq!(lines.recv().await.unwrap(), "one");
        writeln!(log, "o").unwrap();
        assert_eq!(lines.recv().await.unwrap(), "two");
        std::fs::rename(&path, folder.path().join("audit.log.1")).unwrap();
        std::fs::write(&path, "three\n").unwrap();
        assert_eq!(lines.recv().await.unwrap(), "three");
    }

    #[test]
    fn a_missing_log_is_an_error() {
        assert!(follow(Path::new("no/such/file")).is_err());
    }
}
