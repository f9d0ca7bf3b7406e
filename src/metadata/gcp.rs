//! Google Compute Engine's metadata server: which request gets which status, headers and form.
//!
//! Statuses, header order and lengths follow captures from real servers. Where none is known, a comment says so.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::sync::watch;

use super::{
    Definition, GCE_V6, LINK_LOCAL, Options,
    clock::{http_date, unix_time},
    gcp_data,
    gcp_tree::{Form, Identity, Node, Unfit},
    on,
    query::Query,
};
use crate::http::{Handler, Reply, Request, Response, reason};

/// Google's server.
pub(super) static DEFINITION: Definition = Definition {
    name: "gcp",
    title: "Google Compute Engine",
    hosts: &["metadata.google.internal", "metadata"],
    endpoints: &[on(LINK_LOCAL, 80), on(GCE_V6, 80)],
    headers: &[("Metadata-Flavor", "Google")],
    path: "/computeMetadata/v1/instance/image",
    server: |options| Box::new(Gcp::new(options)),
};

const ERROR_PAGE: &str = include_str!("gcp_error.html");
const SERVER: &str = "Metadata Server for VM";

/// The server. Requests that wait for a change outlive the call that they came by.
struct Gcp(Arc<Shared>);

struct Shared {
    tree: RwLock<Node>,
    /// How often a value was changed.
    changes: watch::Sender<u64>,
    seed: String,
    /// Whether the ways of before the header are open too.
    legacy: bool,
}

impl Handler for Gcp {
    fn answer(&self, request: &Request) -> Reply {
        let path = request.path.as_str();
        // The reason that the real page gives is not known.
        if request.header("X-Forwarded-For").is_some() {
            return forbidden(path, "").into();
        }
        let names = self.0.names(path);
        let is_v1 = path.split('/').filter(|name| !name.is_empty()).take(2).eq(["computeMetadata", "v1"]);
        if is_v1 && !has_flavor(request) {
            return forbidden(path, "Missing Metadata-Flavor:Google header.").into();
        }
        // The only values that may be written. What a real server says to other methods elsewhere is not known.
        if !request.is_read() && !self.0.is_closed(&names) {
            let message = format!("The request method <code>{}</code> is not allowed.", escape(&request.method));
            return error(405, &message, "").into();
        }
        let query = Query::parse(&request.query);
        let response = match self.0.look_up(&names, path, &query) {
            Found::Redirect => return redirect(request).into(),
            Found::Refused(response) => return response.into(),
            Found::Value(response) => response,
        };
        let before = match (query.is_set("wait_for_change"), query.get("last_etag")) {
            (false, _) => return response.into(),
            (true, None) => response.header("ETag").unwrap_or_default().to_owned(),
            (true, Some(last)) if Some(last) != response.header("ETag") => return response.into(),
            (true, Some(last)) => last.to_owned(),
        };
        self.wait(names, path.to_owned(), query, before)
    }

    fn set(&self, path: &str, value: &str) -> Result<(), String> {
        let names = self.0.names(path);
        self.0.tree.write().unwrap_or_else(PoisonError::into_inner).set(&names, value)?;
        self.0.changes.send_modify(|count| *count += 1);
        Ok(())
    }
}

/// What is at a path.
enum Found {
    /// A value, in the form asked for.
    Value(Response),
    /// A directory, asked for without a slash.
    Redirect,
    /// Nothing that could be had.
    Refused(Response),
}

impl Gcp {
    fn new(options: &Options) -> Self {
        Self(Arc::new(Shared {
            tree: RwLock::new(gcp_data::root(&options.seed)),
            changes: watch::Sender::new(0),
            seed: options.seed.clone(),
            legacy: options.legacy,
        }))
    }

