//! The one stream that every reporter reads.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Canary, RunResult, ScenarioResult, StepResult};

/// Something that happened in a run, in order.
#[derive(Clone, Debug)]
pub enum Event {
    /// The run begins.
    RunStarted {
        /// The run's id.
        run: String,
        /// The backend.
        backend: &'static str,
        /// How many scenarios were selected.
        scenarios: usize,
    },
    /// Something long has begun: `making the cluster`, `waiting for pods`. For progress only.
    Phase(String),
    /// A part of the work is done. For whoever asks where the time goes.
    Span {
        /// What was done: words from the whole to the part, as `metadata-lab › deny › probes`.
        name: String,
        /// When it began, from the start of the run.
        began: Duration,
        /// How long it took.
        took: Duration,
    },
    /// Something a person should know: a warning, a fallback.
    Note(String),
    /// The lab takes stages.
    LabReady {
        /// Facts about it.
        facts: BTreeMap<String, String>,
        /// From the start of the run, in milliseconds.
        ready_ms: u64,
    },
    /// The canary has its verdict.
    CanaryFinished(Canary),
    /// A scenario begins.
    ScenarioStarted {
        /// Its id.
        id: String,
        /// Its title.
        title: String,
        /// How many steps it has.
        steps: usize,
        /// Literal names of its namespaces, where they differ from the logical ones.
        namespaces: BTreeMap<String, String>,
    },
    /// A step begins.
    StepStarted {
        /// The scenario's id.
        scenario: String,
        /// The step's name.
        name: String,
        /// Its actions, a line each.
        actions: Vec<String>,
    },
    /// A round of a step is over. For progress only.
    Round {
        /// The scenario's id.
        scenario: String,
        /// The step's name.
        step: String,
        /// The round, from 1.
        round: u32,
        /// How many cells are as expected.
        settled: usize,
        /// How many cells there are.
        cells: usize,
    },
    /// The answer to one of the document's commands, for `lab`.
    Answer {
        /// The scenario's id.
        scenario: String,
        /// The source.
        from: String,
        /// The literal command.
        command: String,
        /// The address that was connected to or tried.
        address: Option<std::net::IpAddr>,
        /// The body, or what happened instead.
        text: String,
    },
    /// A step has its verdicts.
    StepFinished {
        /// The scenario's id.
        scenario: String,
        /// The record.
        result: Arc<StepResult>,
    },
    /// A scenario has its verdict.
    ScenarioFinished(Arc<ScenarioResult>),
    /// The run is over, the lab torn down.
    RunFinished(Box<RunResult>),
}

/// The span that ends when the nodes of a cluster that the run made are Ready.
pub const NODES_READY: &str = "lab › nodes";

/// Where events go. Sending never blocks, and a receiver that is gone is nobody's error.
#[derive(Clone, Debug)]
pub struct Events {
    sender: tokio::sync::mpsc::UnboundedSender<Event>,
    start: Instant,
}

impl Events {
    /// A stream and its reader. The run's time begins now.
    #[must_use]
    pub fn channel() -> (Self, tokio::sync::mpsc::UnboundedReceiver<Event>) {
        Self::since(Instant::now())
    }

    /// Another stream of the same run, for what is not to be told yet, or to nobody.
    #[must_use]
    pub fn aside(&self) -> (Self, tokio::sync::mpsc::UnboundedReceiver<Event>) {
        Self::since(self.start)
    }

    fn since(start: Instant) -> (Self, tokio::sync::mpsc::UnboundedReceiver<Event>) {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        (Self { sender, start }, receiver)
    }

    /// Sends one event.
    pub fn send(&self, event: Event) {
        let _ = self.sender.send(event);
    }

    /// Sends a progress phase.
    pub fn phase(&self, text: impl Into<String>) {
        self.send(Event::Phase(text.into()));
    }

    /// Sends a note.
    pub fn note(&self, text: impl Into<String>) {
        self.send(Event::Note(text.into()));
    }

    /// Does a part of the work, and sends how long it took.
    pub async fn timed<F: Future>(&self, name: impl Into<String>, work: F) -> F::Output {
        let began = self.start.elapsed();
        let output = work.await;
        self.send(Event::Span { name: name.into(), began, took: self.start.elapsed().saturating_sub(began) });
        output
    }
}
