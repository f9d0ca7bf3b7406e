//! Bodies in chunks (RFC 9112 section 7.1), from bytes. Pure.

use super::parse::Refusal;

/// The longest line that announces a chunk, extensions included, and the longest trailer line, in bytes.
const LINE: usize = 4 << 10;
/// The most trailer lines.
const TRAILERS: usize = 100;

/// Takes a body in chunks from the front of a buffer, as far as it is there.
#[derive(Debug)]
pub(super) struct Chunked {
    body: Vec<u8>,
    longest: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// The line with the next chunk's length comes next.
    #[default]
    Length,
    /// So many bytes of a chunk are left.
    Data(usize),
    /// The end of a chunk's line comes next.
    End,
    /// So many trailer lines have come.
    Trailer(usize),
}

impl Chunked {
    /// A body of at most so many bytes.
    pub(super) fn new(longest: usize) -> Self {
        Self { body: Vec::new(), longest, state: State::default() }
    }

    /// Reads on; the body, once all of it is there.
    pub(super) fn read(&mut self, buffer: &mut Vec<u8>) -> Result<Option<Vec<u8>>, Refusal> {
        loop {
            if let State::Data(left) = self.state {
                let taken = left.min(buffer.len());
                self.body.extend(buffer.drain(..taken));
                self.state = if taken == left { State::End } else { State::Data(left - taken) };
                if taken < left {
                    return Ok(None);
                }
                continue;
            }
            let Some(line) = line(buffer)? else { return Ok(None) };
            self.state = match self.state {
                State::Length => match length(&line)? {
                    0 => State::Trailer(0),
                    length if length > self.longest - self.body.len() => return Err(Refusal(413)),
                    length => State::Data(length),
                },
                State::End if line.is_empty() => State::Length,
                State::Trailer(_) if line.is_empty() => return Ok(Some(std::mem::take(&mut self.body))),
                State::Trailer(count) if count < TRAILERS => State::Trailer(count + 1),
                State::End | State::Trailer(_) | State::Data(_) => return Err(Refusal(400)),
            };
        }
    }
}

/// Takes a line without its end.
fn line(buffer: &mut Vec<u8>) -> Result<Option<Vec<u8>>, Refusal> {
    let Some(end) = buffer.iter().take(LINE).position(|byte| *byte == b'\n') else {
        return if buffer.len() < LINE { Ok(None) } else { Err(Refusal(400)) };
    };
    let mut line: Vec<u8> = buffer.drain(..=end).collect();
    line.pop();
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(Some(line))
}

/// A chunk's length; what follows a semicolon is an extension, which nobody here knows.
fn length(line: &[u8]) -> Result<usize, Refusal> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let text = std::str::from_utf8(digits).map_err(|_| Refusal(400))?;
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Refusal(400));
    }
    // More than sixteen digits are a body that is too long, or zeros that nobody sends.
    usize::from_str_radix(text, 16).map_err(|_| Refusal(413))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::parse::BODY;

    fn whole(text: &str) -> Result<Option<Vec<u8>>, Refusal> {
        Chunked::new(BODY).read(&mut text.as_bytes().to_vec())
    }

    #[test]
    fn chunks_are_joined_and_what_follows_stays() {
        let mut buffer = b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nGET".to_vec();
        assert_eq!(Chunked::new(BODY).read(&mut buffer), Ok(Some(b"abc0123456789".to_vec())));
        assert_eq!(buffer, b"GET");
    }

    #[test]
    fn bad_chunks_are_refused() {
        for text in ["x\r\n", "\r\n", "-1\r\n", "3\r\nabcd\r\n", &"1".repeat(LINE)] {
            assert_eq!(whole(text), Err(Refusal(400)), "{text:?}");
        }
        assert_eq!(whole("200000\r\n"), Err(Refusal(413)));
        assert_eq!(whole("fffffffffffffffff\r\n"), Err(Refusal(413)));
        let trailers = "a: b\r\n".repeat(TRAILERS + 1);
        assert_eq!(whole(&format!("0\r\n{trailers}\r\n")), Err(Refusal(400)));
    }

    proptest! {
        #[test]
        fn a_body_reads_the_same_however_it_is_cut(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..6),
            cut in 1_usize..9
        ) {
            let mut bytes = Vec::new();
            for part in &parts {
                bytes.extend(format!("{:x}\r\n", part.len()).into_bytes());
                bytes.extend(part);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\n\r\nrest");
            let (mut chunked, mut buffer, mut found) = (Chunked::new(BODY), Vec::new(), None);
            for piece in bytes.chunks(cut) {
                buffer.extend(piece);
                if found.is_none() {
                    found = chunked.read(&mut buffer).unwrap();
                }
            }
            prop_assert_eq!(found, Some(parts.concat()));
            prop_assert_eq!(buffer, b"rest");
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let mut chunked = Chunked::new(BODY);
            let mut buffer = bytes.clone();
            let before = bytes.len();
            let _ = chunked.read(&mut buffer);
            prop_assert!(buffer.len() <= before);
        }
    }
}
