//! Lines of a log that grows, from a file or from stdin.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read as _, Seek as _, SeekFrom},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::{cli::Problem, input::InputError};

/// How often a file is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// How many lines wait to be read.
const WAITING: usize = 1024;

/// The longest line: an event has a request and a response of at most 1.5 MiB each.
const LONGEST: usize = 8 << 20;

/// What is kept of a longer one: enough to be told from an event.
const BEGINNING: usize = 256;

/// The lines of a file from its end on, of a pipe, or of stdin where it is `-`. A log that is rotated is followed.
pub(super) fn follow(path: &Path) -> anyhow::Result<Receiver<String>> {
    let (sender, receiver) = channel(WAITING);
    if path == Path::new("-") {
        // A thread and not a task: reading cannot be given up, and must not hold up the end of the program.
        std::thread::spawn(move || hand_on(std::io::stdin().lock(), &sender));
        return Ok(receiver);
    }
    let wrong = |error| Problem::input("the audit log", path, &error);
    let kind = std::fs::metadata(path).map_err(|error| wrong(InputError::System(error)))?.file_type();
    if kind.is_fifo() {
        let path = path.to_owned();
        // It is opened only when somebody writes to it.
        std::thread::spawn(move || File::open(path).map(|file| hand_on(BufReader::new(file), &sender)));
    } else if kind.is_file() {
        let mut file = File::open(path).map_err(|error| wrong(InputError::System(error)))?;
        file.seek(SeekFrom::End(0)).map_err(|error| wrong(InputError::System(error)))?;
        tokio::spawn(tail(path.to_owned(), file, sender));
    } else {
        return Err(wrong(if kind.is_dir() { InputError::Folder } else { InputError::Irregular }).into());
    }
    Ok(receiver)
}

/// The next of these lines; where there are none at all, it is waited for ever.
pub(super) async fn next(lines: &mut Option<Receiver<String>>) -> Option<String> {
    match lines {
        Some(lines) => lines.recv().await,
        None => std::future::pending().await,
    }
}

/// Hands on lines until there are no more, or nobody wants them.
fn hand_on(mut reader: impl BufRead, sender: &Sender<String>) {
    let mut line = Line::default();
    while line.read(&mut reader) {
        if line.taken().is_some_and(|text| sender.blocking_send(text).is_err()) {
            return;
        }
    }
}

async fn tail(path: PathBuf, file: File, sender: Sender<String>) {
    let mut reader = BufReader::new(file);
    let mut line = Line::default();
    let mut look = tokio::time::interval(LOOK);
    loop {
        // What is there is read at once; a line is whole when its end is there.
        while line.read(&mut reader) {
            if let Some(text) = line.taken()
                && sender.send(text).await.is_err()
            {
                return;
            }
        }
        if let Some(next) = rotated(&path, reader.get_ref()) {
            reader = BufReader::new(next);
            line = Line::default();
            continue;
        }
        look.tick().await;
    }
}

/// A line that is being read. One that is too long is cut: whoever reads it says that it is no event.
#[derive(Default)]
struct Line {
    bytes: Vec<u8>,
    ended: bool,
    cut: bool,
}

impl Line {
    /// Reads on, up to the line's end; whether there was anything.
    fn read(&mut self, reader: &mut impl BufRead) -> bool {
        let count = reader.take(LONGEST as u64).read_until(b'\n', &mut self.bytes).unwrap_or(0);
        self.ended = self.bytes.ends_with(b"\n");
        self.cut |= self.bytes.len() > LONGEST;
        if self.cut {
            self.bytes.truncate(BEGINNING);
        }
        count > 0
    }

    /// The line, if it is whole.
    fn taken(&mut self) -> Option<String> {
        let line = self.ended.then(|| std::mem::take(self))?;
        Some(String::from_utf8_lossy(&line.bytes).trim_end().to_owned())
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
    fn what_is_no_log_is_an_error() {
        for path in ["no/such/file", "src", "/dev/zero"] {
            assert!(follow(Path::new(path)).is_err(), "{path}");
        }
    }

    #[tokio::test]
    async fn a_line_without_an_end_takes_no_memory() {
        let (sender, mut lines) = channel(9);
        let long = [b"{".repeat(3 * LONGEST), b"\nnext\n".to_vec()].concat();
        std::thread::spawn(move || hand_on(&long[..], &sender));
        assert_eq!(lines.recv().await.unwrap().len(), BEGINNING);
        assert_eq!(lines.recv().await.unwrap(), "next");
        assert_eq!(lines.recv().await, None);
    }
}
