//! The same work on many things, by all processors: loading scenarios, asking the simulator.

use std::{
    num::NonZero,
    panic::resume_unwind,
    sync::atomic::{AtomicUsize, Ordering},
    thread::{self, ScopedJoinHandle},
};

/// What comes of each thing, in the order of the things.
///
/// # Panics
/// As the work does.
pub(crate) fn each<T: Sync, R: Send>(things: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let next = AtomicUsize::new(0);
    let some = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(thing) = things.get(index) else { return done };
            done.push((index, work(thing)));
        }
    };
    let mut done = thread::scope(|scope| {
        // Where there can be no more threads, those that are there do everything.
        let others = (1..processors.min(things.len())).map(|_| thread::Builder::new().spawn_scoped(scope, some));
        let others: Vec<ScopedJoinHandle<'_, _>> = others.map_while(Result::ok).collect();
        let mut done = some();
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        done
    });
    done.sort_unstable_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_done_once_and_stays_in_order() {
        for count in [0, 1, 2, 1000] {
            let things: Vec<usize> = (0..count).collect();
            let doubled: Vec<usize> = things.iter().map(|thing| thing * 2).collect();
            assert_eq!(each(&things, |thing| thing * 2), doubled);
        }
    }

    #[test]
    #[should_panic(expected = "the work's own words")]
    fn a_panic_is_that_of_the_work() {
        each(&[0; 64], |_| panic!("the work's own words"));
    }
}
