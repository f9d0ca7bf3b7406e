//! The head of a request, from bytes. Pure; it accepts what RFC 9112 lets a lenient server accept and refuses the rest.

/// The longest request line, in bytes.
pub(super) const REQUEST_LINE: usize = 8 << 10;
/// The longest head: request line, headers and blank lines, in bytes.
pub(super) const HEAD: usize = 32 << 10;
/// The most headers.
pub(super) const HEADERS: usize = 100;
/// The longest body where nothing else is said, in bytes.
pub(super) const BODY: usize = 1 << 20;

/// A request without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: Vec<(String, String)>,
    /// Whether the client wants to send more requests over this connection.
    pub(super) keep_alive: bool,
    /// How the body is delimited.
    pub(super) body: Body,
    /// Whether the client waits for an interim answer before it sends the body.
    pub(super) expects_continue: bool,
}

/// How a request's body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// It has so many bytes.
    Length(usize),
    /// It comes in chunks.
    Chunked,
}

/// A request that is answered with an error and a closed connection, by this status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal(pub(super) u16);

const BAD: Refusal = Refusal(400);

/// The head at the start of `bytes` and its length in bytes; nothing while it is incomplete.
pub(super) fn head(bytes: &[u8]) -> Result<Option<(Head, usize)>, Refusal> {
    let Some((lines, length)) = lines(bytes)? else { return Ok(None) };
    let [request_line, fields @ ..] = lines.as_slice() else { return Err(BAD) };
    if fields.len() > HEADERS {
        return Err(Refusal(431));
    }
    let (method, target, minor) = start(request_line)?;
    let headers = fields.iter().map(|line| field(line)).collect::<Result<Vec<_>, _>>()?;
    let (authority, path, query) = split_target(target)?;
    let mut head = Head {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        keep_alive: minor > 0 && !has_token(&headers, "Connection", "close"),
        body: body_length(&headers)?,
        expects_continue: minor > 0 && has_token(&headers, "Expect", "100-continue"),
        headers,
    };
    if let Some(authority) = authority {
        // RFC 9112 section 3.2.2: the host of an absolute target replaces the header's.
        head.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("Host"));
        head.headers.insert(0, ("Host".to_owned(), authority.to_owned()));
    }
    Ok(Some((head, length)))
}

/// Lines and how many bytes they are.
type Lines<'a> = (Vec<&'a [u8]>, usize);

/// The lines of a complete head without their ends, and its length. Blank lines in front are skipped, a lone line feed
/// ends a line (RFC 9112 section 2.2).
fn lines(bytes: &[u8]) -> Result<Option<Lines<'_>>, Refusal> {
    let (mut lines, mut length) = (Vec::new(), 0);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if lines.is_empty() && line.len() > REQUEST_LINE {
            return Err(Refusal(414));
        }
        length += line.len();
        // The request line and the headers; how many there are is known before the head is complete.
        if length > HEAD || lines.len() > HEADERS + 1 {
            return Err(Refusal(431));
        }
        let Some(line) = line.strip_suffix(b"\n") else { break };
        match line.strip_suffix(b"\r").unwrap_or(line) {
            [] if lines.is_empty() => {}
            [] => return Ok(Some((lines, length))),
            line => lines.push(line),
        }
    }
    Ok(None)
}

/// Method, target and minor version.
fn start(line: &[u8]) -> Result<(&str, &str, u8), Refusal> {
    let line = std::str::from_utf8(line).map_err(|_| BAD)?;
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(BAD);
    };
    if !is_token(method) || target.is_empty() || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(BAD);
    }
    match version.strip_prefix("HTTP/").map(str::as_bytes) {
        Some([b'1', b'.', minor @ b'0'..=b'9']) => Ok((method, target, minor - b'0')),
        Some([b'0'..=b'9', b'.', b'0'..=b'9']) => Err(Refusal(505)),
        _ => Err(BAD),
    }
}

/// The authority of an absolute target, the path, and the query without its question mark.
fn split_target(target: &str) -> Result<(Option<&str>, &str, &str), Refusal> {
    let (authority, rest) = if target.starts_with('/') || target == "*" {
        (None, target)
    } else {
        let (_, rest) = target
            .split_once("://")
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https"))
            .ok_or(BAD)?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        if authority.is_empty() {
            return Err(BAD);
        }
        (Some(authority), rest)
    };
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    Ok((authority, if path.is_empty() { "/" } else { path }, query))
}

fn field(line: &[u8]) -> Result<(String, String), Refusal> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or(BAD)?;
    let (name, value) = (std::str::from_utf8(&line[..colon]).map_err(|_| BAD)?, line[colon + 1..].trim_ascii());
    // A space in front of the colon or of the name, as in a folded line, hides headers from one of two parsers.
    if !is_token(name) || value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return Err(BAD);
    }
    Ok((name.to_owned(), String::from_utf8_lossy(value).into_owned()))
}

