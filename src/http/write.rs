//! The bytes of an answer.

use super::Response;

/// The interim answer that lets a client send the body it announced.
pub(super) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// An answer's bytes: the headers as they are, `Content-Length` if it is missing, then `extra`. A body that must not be
/// sent (to HEAD) still counts for the length.
pub(super) fn bytes(response: &Response, extra: &[(&str, &str)], with_body: bool) -> Vec<u8> {
    let bodiless = matches!(response.status, 100..200 | 204 | 304);
    let version: &[u8] = if response.is_old { b"HTTP/1.0 " } else { b"HTTP/1.1 " };
    let mut bytes = Vec::with_capacity(512 + if with_body { response.body.len() } else { 0 });
    for part in [version, &digits(response.status), b" ", response.reason.unwrap_or(reason(response.status)).as_bytes()]
    {
        bytes.extend_from_slice(part);
    }
    bytes.extend_from_slice(b"\r\n");
    let mut header = |name: &str, value: &str| {
        for part in [name, ": ", value] {
            if part.bytes().any(|byte| matches!(byte, b'\r' | b'\n')) {
                // A line break in a value would start a header of its own.
                bytes.extend(part.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')));
            } else {
                bytes.extend_from_slice(part.as_bytes());
            }
        }
        bytes.extend_from_slice(b"\r\n");
    };
    for (name, value) in &response.headers {
        header(name, value);
    }
    if !bodiless && response.header("Content-Length").is_none() {
        header("Content-Length", &response.body.len().to_string());
    }
    for (name, value) in extra {
        header(name, value);
    }
    bytes.extend_from_slice(b"\r\n");
    if with_body && !bodiless {
        bytes.extend_from_slice(&response.body);
    }
    bytes
}

/// The three digits of a status.
fn digits(status: u16) -> [u8; 3] {
    [status / 100, status / 10, status].map(|digit| b'0' + u8::try_from(digit % 10).unwrap_or_default())
}

/// The reason phrase of a status, RFC 9110 section 15.
pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_keep_order_and_spelling_and_the_length_is_added_once() {
        let mut response = Response { headers: vec![("ETag", "x\r\ny".into())], ..Response::text(404, "no") };
        let text =
            |response: &Response, body| String::from_utf8_lossy(&bytes(response, &[("A", "b")], body)).into_owned();
        assert_eq!(text(&response, true), "HTTP/1.1 404 Not Found\r\nETag: xy\r\nContent-Length: 2\r\nA: b\r\n\r\nno");
        response.headers.insert(0, ("content-length", "2".into()));
        assert_eq!(text(&response, false), "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\nETag: xy\r\nA: b\r\n\r\n");
        response = Response { status: 204, ..Response::default() };
        assert_eq!(text(&response, true), "HTTP/1.1 204 No Content\r\nA: b\r\n\r\n");
    }
}
