//! What answers a request. Reading requests, writing answers and proving the identity is the server's business.

use std::{net::SocketAddr, pin::Pin};

use super::{Request, Response, parse::BODY};

/// Answers requests. It knows nothing of connections.
pub trait Handler: Send + Sync {
    /// The answer to a request.
    fn answer(&self, request: &Request) -> Reply;

    /// Whether connections to this address of the server are served at all. The others are closed at once.
    fn serves(&self, local: SocketAddr) -> bool {
        let _ = local;
        true
    }

    /// Whether a client that waits for leave to send its body (`Expect: 100-continue`) is given leave. Otherwise it is
    /// answered without its body, and the connection closed.
    fn gives_leave(&self) -> bool {
        true
    }

    /// The longest body that is read, in bytes. Longer ones are refused.
    fn longest_body(&self) -> usize {
        BODY
    }

    /// Changes a value while serving, as the control endpoint is asked to; what is wrong with that, if so.
    fn set(&self, path: &str, value: &str) -> Result<(), String> {
        let _ = value;
        Err(format!("nothing can be changed at {path}"))
    }
}

/// An answer, or the promise of one.
pub enum Reply {
    /// The answer is ready.
    Now(Response),
    /// The answer takes time, as one that waits for a change. It is dropped when the client goes away.
    Later(Pin<Box<dyn Future<Output = Response> + Send>>),
}

impl From<Response> for Reply {
    fn from(response: Response) -> Self {
        Self::Now(response)
    }
}

impl Response {
    /// A response with that content type.
    #[must_use]
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("Content-Type", content_type.to_owned())];
        Self { status, headers, body: body.into(), ..Self::default() }
    }

    /// Plain text.
    #[must_use]
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Self::new(status, "text/plain; charset=utf-8", body.into())
    }

    /// A response with these headers, in this order.
    #[must_use]
    pub fn with(status: u16, headers: &[(&'static str, &str)], body: impl Into<Vec<u8>>) -> Self {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self { status, headers, body: body.into(), ..Self::default() }
    }

    /// The first header of that name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// What pods, nodes and outside hosts serve: whatever is asked, the server's identity on a line.
pub struct Echo(String);

impl Echo {
    /// An echo with this identity.
    #[must_use]
    pub fn new(identity: &str) -> Self {
        Self(format!("{identity}\n"))
    }
}

impl Handler for Echo {
    fn answer(&self, _: &Request) -> Reply {
        Response::text(200, self.0.as_str()).into()
    }
}