    /// Answers when the value is another one than that with this tag, or the time is over.
    fn wait(&self, names: Vec<String>, path: String, query: Query, before: String) -> Reply {
        let shared = Arc::clone(&self.0);
        let limit = query.get("timeout_sec").and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
        let mut changes = shared.changes.subscribe();
        Reply::Later(Box::pin(async move {
            let current = |shared: &Shared| match shared.look_up(&names, &path, &query) {
                Found::Value(response) | Found::Refused(response) => response,
                Found::Redirect => not_found(&path),
            };
            let until_changed = async {
                loop {
                    let response = current(&shared);
                    if response.header("ETag") != Some(before.as_str()) {
                        return response;
                    }
                    if changes.changed().await.is_err() {
                        return response;
                    }
                }
            };
            match limit {
                Some(limit) => tokio::time::timeout(limit, until_changed).await.unwrap_or_else(|_| current(&shared)),
                None => until_changed.await,
            }
        }))
    }
}

impl Shared {
    /// The names on the way to a value, the older ways among them where they are open.
    fn names(&self, path: &str) -> Vec<String> {
        let names: Vec<_> = path.split('/').filter(|name| !name.is_empty()).collect();
        let (start, rest): (&[&str], _) = match names[..] {
            ["computeMetadata", "v1beta1", ref rest @ ..] if self.legacy => (&["computeMetadata", "v1"], rest),
            ["0.1", "meta-data", ref rest @ ..] if self.legacy => (&["computeMetadata", "v1", "instance"], rest),
            ref names => (&[], names),
        };
        start.iter().chain(rest).map(|name| (*name).to_owned()).collect()
    }

    /// Whether everything at a path is switched off.
    fn is_closed(&self, names: &[String]) -> bool {
        let tree = self.tree.read().unwrap_or_else(PoisonError::into_inner);
        tree.find(names.iter().map(String::as_str)).is_some_and(Node::is_closed)
    }

    fn look_up(&self, names: &[String], path: &str, query: &Query) -> Found {
        let slash = path.ends_with('/');
        if names.is_empty() && self.legacy {
            return Found::Value(found(Form::TEXT, None, "0.1/\ncomputeMetadata/\n".to_owned()));
        }
        let tree = self.tree.read().unwrap_or_else(PoisonError::into_inner);
        let Some(node) = tree.find(names.iter().map(String::as_str)).filter(|node| node.is_directory() || !slash)
        else {
            return Found::Refused(not_found(path));
        };
        if node.is_closed() {
            return Found::Refused(forbidden(path, "Guest attributes endpoint access is disabled."));
        }
        if node.is_directory() && !slash {
            return Found::Redirect;
        }
        let (seed, now) = (self.seed.as_str(), unix_time());
        let identity = Identity { token: &|audience, full| gcp_data::identity(seed, audience, full, now) };
        match node.form(query, &identity) {
            Ok(Form { content_type, body }) => {
                let etag = etag(&body);
                Found::Value(found(content_type, (!names.is_empty()).then_some(&etag), body))
            }
            // How the real server encloses these words is not known.
            Err(Unfit::NoAudience) => Found::Refused(unsuccessful(400, Unfit::NO_AUDIENCE.to_owned())),
            Err(Unfit::Malformed) => {
                Found::Refused(error(400, "Your client has issued a malformed or illegal request.", ""))
            }
        }
    }
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
fn assemble(status: u16, before: &[(&'static str, &str)], after: &[(&'static str, &str)], body: String) -> Response {
    let (date, length) = (http_date(), body.len().to_string());
    let date = ("Date", date.as_str());
    let common = [("Content-Length", length.as_str()), ("X-XSS-Protection", "0"), ("X-Frame-Options", "SAMEORIGIN")];
    let headers = before.iter().chain([&date]).chain(after).chain(&common);
    let headers = headers.map(|(name, value)| (*name, (*value).to_owned())).collect();
    Response { status, headers, body: body.into_bytes(), ..Response::default() }
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

#[cfg(test)]
#[path = "gcp_test.rs"]
mod tests;
