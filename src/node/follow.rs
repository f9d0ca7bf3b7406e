//! A watch that goes on: after a lost connection from the last version, and from a new list where that has expired.

use std::{pin::pin, time::Duration};

use async_stream::try_stream;
use futures::{Stream, TryStreamExt as _};
use kube::{Error, core::WatchEvent};
use serde_json::Value;

use super::source::{Source, said};

/// What happens in a watch.
#[derive(Debug)]
pub enum Seen {
    /// Nodes are about to be listed, for this reason.
    ListBegins(String),
    /// A node of the list.
    Listed(Value),
    /// The list is whole.
    ListEnds,
    /// A node was added or changed.
    Applied(Value),
    /// A node was deleted.
    Deleted(Value),
    /// Nothing happened, and the watch stands.
    Alive,
    /// The connection was lost, for this reason; it is tried again.
    Lost(String),
}

/// A server that says nothing for longer than it may hold a watch open is gone.
const SILENCE: Duration = Duration::from_secs(300);
/// How long to wait before the first further try, and at most.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);
/// For so long a refusal may be that of an API server that has just started and has not read its roles yet.
const STARTING: u32 = 12;

/// Follows the nodes of a cluster. It ends only with an error that trying again does not mend.
pub fn follow(source: Source) -> impl Stream<Item = Result<Seen, Error>> + Send {
    try_stream! {
        let mut reason = "begin".to_owned();
        let mut retry = Retry::default();
        let mut stood = false;
        loop {
            yield Seen::ListBegins(std::mem::replace(&mut reason, "the list was cut off".to_owned()));
            let mut version = String::new();
            let mut pages = Box::pin(source.pages());
            let failed = loop {
                match pages.try_next().await {
                    Ok(Some(page)) => {
                        if version.is_empty() {
                            page.version().clone_into(&mut version);
                        }
                        for node in page.items {
                            yield Seen::Listed(node);
                        }
                    }
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                }
            };
            if let Some(error) = failed {
                yield Seen::Lost(retry.after(error)?);
                retry.pause().await;
                continue;
            }
            retry.done();
            yield Seen::ListEnds;
            // From here on until the version has expired.
            reason = loop {
                let stream = match source.watch(&version).await {
                    Ok(stream) => {
                        stood = true;
                        stream
                    }
                    Err(Error::Api(status)) if is_expired(&status) => break status.message.clone(),
                    // Whoever may list and was never let watch has not the right to.
                    Err(error) if !stood && is_refusal(&error) => break Err(error)?,
                    Err(error) => {
                        yield Seen::Lost(retry.after(error)?);
                        retry.pause().await;
                        continue;
                    }
                };
                let mut stream = pin!(stream);
                let expired = loop {
                    let Ok(next) = tokio::time::timeout(SILENCE, stream.try_next()).await else {
                        yield Seen::Lost("the server was silent".to_owned());
                        break None;
                    };
                    match next {
                        Ok(Some(WatchEvent::Added(node) | WatchEvent::Modified(node))) => {
                            retry.done();
                            advance(&mut version, &node);
                            yield Seen::Applied(node);
                        }
                        Ok(Some(WatchEvent::Deleted(node))) => {
                            retry.done();
                            advance(&mut version, &node);
                            yield Seen::Deleted(node);
                        }
                        Ok(Some(WatchEvent::Bookmark(mark))) => {
                            version = mark.metadata.resource_version;
                            yield Seen::Alive;
                        }
                        Ok(Some(WatchEvent::Error(status))) if is_expired(&status) => {
                            break Some(status.message.clone());
                        }
                        Ok(Some(WatchEvent::Error(status))) => {
                            yield Seen::Lost(retry.after(Error::Api(status))?);
                            retry.pause().await;
                            break None;
                        }
                        // The server ends each watch after some minutes.
                        Ok(None) => break None,
                        Err(error) => {
                            yield Seen::Lost(retry.after(error)?);
                            retry.pause().await;
                            break None;
                        }
                    }
                };
                if let Some(message) = expired {
                    break message;
                }
            };
        }
    }
}

fn advance(version: &mut String, node: &Value) {
    if let Some(newer) = node["metadata"]["resourceVersion"].as_str() {
        newer.clone_into(version);
    }
}

/// Whether a watch cannot go on from its version: history was compacted, or etcd was restored from a backup.
fn is_expired(status: &kube::core::Status) -> bool {
    status.code == 410 || status.message.contains("Too large resource version")
}

fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::Api(status) if [401, 403, 404].contains(&status.code))
}

#[derive(Default)]
struct Retry {
    /// Whether a list ever worked: before, a refusal is meant as it is.
    worked: bool,
    failures: u32,
}

impl Retry {
    /// Notes a failure, and says it in words; an error where trying again is of no use.
    fn after(&mut self, error: Error) -> Result<String, Error> {
        self.failures += 1;
        let refused = is_refusal(&error);
        let unreachable = !self.worked && !matches!(&error, Error::Api(_));
        if unreachable || (refused && (!self.worked || self.failures > STARTING)) {
            return Err(error);
        }
        Ok(said(&error))
    }

    async fn pause(&self) {
        let factor = 1 << self.failures.saturating_sub(1).min(6);
        tokio::time::sleep((FIRST * factor).min(LONGEST)).await;
    }

    fn done(&mut self) {
        *self = Self { worked: true, failures: 0 };
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn refusal() -> Error {
        Error::Api(Box::new(Status { code: 403, ..Status::default() }))
    }

    #[test]
    fn a_refusal_at_the_start_is_final_and_later_it_is_tried_again_for_a_while() {
        assert!(Retry::default().after(refusal()).is_err());
        let mut retry = Retry::default();
        retry.done();
        assert!((0..STARTING).all(|_| retry.after(refusal()).is_ok()));
        assert!(retry.after(refusal()).is_err());
        retry.done();
        assert!(retry.after(refusal()).is_ok());
    }

    #[test]
    fn what_has_expired_is_listed_again() {
        let status = |code, message: &str| Status { code, message: message.to_owned(), ..Status::default() };
        assert!(is_expired(&status(410, "too old resource version: 1 (5)")));
        assert!(is_expired(&status(504, "Timeout: Too large resource version: 9, current: 5")));
        assert!(!is_expired(&status(500, "etcdserver: leader changed")));
    }
}
