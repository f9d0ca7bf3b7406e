//! Requests, responses, and the headers by which a probe recognises its server.

use std::net::SocketAddr;

/// The request header that carries a probe's nonce, and the response header that brings it back.
pub const NONCE: &str = "Policyprobe-Nonce";
/// The response header with the server's identity. It is sent only where the request carried a nonce.
pub const SERVER: &str = "Policyprobe-Server";
/// The response header with the address that the request came from, as the server saw it; sent where [`SERVER`] is.
pub const CLIENT: &str = "Policyprobe-Client";
/// The one path that an emulator answers by itself: harmless on a real metadata server, where it does not exist.
pub const IDENTITY_PATH: &str = "/.policyprobe/identity";

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method, as it came.
    pub method: String,
    /// The path without the query, as it came.
    pub path: String,
    /// The query without its question mark, as it came.
    pub query: String,
    /// Headers in order, as they came.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Who asks.
    pub peer: SocketAddr,
    /// The address that was asked.
    pub local: SocketAddr,
}

impl Request {
    /// Whether it asks for something, and for nothing else.
    #[must_use]
    pub fn is_read(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD")
    }

    /// The first header of that name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// A response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Headers, in the order and the spelling in which they are sent. `Content-Length` is added where it is missing.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// What the status line says after the status, where it is not the phrase of RFC 9110.
    pub reason: Option<&'static str>,
    /// Whether the status line says HTTP/1.0.
    pub is_old: bool,
    /// How many hops the packets of this answer may take (IP's TTL, IPv6's hop limit); the system's default where nothing is
    /// said.
    pub hop_limit: Option<u8>,
}
