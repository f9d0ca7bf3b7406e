//! What is opened once in a place and used again by one after the other, until the place is replaced.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What nobody uses at the moment, by place.
pub(crate) struct Pool<K, T>(Mutex<BTreeMap<K, Rest<T>>>);

/// What rests in one place.
struct Rest<T> {
    /// The one that has rested longest first.
    idle: Vec<T>,
    /// How often the place was replaced: what is older is of no use.
    replaced: u64,
}

/// By which a thing is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

impl<T> Default for Rest<T> {
    fn default() -> Self {
        Self { idle: Vec::new(), replaced: 0 }
    }
}

impl<K, T> Default for Pool<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Ord + Clone, T> Pool<K, T> {
    /// A thing of this place that suits and that nobody uses, if there is one.
    pub(crate) fn take(&self, place: &K, suits: impl Fn(&T) -> bool) -> (Option<T>, Ticket) {
        let mut places = self.lock();
        let rest = places.entry(place.clone()).or_default();
        let index = rest.idle.iter().position(suits);
        (index.map(|index| rest.idle.remove(index)), Ticket(rest.replaced))
    }

    /// How many of this place suit and are used by nobody; and by which another one is given.
    pub(crate) fn count(&self, place: &K, suits: impl Fn(&T) -> bool) -> (usize, Ticket) {
        let mut places = self.lock();
        let rest = places.entry(place.clone()).or_default();
        (rest.idle.iter().filter(|thing| suits(thing)).count(), Ticket(rest.replaced))
    }

    /// Gives a thing back, which is dropped where its place was replaced meanwhile.
    pub(crate) fn give(&self, place: &K, ticket: Ticket, thing: T) {
        let mut places = self.lock();
        let rest = places.entry(place.clone()).or_default();
        if Ticket(rest.replaced) == ticket {
            rest.idle.push(thing);
        }
    }

    /// Forgets what rests in a place that is about to be replaced.
    pub(crate) fn forget(&self, place: &K) {
        let mut places = self.lock();
        let rest = places.entry(place.clone()).or_default();
        rest.replaced += 1;
        rest.idle.clear();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<K, Rest<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rested_longest_and_suits_is_taken_and_what_is_too_old_is_not_kept() {
        let pool = Pool::default();
        let (none, ticket) = pool.take(&"a", |_| true);
        assert_eq!(none, None);
        for thing in [1, 2, 3] {
            pool.give(&"a", ticket, thing);
        }
        assert_eq!(pool.take(&"a", |thing| *thing > 1), (Some(2), ticket));
        assert_eq!(pool.take(&"b", |_| true).0, None, "another place");
        pool.forget(&"a");
        pool.give(&"a", ticket, 2);
        let (none, newer) = pool.take(&"a", |_| true);
        assert!(none.is_none() && newer != ticket);
    }
}
