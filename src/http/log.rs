//! What a server remembers of its requests: the other half of a proof that a denied probe never arrived.

use std::{
    collections::{BTreeSet, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::syn::Syns;

/// How many entries are kept; older ones are forgotten. Nonces are kept all.
pub const LOG_CAPACITY: usize = 10_000;

/// What an entry of the log is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A request.
    #[default]
    Request,
    /// Bytes that are no request.
    Broken,
    /// A connection that ended without a request.
    Connection,
    /// The first packet of a connection that was never made, where `watch` may see such.
    Syn,
}

/// One request, as the server saw it. Bodies and queries are never kept.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Entry {
    /// What arrived.
    #[serde(default)]
    pub event: Event,
    /// When the request's head was complete, in milliseconds since 1970.
    pub at: u64,
    /// The nonce, where there was a valid one.
    pub nonce: Option<String>,
    /// Who asked, as the server sees it: after any address translation.
    pub peer: SocketAddr,
    /// The address that was asked.
    pub local: SocketAddr,
    /// The method.
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// The status of the answer; none while there is no answer.
    pub status: Option<u16>,
}

/// The log of one server or of several. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Inner>>, Option<Observer>);

/// Who is told of each entry as it is complete.
#[derive(Clone)]
struct Observer(Arc<dyn Fn(&Entry) + Send + Sync>);

impl std::fmt::Debug for Observer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Observer")
    }
}

#[derive(Debug, Default)]
struct Inner {
    entries: VecDeque<Entry>,
    /// How many entries have been forgotten: the number of the first one that is left.
    forgotten: usize,
    nonces: BTreeSet<String>,
    /// First packets and connections, where somebody watches for the former.
    syns: Option<Syns>,
}

impl Log {
    /// A log that also tells of each entry: of a request when it is answered, of everything else at once.
    #[must_use]
    pub fn observed(tell: impl Fn(&Entry) + Send + Sync + 'static) -> Self {
        Self(Arc::default(), Some(Observer(Arc::new(tell))))
    }

    /// Every nonce that was ever seen.
    #[must_use]
    pub fn nonces(&self) -> BTreeSet<String> {
        self.inner().nonces.clone()
    }

    /// Which of these nonces were seen.
    #[must_use]
    pub fn known(&self, nonces: &BTreeSet<String>) -> BTreeSet<String> {
        self.inner().nonces.intersection(nonces).cloned().collect()
    }

    /// The latest entries, oldest first.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.inner().entries.iter().cloned().collect()
    }

    /// Adds an entry. Its number is for [`Log::answered`].
    #[must_use]
    pub fn add(&self, entry: Entry) -> usize {
        if let (Some(observer), true) = (&self.1, entry.event != Event::Request) {
            (observer.0)(&entry);
        }
        let mut inner = self.inner();
        inner.nonces.extend(entry.nonce.clone());
        inner.entries.push_back(entry);
        if inner.entries.len() > LOG_CAPACITY {
            inner.entries.pop_front();
            inner.forgotten += 1;
        }
        inner.forgotten + inner.entries.len() - 1
    }

    /// Sets the status of an entry, if it is still there.
    pub fn answered(&self, number: usize, status: u16) {
        let mut inner = self.inner();
        let index = number.checked_sub(inner.forgotten);
        let Some(entry) = index.and_then(|index| inner.entries.get_mut(index)) else { return };
        entry.status = Some(status);
        if let Some(observer) = &self.1 {
            let entry = entry.clone();
            drop(inner);
            (observer.0)(&entry);
        }
    }

    /// A client's connection was made.
    pub(super) fn accepted(&self, peer: SocketAddr) {
        if let Some(syns) = &mut self.inner().syns {
            syns.accepted(peer, Instant::now());
        }
    }

    /// From now on connections are remembered for a moment, since somebody watches for first packets.
    pub(super) fn expect_syns(&self) {
        self.inner().syns.get_or_insert_default();
    }

    /// A client's first packet has arrived.
    pub(super) fn arrived(&self, peer: SocketAddr, local: SocketAddr) {
        if let Some(syns) = &mut self.inner().syns {
            syns.arrived(peer, local, now(), Instant::now());
        }
    }

    /// Adds the first packets that no connection followed within this time.
    pub(super) fn give_syns_up(&self, grace: Duration) {
        let found = self.inner().syns.as_mut().map(|syns| syns.given_up(Instant::now(), grace));
        for (peer, local, at) in found.unwrap_or_default() {
            let (method, path) = (String::new(), String::new());
            let _ = self.add(Entry { event: Event::Syn, at, nonce: None, peer, local, method, path, status: None });
        }
    }

    /// Forgets everything: what comes next has nothing to do with what was.
    pub fn clear(&self) {
        let mut inner = self.inner();
        let syns = inner.syns.as_ref().map(|_| Syns::default());
        *inner = Inner { syns, ..Inner::default() };
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn entry(nonce: &str) -> Entry {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let (method, path) = ("GET".to_owned(), "/".to_owned());
        let nonce = Some(nonce.to_owned());
        Entry { event: Event::Request, at: 0, nonce, peer: address, local: address, method, path, status: None }
    }

    #[test]
    fn old_entries_are_forgotten_and_their_nonces_are_not() {
        let log = Log::default();
        let first = log.add(entry("first"));
        for index in 0..LOG_CAPACITY {
            let _ = log.add(entry(&index.to_string()));
        }
        let last = log.add(entry("last"));
        log.answered(first, 200);
        log.answered(last, 404);
        let entries = log.entries();
        assert_eq!(entries.len(), LOG_CAPACITY);
        assert!(entries.iter().rev().skip(1).all(|entry| entry.status.is_none()));
        assert_eq!(entries.last().map(|entry| (entry.nonce.as_deref(), entry.status)), Some((Some("last"), Some(404))));
        assert_eq!(log.nonces().len(), LOG_CAPACITY + 2);
    }
}
