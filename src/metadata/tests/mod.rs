//! Known answers of the smaller clouds, and what holds for all of them.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::net::SocketAddr;

use super::*;
use crate::http::{Reply, Request, Response};

mod all;
mod small;

/// One server, and how it is asked.
pub(super) struct Asked {
    handler: Box<dyn crate::http::Handler>,
    local: SocketAddr,
}

impl Asked {
    pub(super) fn new(cloud: Cloud, options: &Options) -> Self {
        let definition = cloud.definition();
        Self { handler: (definition.server)(options), local: definition.endpoints[0] }
    }

    pub(super) fn at(self, local: SocketAddr) -> Self {
        Self { local, ..self }
    }

    pub(super) fn reply(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        self.handler.answer(&Request {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            body: body.as_bytes().to_vec(),
            peer: ([10, 0, 0, 1], 40_000).into(),
            local: self.local,
        })
    }

    pub(super) fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Response {
        match self.reply(method, target, headers, "") {
            Reply::Now(response) => response,
            Reply::Later(_) => panic!("{target} is answered later"),
        }
    }

    pub(super) fn get(&self, target: &str, headers: &[(&str, &str)]) -> Response {
        self.ask("GET", target, headers)
    }

    pub(super) fn set(&self, path: &str, value: &str) -> Result<(), String> {
        self.handler.set(path, value)
    }
}

pub(super) fn text(response: &Response) -> &str {
    std::str::from_utf8(&response.body).unwrap()
}

/// The names of the headers, in order.
pub(super) fn names(response: &Response) -> String {
    response.headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
}

/// The length, as the header says it; the body must be as long.
pub(super) fn length(response: &Response) -> usize {
    let length = response.header("Content-Length").unwrap().parse().unwrap();
    assert_eq!(response.body.len(), length);
    length
}
