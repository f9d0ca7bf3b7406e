//! A running watch, and what it says.

use std::{
    io::{BufRead as _, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use libtest_mimic::Failed;
use serde_json::Value;

/// How long anything may take: many times what it takes on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A watch; ended when this goes.
pub(super) struct Watch {
    child: Child,
    said: Receiver<String>,
    /// What it has reported so far.
    pub(super) reports: Vec<Value>,
    /// What it has said so far beside reports.
    pub(super) notes: String,
}

impl Watch {
    /// Starts one, and waits until it stands.
    pub(super) fn start(command: &mut Command) -> Result<Self, Failed> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (sender, said) = channel();
        pass_on(child.stdout.take(), sender.clone());
        pass_on(child.stderr.take(), sender);
        let mut watch = Self { child, said, reports: Vec::new(), notes: String::new() };
        watch.until("it stands", |watch| watch.notes.contains("watching "))?;
        Ok(watch)
    }

    /// Reads on until something is so.
    pub(super) fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) -> Result<(), Failed> {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            match self.said.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => match serde_json::from_str(&line) {
                    Ok(report @ Value::Object(_)) => self.reports.push(report),
                    _ => self.notes.extend([line.as_str(), "\n"]),
                },
                Err(error) => {
                    let why = if error == RecvTimeoutError::Timeout { "not in time" } else { "and the watch ended" };
                    return Err(format!("{what}: {why}\n{}{:#?}", self.notes, self.reports).into());
                }
            }
        }
        Ok(())
    }

    /// The reports of a field of a node.
    pub(super) fn of(&self, node: &str, field: &str) -> Vec<&Value> {
        of(&self.reports, node, field)
    }

    /// Waits for so many reports of a field of a node, and returns all there are.
    pub(super) fn wait_for(&mut self, count: usize, node: &str, field: &str) -> Result<Vec<Value>, Failed> {
        self.until(&format!("{count} of {node} {field}"), |watch| watch.of(node, field).len() >= count)?;
        Ok(self.of(node, field).into_iter().cloned().collect())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The reports of a field of a node.
pub(super) fn of<'a>(reports: &'a [Value], node: &str, field: &str) -> Vec<&'a Value> {
    reports.iter().filter(|report| report["node"] == node && report["field"] == field).collect()
}

fn pass_on(stream: Option<impl Read + Send + 'static>, sender: Sender<String>) {
    let lines = stream.map(|stream| BufReader::new(stream).lines().map_while(Result::ok));
    thread::spawn(move || lines.into_iter().flatten().try_for_each(|line| sender.send(line)));
}
