//! AWS' instance metadata service (IMDS): which request gets which status and headers.
//!
//! Statuses, header order and lengths follow captures from real servers. Where none is known, a comment says so.

use super::{
    Definition, EC2_V6, Imds, LINK_LOCAL, Options, aws_data,
    aws_token::Tokens,
    clock::{http_date, unix_time},
    on,
    text_tree::Node,
};
use crate::http::{Handler, Reply, Request, Response};

/// AWS' server.
pub(super) static DEFINITION: Definition = Definition {
    name: "aws",
    title: "AWS EC2",
    hosts: &["instance-data.ec2.internal", "instance-data"],
    endpoints: &[on(LINK_LOCAL, 80), on(EC2_V6, 80)],
    headers: &[],
    path: "/latest/meta-data/instance-id",
    server: |options| Box::new(Aws::new(options)),
};

const TOKEN_PATH: &str = "/latest/api/token";
/// The header with a token.
const TOKEN: &str = "X-aws-ec2-metadata-token";
/// The header with a token's lifetime in seconds, as answers spell it.
const TTL: &str = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds";

const NOT_FOUND: &str = include_str!("aws_not_found.html");
const SERVER: &str = "EC2ws";
/// When the values were last changed, as every answer says.
const LAST_MODIFIED: &str = "Thu, 27 Jun 2024 22:17:40 GMT";

struct Aws {
    tree: Node,
    tokens: Tokens,
    options: Options,
}

impl Aws {
    fn new(options: &Options) -> Self {
        Self { tree: aws_data::tree(&options.seed, options.bare), tokens: Tokens::default(), options: options.clone() }
    }

    fn token(&self, request: &Request) -> Response {
        match request.method.as_str() {
            "PUT" => {}
            // What a real server says to OPTIONS, beside naming it here, is not known.
            "OPTIONS" => return self.plain(200, &[("Allow", "OPTIONS, PUT")], None),
            _ => {
                let refused = self.plain(405, &[("Allow", "OPTIONS, PUT")], None);
                return Response { reason: Some("Not Allowed"), ..refused };
            }
        }
        if request.header("X-Forwarded-For").is_some() {
            return self.plain(403, &[], None);
        }
        if request.header("Expect").is_some() {
            return self.plain(417, &[], None);
        }
        let ttl = request.header(TTL).and_then(|ttl| ttl.parse().ok()).filter(|ttl| (1..=21_600).contains(ttl));
        // That the body of this refusal is empty is inferred.
        let Some(ttl) = ttl else { return self.plain(400, &[], None) };
        let token = self.tokens.issue(unix_time(), ttl);
        let given = self.plain(200, &[(TTL, &ttl.to_string())], Some(token));
        Response { hop_limit: self.options.hop_limit, ..given }
    }

    /// An answer without a file behind it: the server's own.
    fn plain(&self, status: u16, before: &[(&'static str, &str)], body: Option<String>) -> Response {
        let (date, body) = (http_date(), body.unwrap_or_default());
        let length = body.len().to_string();
        let usual = [("Content-Length", length.as_str()), ("Date", &date), ("Server", SERVER)];
        let headers: Vec<_> = before.iter().chain(&usual).copied().chain(self.close()).collect();
        let mut response = Response::with(status, &headers, body);
        response.headers.push(("Content-Type", "text/plain".to_owned()));
        response
    }

    fn close(&self) -> Option<(&'static str, &'static str)> {
        (!self.options.keep_alive).then_some(("Connection", "close"))
    }

    /// The type of this answer is inferred.
    fn not_found(&self) -> Response {
        let mut response = self.plain(404, &[], Some(NOT_FOUND.to_owned()));
        if let Some((_, content_type)) = response.headers.last_mut() {
            "text/html".clone_into(content_type);
        }
        response
    }

    fn value(&self, content_type: &str, token: Option<u64>, body: String) -> Response {
        let (date, length, left) = (http_date(), body.len().to_string(), token.map(|left| left.to_string()));
        let ttl = left.as_deref().map(|left| (TTL, left));
        if self.options.legacy {
            // As on Xen hosts.
            let headers = [
                ("Content-Type", content_type),
                ("Accept-Ranges", "bytes"),
                ("ETag", "\"3138592401\""),
                ("Last-Modified", LAST_MODIFIED),
                ("Content-Length", &length),
                ("Connection", "close"),
                ("Date", &date),
                ("Server", SERVER),
            ];
            return Response { is_old: true, ..Response::with(200, &headers, body) };
        }
        let usual = [
            ("Content-Type", content_type),
            ("Accept-Ranges", "none"),
            ("Last-Modified", LAST_MODIFIED),
            ("Content-Length", &length),
            ("Date", &date),
            ("Server", SERVER),
        ];
        let headers: Vec<_> = ttl.into_iter().chain(usual).chain(self.close()).collect();
        Response::with(200, &headers, body)
    }

    /// What is below a version; `/` lists the versions.
    fn get(&self, path: &str, token: Option<u64>) -> Response {
        let mut names = path.split('/').filter(|name| !name.is_empty());
        let Some(version) = names.next() else {
            return self.value("text/plain", token, aws_data::VERSIONS.join("\n"));
        };
        if !aws_data::VERSIONS.contains(&version) {
            return self.not_found();
        }
        let rest = names.collect::<Vec<_>>().join("/");
        match self.tree.find(&rest) {
            None => self.not_found(),
            Some(Node::Value(value)) => {
                let content_type = if rest == "user-data" { "application/octet-stream" } else { "text/plain" };
                self.value(content_type, token, value.at(unix_time()))
            }
            Some(_) if self.options.legacy && !path.ends_with('/') => {
                let (date, location) = (http_date(), format!("http://169.254.169.254{path}/"));
                let headers = [
                    ("Location", location.as_str()),
                    ("Content-Length", "0"),
                    ("Connection", "close"),
                    ("Date", &date),
                    ("Server", SERVER),
                ];
                Response { is_old: true, ..Response::with(301, &headers, "") }
            }
            Some(directory) => {
                // Listings of dynamic data end their last line, those of metadata do not.
                let end = if rest.starts_with("dynamic") { "\n" } else { "" };
                self.value("text/plain", token, directory.listing() + end)
            }
        }
    }
}

impl Handler for Aws {
    fn answer(&self, request: &Request) -> Reply {
        if self.options.imds == Imds::Disabled {
            return self.plain(403, &[], None).into();
        }
        if request.path == TOKEN_PATH {
            return self.token(request).into();
        }
        match request.method.as_str() {
            "GET" | "HEAD" => {}
            // Only the undated path gives tokens, which "is intended".
            "PUT" if request.path.ends_with("/api/token") => return self.plain(403, &[], None).into(),
            // What a real server says to other methods is not known, but that there are only two.
            _ => {
                let refused = self.plain(405, &[("Allow", "GET, HEAD")], None);
                return Response { reason: Some("Not Allowed"), ..refused }.into();
            }
        }
        let token = match request.header(TOKEN) {
            // Whether tokens are optional or not.
            Some(token) => match self.tokens.check(token, unix_time()) {
                Some(left) => Some(left),
                None => return self.plain(401, &[], None).into(),
            },
            None if self.options.imds == Imds::V2 => return self.plain(401, &[], None).into(),
            None => None,
        };
        self.get(&request.path, token).into()
    }

    fn gives_leave(&self) -> bool {
        false
    }
}

#[cfg(test)]
#[path = "aws_test.rs"]
mod tests;
