//! Google Compute Engine's metadata server: which request gets which status, headers and form.
//!
//! Statuses, header order and lengths follow captures from real servers. Where none is known, a comment says so.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    Definition, GCE_V6, LINK_LOCAL, gcp_data,
    gcp_tree::{Kind, Node, as_text},
};
use crate::http::{Handler, Reply, Request, Response, reason};

/// Google's server.
pub(super) static DEFINITION: Definition = Definition {
    name: "gcp",
    hosts: &["metadata.google.internal", "metadata"],
    addresses: &[LINK_LOCAL, GCE_V6],
    headers: &[("Metadata-Flavor", "Google")],
    path: "/computeMetadata/v1/instance/image",
    server: |seed| Box::new(Gcp { tree: gcp_data::root(seed), seed: seed.to_owned() }),
};

const ERROR_PAGE: &str = include_str!("gcp_error.html");
const SERVER: &str = "Metadata Server for VM";
const TEXT: &str = "application/text";
const JSON: &str = "application/json";

struct Gcp {
    tree: Node,
    seed: String,
}

impl Handler for Gcp {
    fn answer(&self, request: &Request) -> Reply {
        let path = request.path.as_str();
        // The reason that the real page gives is not known.
        if request.header("X-Forwarded-For").is_some() {
            return forbidden(path, "").into();
        }
        let names = || path.split('/').filter(|name| !name.is_empty());
        if names().take(2).eq(["computeMetadata", "v1"]) && !has_flavor(request) {
            return forbidden(path, "Missing Metadata-Flavor:Google header.").into();
        }
        // What a real server says to other methods is not known.
        if !matches!(request.method.as_str(), "GET" | "HEAD") {
            let message = format!("The request method <code>{}</code> is not allowed.", escape(&request.method));
            return error(405, &message, "").into();
        }
        let slash = path.ends_with('/');
        match self.tree.find(names()) {
            Some(Node { kind: Kind::GuestAttributes, .. }) => {
                forbidden(path, "Guest attributes endpoint access is disabled.").into()
            }
            Some(node) if node.is_directory() && !slash => redirect(request).into(),
            Some(node) if node.is_directory() || !slash => self.value(node, path == "/", &Query::parse(&request.query)),
            _ => not_found(path).into(),
        }
    }
}

impl Gcp {
    fn value(&self, node: &Node, is_root: bool, query: &Query) -> Reply {
        let (alt, recursive, wait) = (query.get("alt"), query.is_set("recursive"), query.is_set("wait_for_change"));
        if node.is_directory() && !recursive && (alt.is_some() || wait) {
            return error(400, "Your client has issued a malformed or illegal request.", "").into();
        }
        let (content_type, body) = match &node.kind {
            Kind::Identity => match query.get("audience").filter(|audience| !audience.is_empty()) {
                // How the real server encloses these words is not known.
                None => return unsuccessful(400, "non-empty audience parameter required".to_owned()).into(),
                Some(audience) => {
                    (TEXT, gcp_data::identity(&self.seed, audience, query.get("format") == Some("full"), unix_time()))
                }
            },
            Kind::Text(value) if alt == Some("json") => (JSON, value.to_string()),
            Kind::Json(value) if alt != Some("text") => (JSON, value.to_string()),
            Kind::Text(value) | Kind::Json(value) => (TEXT, as_text(value)),
            _ if !recursive => (TEXT, node.listing()),
            _ if alt == Some("text") => (TEXT, node.lines()),
            _ => (JSON, node.json().to_string()),
        };
        let etag = etag(&body);
        let response = found(content_type, (!is_root).then_some(&etag), body);
        if !wait || query.get("last_etag").is_some_and(|last| last != etag) {
            return response.into();
        }
        // Nothing here ever changes.
        let limit = query.get("timeout_sec").and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
        Reply::Later(Box::pin(async move {
            match limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
            response
        }))
    }
}

/// The query's parameters, decoded.
struct Query(BTreeMap<String, String>);

impl Query {
    fn parse(query: &str) -> Self {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(k, v)| (decode(k), decode(v))).collect(),
        )
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn is_set(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| ["true", "on", "yes", "1"].iter().any(|yes| value.eq_ignore_ascii_case(yes)))
    }
}

/// Undoes percent and plus encoding. What is no valid encoding stays as it is.
fn decode(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    let hex = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    while let [first, tail @ ..] = rest {
        let (byte, left) = match (first, tail) {
            (b'+', _) => (b' ', tail),
            (b'%', [high, low, left @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, left),
                _ => (b'%', tail),
            },
            _ => (*first, tail),
        };
        bytes.push(byte);
        rest = left;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether the request says that it knows whom it asks. The second header is the older form. What a real server says to
/// another value is not known: here it counts as none.
fn has_flavor(request: &Request) -> bool {
    request.header("Metadata-Flavor") == Some("Google")
        || request.header("X-Google-Metadata-Request").is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

fn found(content_type: &str, etag: Option<&str>, body: String) -> Response {
    let mut headers = vec![("Metadata-Flavor", "Google"), ("Content-Type", content_type)];
    headers.extend(etag.map(|etag| ("ETag", etag)));
    assemble(200, &headers, &[("Server", SERVER)], body)
}

fn redirect(request: &Request) -> Response {
    let path = &request.path;
    let host = request.header("Host").unwrap_or(DEFINITION.hosts[0]);
    let query = if request.query.is_empty() { String::new() } else { format!("?{}", request.query) };
    let location = format!("http://{host}{path}/{query}");
    let before = [("Metadata-Flavor", "Google"), ("Location", location.as_str())];
    assemble(301, &before, &[("Content-Type", "text/html"), ("Server", SERVER)], format!("{path}/\n"))
}

fn not_found(path: &str) -> Response {
    error(404, &format!("The requested URL <code>{}</code> was not found on this server.", escape(path)), "")
}

fn forbidden(path: &str, detail: &str) -> Response {
    let message =
        format!("Your client does not have permission to get URL <code>{}</code> from this server.", escape(path));
    error(403, &message, detail)
}

fn error(status: u16, message: &str, detail: &str) -> Response {
    let page = ERROR_PAGE.replace("{code}", &status.to_string()).replace("{Reason}", reason(status));
    unsuccessful(status, page.replace("{detail}", detail).replace("{message}", message))
}

/// Refusals close the connection, a page that is not there does not.
fn unsuccessful(status: u16, body: String) -> Response {
    let after = [("Content-Type", "text/html; charset=UTF-8"), ("Server", SERVER), ("Connection", "Close")];
    assemble(status, &[("Metadata-Flavor", "Google")], if status == 403 { &after } else { &after[..2] }, body)
}

/// The common headers around those of a status: some in front of the date, some after it.
fn assemble(status: u16, before: &[(&str, &str)], after: &[(&str, &str)], body: String) -> Response {
    let (date, length) = (httpdate::fmt_http_date(SystemTime::now()), body.len().to_string());
    let date = ("Date", date.as_str());
    let common = [("Content-Length", length.as_str()), ("X-XSS-Protection", "0"), ("X-Frame-Options", "SAMEORIGIN")];
    let headers = before.iter().chain([&date]).chain(after).chain(&common);
    let headers = headers.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Response { status, headers, body: body.into_bytes() }
}

/// Opaque, sixteen lower-case hexadecimal digits. How a real server makes it is not known.
fn etag(body: &str) -> String {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
#[path = "gcp_test.rs"]
mod tests;
