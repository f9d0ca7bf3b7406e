//! Files that somebody names, read whole: a device never ends, a pipe may have no writer, and neither may take all memory.
//! What a file is for, and what its text means, is left to those who ask for it.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
};

/// Why a file is not read, to be told beside its name.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    /// A folder.
    #[error("this is a folder, and a file is meant")]
    Folder,
    /// A pipe, a device or a socket.
    #[error("this is no regular file")]
    Irregular,
    /// More than anybody means.
    #[error("the file is too large: {size} bytes, and at most {most} are read")]
    Large {
        /// How large it is, as far as that is known.
        size: u64,
        /// What is read.
        most: u64,
    },
    /// Not text, from this byte on.
    #[error("the file is no UTF-8 text")]
    NotText(#[source] std::string::FromUtf8Error),
    /// What the system says.
    #[error("the file cannot be read: {0}")]
    System(#[source] io::Error),
}

impl InputError {
    /// What a person can do, where the message does not say it already.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Folder => Some("name the file in it"),
            Self::Irregular => {
                Some("name a file, and not a pipe or a device: write what comes out of it to a file first")
            }
            Self::NotText(_) => Some("save the file as UTF-8"),
            Self::System(error) if error.kind() == io::ErrorKind::NotFound => {
                Some("see that its path is spelled right")
            }
            Self::Large { .. } | Self::System(_) => None,
        }
    }
}

/// The bytes of a regular file that has at most so many.
pub(crate) fn bytes(path: &Path, most: u64) -> Result<Vec<u8>, InputError> {
    let metadata = fs::metadata(path).map_err(InputError::System)?;
    if metadata.is_dir() {
        return Err(InputError::Folder);
    }
    if !metadata.is_file() {
        // A pipe would be waited for without end.
        return Err(InputError::Irregular);
    }
    if metadata.len() > most {
        return Err(InputError::Large { size: metadata.len(), most });
    }
    whole(path, most)
}

/// Its text, without the mark that some editors put in front.
pub(crate) fn text(path: &Path, most: u64) -> Result<String, InputError> {
    as_text(bytes(path, most)?)
}

/// The text of a file, or of a pipe that the shell has made for this command (`--flag <(command)`): whoever made it
/// writes to it.
pub(crate) fn text_or_pipe(path: &Path, most: u64) -> Result<String, InputError> {
    if is_handed_over(path) { as_text(whole(path, most)?) } else { text(path, most) }
}

/// Whether a path is a pipe that this process was started with.
#[cfg(unix)]
fn is_handed_over(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    let ours = ["/dev/fd/", "/proc/self/fd/", "/dev/stdin"];
    ours.iter().any(|ours| path.to_string_lossy().starts_with(ours))
        && fs::metadata(path).is_ok_and(|file| file.file_type().is_fifo())
}

#[cfg(not(unix))]
fn is_handed_over(_path: &Path) -> bool {
    false
}

fn whole(path: &Path, most: u64) -> Result<Vec<u8>, InputError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(InputError::System)?;
    file.take(most + 1).read_to_end(&mut bytes).map_err(InputError::System)?;
    let size = bytes.len() as u64;
    // It may have grown since it was looked at, or never have said how large it is.
    if size > most { Err(InputError::Large { size, most }) } else { Ok(bytes) }
}

fn as_text(bytes: Vec<u8>) -> Result<String, InputError> {
    let mut text = String::from_utf8(bytes).map_err(InputError::NotText)?;
    if text.starts_with(MARK) {
        text.drain(..MARK.len_utf8());
    }
    Ok(text)
}

const MARK: char = '\u{feff}';

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_of_a_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "\u{feff}text").unwrap();
        assert_eq!(text(&file, 7).unwrap(), "text");
        assert!(matches!(text(&file, 6), Err(InputError::Large { size: 7, most: 6 })));
        assert!(matches!(text(folder.path(), 9), Err(InputError::Folder)));
        fs::write(&file, b"\xff\xfe\0").unwrap();
        assert!(matches!(text(&file, 9), Err(InputError::NotText(_))));
        assert!(matches!(text(&folder.path().join("none"), 9), Err(InputError::System(_))));
    }

    #[cfg(unix)]
    #[test]
    fn devices_and_pipes_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [Path::new("/dev/zero"), &pipe] {
            assert!(matches!(text_or_pipe(path, 9), Err(InputError::Irregular)), "{}", path.display());
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_pipe_of_ones_own_is_read_so_far() {
        use std::{io::Write as _, os::fd::AsRawFd as _};
        let read = |text: &str, most| {
            let (reader, mut writer) = io::pipe().unwrap();
            writer.write_all(text.as_bytes()).unwrap();
            drop(writer);
            text_or_pipe(Path::new(&format!("/proc/self/fd/{}", reader.as_raw_fd())), most)
        };
        assert_eq!(read("text", 4).unwrap(), "text");
        assert!(matches!(read("text", 3), Err(InputError::Large { .. })));
    }
}
