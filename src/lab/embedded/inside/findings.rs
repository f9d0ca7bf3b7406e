//! What a call's prober has found and no frame has carried yet.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::mpsc::UnboundedSender, time::sleep};

use crate::{
    lab::embedded::protocol::Frame,
    probe::direct::{Finding, Work},
};

/// How long a finding may wait for others of its call: a witness that is heard later than this would seem to have been silent, which
/// counts from a window on, and those are 100 ms or more.
const LINGER: Duration = Duration::from_millis(20);

/// The findings of a call. Each frame wakes both halves, and nobody does anything with some of a volley's findings before the last
/// one is there; but who watches is heard as it speaks.
#[derive(Clone)]
pub(super) struct Findings {
    id: u64,
    at_once: bool,
    waiting: Arc<Mutex<Vec<Finding>>>,
    frames: UnboundedSender<Frame>,
}

impl Findings {
    /// Those of a call with this id, which does this work.
    pub(super) fn of(id: u64, work: &Work, frames: UnboundedSender<Frame>) -> Self {
        Self { id, at_once: work.every_us.is_some(), waiting: Arc::default(), frames }
    }

    /// One more. The first of those that wait is what the others are sent with.
    pub(super) fn add(&self, finding: Finding) {
        let mut waiting = self.waiting();
        waiting.push(finding);
        let is_first = waiting.len() == 1;
        drop(waiting);
        if self.at_once {
            self.send();
        } else if is_first {
            let later = self.clone();
            tokio::spawn(async move {
                sleep(LINGER).await;
                later.send();
            });
        }
    }

    /// Sends those that wait.
    pub(super) fn send(&self) {
        let findings = std::mem::take(&mut *self.waiting());
        if !findings.is_empty() {
            let _ = self.frames.send(Frame::Found { id: self.id, findings });
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Finding>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