fn body_length(headers: &[(String, String)]) -> Result<Body, Refusal> {
    let mut lengths = values(headers, "Content-Length");
    let mut codings = values(headers, "Transfer-Encoding");
    if let Some(coding) = codings.next() {
        // Both at once, or codings one upon another, are how requests are smuggled past a proxy (RFC 9112 section 6.1).
        return match (coding.eq_ignore_ascii_case("chunked"), codings.next(), lengths.next()) {
            (true, None, None) => Ok(Body::Chunked),
            (false, ..) => Err(Refusal(501)),
            _ => Err(BAD),
        };
    }
    let Some(first) = lengths.next() else { return Ok(Body::Length(0)) };
    if lengths.any(|value| value != first) || first.is_empty() || !first.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BAD);
    }
    first.parse().map(Body::Length).map_err(|_| Refusal(413))
}

fn values<'a>(headers: &'a [(String, String)], name: &'a str) -> impl Iterator<Item = &'a str> {
    headers.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

fn has_token(headers: &[(String, String)], name: &str, token: &str) -> bool {
    values(headers, name).flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(token))
}

/// The longest nonce.
const NONCE_LENGTH: usize = 128;

/// Whether this may be a probe's nonce.
pub(crate) fn is_nonce(text: &str) -> bool {
    text.len() <= NONCE_LENGTH && is_token(text)
}

/// Whether this is a token of RFC 9110 section 5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    let special = b"!#$%&'*+-.^_`|~";
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || special.contains(&byte))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Head {
        let (head, length) = head(text.as_bytes()).unwrap().unwrap();
        assert_eq!(length, text.len());
        head
    }

    fn status(text: &str) -> u16 {
        head(text.as_bytes()).unwrap_err().0
    }

    #[test]
    fn every_form_of_a_request_is_read() {
        let old = parsed("GET / HTTP/1.0\r\n\r\n");
        assert_eq!((old.path.as_str(), old.keep_alive, old.headers.len()), ("/", false, 0));
        let new = parsed("\r\nPUT /a?b=c?d HTTP/1.1\nX-y:  z \nContent-Length: 3\nExpect: 100-Continue\n\n");
        assert_eq!((new.path.as_str(), new.query.as_str(), new.body), ("/a", "b=c?d", Body::Length(3)));
        assert_eq!(new.headers[0], ("X-y".to_owned(), "z".to_owned()));
        assert!(new.keep_alive && new.expects_continue);
        let absolute = parsed("GET http://a.b:8?q HTTP/1.1\r\nHost: other\r\nConnection: x, Close\r\n\r\n");
        assert_eq!((absolute.path.as_str(), absolute.query.as_str(), absolute.keep_alive), ("/", "q", false));
        assert_eq!(absolute.headers[0], ("Host".to_owned(), "a.b:8".to_owned()));
        assert_eq!(absolute.headers.len(), 2);
    }

    #[test]
    fn bad_requests_are_refused() {
        for text in ["GET /\r\n\r\n", "GET  / HTTP/1.1\r\n\r\n", "G T / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1 \r\n\r\n"] {
            assert_eq!(status(text), 400, "{text:?}");
        }
        for field in ["a b: c", "a : c", " a: c", ": c", "a", "a: \0", "Content-Length: -1", "Content-Length: "] {
            assert_eq!(status(&format!("GET / HTTP/1.1\r\nx: y\r\n{field}\r\n\r\n")), 400, "{field:?}");
        }
        assert_eq!(status("GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"), 400);
        assert_eq!(status("GET / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n"), 413);
        assert_eq!(parsed("GET / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n").body, Body::Chunked);
        assert_eq!(status("GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n"), 501);
        assert_eq!(status("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n"), 400);
        assert_eq!(status("GET / HTTP/2.0\r\n\r\n"), 505);
        assert_eq!(status("CONNECT a:1 HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(status(&format!("GET /{}", "x".repeat(REQUEST_LINE))), 414);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\na: {}", "x".repeat(HEAD))), 431);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS + 1))), 431);
        assert_eq!(status(&"\r\n".repeat(HEAD)), 431);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            if let Ok(Some((_, length))) = head(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }

        #[test]
        fn a_request_reads_the_same_however_it_is_cut(
            text in "(\r\n)?[A-Z ]{1,5} [a-z/:?*]{0,9} HTTP/[0-2]\\.[01]\r?\n([A-Za-z:, -]{0,12}(: 1)?\r?\n){0,4}\r?\n[a-z]{0,3}"
        ) {
            let bytes = text.as_bytes();
            let whole = head(bytes);
            let first = (0..=bytes.len()).map(|end| head(&bytes[..end])).find(|read| *read != Ok(None));
            prop_assert_eq!(first.unwrap_or(Ok(None)), whole);
        }

        #[test]
        fn what_was_sent_is_what_is_read(
            method in "[A-Z]{1,8}", path in "/[!-9;-~&&[^?]]{0,30}",
            fields in proptest::collection::vec(("x-[a-zA-Z!~]{1,9}", "[!-~]{1,9}( [!-~]{1,9})?"), 0..9)
        ) {
            let lines = fields.iter().flat_map(|(name, value)| [name, ": ", value, "\r\n"]).collect::<String>();
            let read = parsed(&format!("{method} {path} HTTP/1.1\r\n{lines}\r\n"));
            prop_assert_eq!((read.method, read.path, read.headers), (method, path, fields));
        }
    }
}
