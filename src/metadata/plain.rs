//! The answer that says no more than it must: what most of the smaller servers give, as far as their headers are known.

use super::clock::http_date;
use crate::http::Response;

/// A body with its type, the date and its length.
pub(super) fn plain(status: u16, content_type: &str, body: impl Into<String>) -> Response {
    let body = body.into();
    let (date, length) = (http_date(), body.len().to_string());
    Response::with(status, &[("Content-Type", content_type), ("Date", &date), ("Content-Length", &length)], body)
}
