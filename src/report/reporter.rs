//! What a reporter is, and the one pump that feeds all of them.
//!
//! The pump has a thread of its own, so that a slow terminal never holds up a probe.

use std::{io, thread::JoinHandle};

use tokio::sync::mpsc::UnboundedReceiver;

use super::Progress;
use crate::engine::{Event, RunResult};

/// Something that shows a run while it goes on.
pub trait Reporter: Send {
    /// Shows one event.
    fn event(&mut self, event: &Event) -> io::Result<()>;

    /// Shows the end. `written` names the report files that were written, a line each.
    fn finish(&mut self, result: &RunResult, written: &[String]) -> io::Result<()>;
}

/// A reporter until it fails: a broken pipe or a full disk silences it, and the run goes on, because its verdict and
/// its tear-down must not depend on who reads along.
struct Slot {
    reporter: Box<dyn Reporter>,
    error: Option<io::Error>,
}

impl Slot {
    fn attempt(&mut self, act: impl FnOnce(&mut dyn Reporter) -> io::Result<()>) {
        if self.error.is_none() {
            self.error = act(&mut *self.reporter).err();
        }
    }
}

/// The thread that hands events to reporters.
pub struct Pump(JoinHandle<(Vec<Slot>, Progress)>);

impl Pump {
    /// Starts it. It ends by itself after [`Event::RunFinished`], or when nobody is left to send.
    #[must_use]
    pub fn start(
        mut events: UnboundedReceiver<Event>,
        reporters: Vec<Box<dyn Reporter>>,
        mut progress: Progress,
    ) -> Self {
        let mut slots: Vec<_> = reporters.into_iter().map(|reporter| Slot { reporter, error: None }).collect();
        Self(std::thread::spawn(move || {
            while let Some(event) = events.blocking_recv() {
                progress.suspend(|| {
                    for slot in &mut slots {
                        slot.attempt(|reporter| reporter.event(&event));
                    }
                });
                progress.event(&event);
                if matches!(event, Event::RunFinished(_)) {
                    break;
                }
            }
            (slots, progress)
        }))
    }

    /// Waits until all events are shown, and shows the end. Returns the first error that is not a broken pipe: a
    /// reader who has seen enough is nobody's error.
    pub fn finish(self, result: &RunResult, written: &[String]) -> io::Result<()> {
        let Ok((mut slots, progress)) = self.0.join() else {
            return Err(io::Error::other("the thread that writes to the terminal panicked"));
        };
        progress.clear();
        for slot in &mut slots {
            slot.attempt(|reporter| reporter.finish(result, written));
        }
        let errors = slots.into_iter().filter_map(|slot| slot.error);
        errors.into_iter().find(|error| error.kind() != io::ErrorKind::BrokenPipe).map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::{engine::Events, report::testing};

    /// Fails at the given event, and counts what it is given.
    struct Fails {
        at: usize,
        kind: io::ErrorKind,
        seen: Arc<Mutex<usize>>,
    }

    impl Reporter for Fails {
        fn event(&mut self, _event: &Event) -> io::Result<()> {
            let mut seen = self.seen.lock().map_err(|_| io::Error::other("poisoned"))?;
            *seen += 1;
            if *seen == self.at { Err(self.kind.into()) } else { Ok(()) }
        }

        fn finish(&mut self, _result: &RunResult, _written: &[String]) -> io::Result<()> {
            self.event(&Event::Phase(String::new()))
        }
    }

    fn pump(at: usize, kind: io::ErrorKind) -> (io::Result<()>, usize) {
        let seen = Arc::new(Mutex::new(0));
        let (events, receiver) = Events::channel();
        let reporter = Fails { at, kind, seen: Arc::clone(&seen) };
        let pump = Pump::start(receiver, vec![Box::new(reporter)], Progress::hidden());
        for _ in 0..3 {
            events.phase("waiting for pods");
        }
        let result = testing::passing();
        events.send(Event::RunFinished(Box::new(result.clone())));
        let outcome = pump.finish(&result, &[]);
        let count = seen.lock().map_or(0, |seen| *seen);
        (outcome, count)
    }

    #[test]
    fn every_event_reaches_a_reporter_and_then_the_end() {
        let (outcome, count) = pump(usize::MAX, io::ErrorKind::Other);
        assert!(outcome.is_ok());
        assert_eq!(count, 5);
    }

    #[test]
    fn a_reader_who_has_seen_enough_is_no_error() {
        let (outcome, count) = pump(2, io::ErrorKind::BrokenPipe);
        assert!(outcome.is_ok());
        assert_eq!(count, 2, "a reporter that failed is given nothing more");
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let (outcome, _) = pump(2, io::ErrorKind::StorageFull);
        assert_eq!(outcome.map_err(|error| error.kind()), Err(io::ErrorKind::StorageFull));
    }
}
