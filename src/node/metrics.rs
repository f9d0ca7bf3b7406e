//! Counts of a watch, in the text format of Prometheus.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
};

use super::{Severity, report::Report};
use crate::http::{Handler, Reply, Request, Response};

/// Counts of a watch.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    changes: [u64; Severity::ALL.len()],
    over_gaps: u64,
    gaps: u64,
    nodes: usize,
    up: bool,
    last: f64,
}

impl Metrics {
    /// A change was reported.
    pub fn report(&self, report: &Report) {
        self.with(|counts| {
            counts.changes[report.change.severity as usize] += 1;
            counts.over_gaps += u64::from(report.gap.is_some());
            #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit into 53 bits")]
            let seconds = report.time.as_millisecond() as f64 / 1000.0;
            counts.last = seconds;
        });
    }

    /// A watch began again from a list.
    pub fn gap(&self) {
        self.with(|counts| counts.gaps += 1);
    }

    /// Whether the watch stands, and over how many nodes.
    pub fn state(&self, up: bool, nodes: usize) {
        self.with(|counts| (counts.up, counts.nodes) = (up, nodes));
    }

    fn with(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The page.
    #[must_use]
    pub fn render(&self) -> String {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        let head = |text: &mut String, name: &str, kind: &str, help: &str| {
            // Writing to a text cannot fail.
            let _ = writeln!(text, "# HELP policyprobe_node_{name} {help}\n# TYPE policyprobe_node_{name} {kind}");
        };
        head(&mut text, "changes_total", "counter", "Changes of node metadata that were reported, by severity.");
        for severity in Severity::ALL {
            let count = counts.changes[severity as usize];
            let _ = writeln!(text, "policyprobe_node_changes_total{{severity=\"{}\"}} {count}", severity.as_str());
        }
        let singles = [
            ("gap_changes_total", "counter", "Net changes over times without a watch.", counts.over_gaps.to_string()),
            ("gaps_total", "counter", "Times without a watch.", counts.gaps.to_string()),
            ("watched", "gauge", "Nodes.", counts.nodes.to_string()),
            ("watch_up", "gauge", "Whether the watch stands.", u8::from(counts.up).to_string()),
            ("last_change_timestamp_seconds", "gauge", "When a change was last reported.", counts.last.to_string()),
        ];
        for (name, kind, help, value) in singles {
            head(&mut text, name, kind, help);
            let _ = writeln!(text, "policyprobe_node_{name} {value}");
        }
        text
    }
}

impl Handler for Metrics {
    fn answer(&self, request: &Request) -> Reply {
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/metrics") => Response::new(200, "text/plain; version=0.0.4", self.render()).into(),
            ("GET", "/healthz") => Response::new(200, "text/plain", "ok\n").into(),
            _ => Response::new(404, "text/plain", "/metrics and /healthz are here\n").into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_for_prometheus() {
        let metrics = Metrics::default();
        metrics.state(true, 3);
        metrics.gap();
        insta::assert_snapshot!(metrics.render());
    }
}
