//! `policyprobe node watch`: each change of a node, once.

use std::{
    net::SocketAddr,
    path::PathBuf,
    pin::pin,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures::StreamExt as _;
use jiff::Timestamp;
use tokio::sync::mpsc::Receiver;

use super::{
    ClusterArgs, Output,
    journal::{self, Journal},
    lines, metrics,
    select::SelectArgs,
    time::{duration, until},
    warn, webhook,
};
use crate::{
    cli::{
        Global,
        output::{note, print},
    },
    engine,
    lab::LabError,
    node::{
        NodeState, Selection, Severity,
        audit_log::{self, Correlator},
        baseline::Baseline,
        follow::{Seen, follow},
        metrics::Metrics,
        report::Report,
        resume::Head,
        rules::Rules,
        source::{Source, refused},
        track::{Moment, Tracker},
    },
};

/// What to watch for, and how to say it.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "\
Each change is reported once. Over a gap (the API server's history has expired) the net change of each field is reported,
with the gap's interval and the node's UID before and after. The field manager is what the client called itself; with
--audit-log or --audit-webhook the authenticated user is reported, and rules go by it.

Exit code: 0 after --for, 1 at the first change that is at least --fail-on, 2 for a file that is of no use, 5 where nodes
cannot be watched.

Examples:
  policyprobe node watch
  policyprobe node watch --baseline nodes.yaml --fail-on critical --for 10m
  policyprobe node watch -o json --rules rules.yaml --metrics 127.0.0.1:9464
  policyprobe node watch --resume seen.json     # begins with what changed since it was stopped
  docker exec kind-control-plane tail -F /var/log/kubernetes/audit.log | policyprobe node watch --audit-log -
  policyprobe node watch --audit-webhook 172.18.0.1:9465 --audit-token token")]
pub(super) struct Args {
    /// Begin with what differs from this baseline
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    baseline: Option<PathBuf>,
    /// Keep in this file what was seen, and begin with what changed since the last watch that kept it
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// Rules: what is authorised, severities, and fields that do not count
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// API audit events, a JSON object a line; `-` is stdin
    #[arg(long, value_name = "FILE", conflicts_with = "audit_webhook")]
    audit_log: Option<PathBuf>,
    /// Listen at this address for audit events that the API server posts
    #[arg(long, value_name = "ADDR")]
    audit_webhook: Option<SocketAddr>,
    /// A file with the token that it must send, as the path or a bearer; needed unless the address is this machine's own
    #[arg(long, value_name = "FILE", requires = "audit_webhook")]
    audit_token: Option<PathBuf>,
    /// How long a change waits for its audit event
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    audit_wait: Duration,
    /// End with exit code 1 at the first change of this severity
    #[arg(long, value_name = "SEVERITY", value_enum)]
    fail_on: Option<Severity>,
    /// End after this time, such as 90s, 10m or 1h
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    length: Option<Duration>,
    /// How to show changes
    #[arg(long, short, value_enum, default_value = "text")]
    output: Output,
    /// Serve counts for Prometheus at this address
    #[arg(long, value_name = "ADDR")]
    metrics: Option<SocketAddr>,
    #[command(flatten)]
    select: SelectArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Watches; returns the exit code.
pub(super) async fn run(args: &Args, global: Global) -> anyhow::Result<u8> {
    let rules = super::rules(args.rules.as_deref())?;
    let baseline = args.baseline.as_deref().map(Baseline::load).transpose()?.map(|(baseline, warnings)| {
        warn(warnings);
        baseline
    });
    let own = baseline.as_ref().map(Baseline::selection).unwrap_or_default();
    let selection = args.select.over(rules.selection().and(own))?;
    let mut tracker = baseline.map(|baseline| Tracker::from_baseline(baseline.reduced(&selection))).unwrap_or_default();
    let kept = args.resume.as_deref().map(journal::read).transpose()?;
    let (audit, _webhook) = match args.audit_webhook {
        Some(address) => {
            let (batches, tasks) = webhook::listen(address, args.audit_token.as_deref()).await?;
            (Some(batches), Some(tasks))
        }
        None => (args.audit_log.as_deref().map(lines::follow).transpose()?, None),
    };
    if audit.is_some() {
        for rule in rules.unproven() {
            note(&format!("note: the rule `{rule}` has no `users`, so that with audit events it authorises nothing"));
        }
    }
    let metrics = Metrics::default();
    let _server = metrics::serve(args.metrics, &metrics).await?;
    let (client, mark) = args.cluster.reach().await?;
    let source = Source::new(client);
    let journal = match kept {
        Some(kept) => {
            let (journal, earlier) = kept.go_on(Head::new(mark, selection.clone()), &source).await?;
            tracker = earlier;
            Some(journal)
        }
        None => None,
    };
    let watch = Watch {
        selection,
        rules,
        tracker,
        journal,
        correlator: audit.is_some().then(|| Correlator::new(args.audit_wait)),
        metrics,
        output: args.output,
        fail_on: args.fail_on,
        quiet: global.quiet,
        started: Instant::now(),
        up: false,
        ready: Vec::new(),
    };
    watch.run(source, audit, args.length).await
}

struct Watch {
    selection: Selection,
    rules: Rules,
    tracker: Tracker,
    journal: Option<Journal>,
    correlator: Option<Correlator>,
    metrics: Metrics,
    output: Output,
    fail_on: Option<Severity>,
    quiet: bool,
    started: Instant,
    up: bool,
    ready: Vec<Report>,
}

impl Watch {
    async fn run(
        mut self,
        source: Source,
        mut audit: Option<Receiver<String>>,
        length: Option<Duration>,
    ) -> anyhow::Result<u8> {
        let mut seen = pin!(follow(source));
        let end = length.map(|length| tokio::time::Instant::now() + length);
        loop {
            let deadline = self.correlator.as_ref().and_then(Correlator::deadline);
            let wake = deadline.map(|at| tokio::time::Instant::from_std(self.started + at));
            tokio::select! {
                biased;
                () = until(end) => return Ok(engine::OK),
                line = lines::next(&mut audit) => {
                    if let Some(line) = line {
                        self.audit_line(&line);
                    } else {
                        note("warning: the audit log has ended: from here on nobody is authenticated");
                        audit = None;
                    }
                }
                () = until(wake) => {}
                event = seen.next() => match event {
                    Some(Ok(event)) => self.event(event),
                    Some(Err(error)) => return Err(refused(&error, "watch").into()),
                    None => return Err(LabError::with_hint("the watch ended", "start it again").into()),
                },
            }
            if self.report()? {
                return Ok(engine::FAILED);
            }
        }
    }

    fn now(&self) -> Moment {
        Moment { wall: Timestamp::now(), since_start: self.started.elapsed() }
    }

    fn event(&mut self, event: Seen) {
        let now = self.now();
        let state = |node: serde_json::Value| NodeState::of(node, &self.selection);
        let (stands, reports) = match event {
            Seen::ListBegins(reason) => {
                if self.tracker.has_listed() {
                    self.metrics.gap();
                    self.say(&format!("the watch cannot go on ({reason}): nodes are listed again"));
                }
                self.tracker.list_begins(&reason);
                (false, Vec::new())
            }
            Seen::Listed(node) => (false, state(node).map_or_else(Vec::new, |node| self.tracker.listed(node, now))),
            Seen::ListEnds => {
                let reports = self.tracker.list_ends(now);
                self.say(&format!("watching {} nodes", self.tracker.len()));
                (true, reports)
            }
            Seen::Applied(node) => (true, state(node).map_or_else(Vec::new, |node| self.tracker.applied(node, now))),
            Seen::Deleted(node) => (true, state(node).map_or_else(Vec::new, |node| self.tracker.deleted(&node, now))),
            Seen::Alive => {
                self.tracker.alive(now);
                (true, Vec::new())
            }
            Seen::Lost(reason) => {
                if self.up {
                    self.say(&format!("the API server is gone ({reason}); it is tried again"));
                }
                (false, Vec::new())
            }
        };
        if let Some(journal) = &mut self.journal {
            journal.seen(&self.tracker, &reports, stands.then_some(now.wall));
        }
        self.up = stands;
        self.metrics.state(self.up, self.tracker.len());
        match &mut self.correlator {
            Some(correlator) => reports.into_iter().for_each(|report| correlator.notice(report, now.since_start)),
            None => self.ready.extend(reports),
        }
    }

    fn audit_line(&mut self, line: &str) {
        let Some(correlator) = &mut self.correlator else { return };
        match audit_log::parse(line) {
            Ok(writes) => writes.into_iter().for_each(|write| correlator.write(write)),
            // What `tail -F` says of rotated files, and what a crash cut off.
            Err(_) if line.trim().is_empty() || line.starts_with("==>") => {}
            Err(error) => self.say(&format!("an audit event is passed over: {error}")),
        }
    }

    /// Prints what is ready, and then keeps that it was; whether one of the changes ends the watch.
    fn report(&mut self) -> anyhow::Result<bool> {
        let now = self.now().since_start;
        let audited = self.correlator.is_some();
        let ready = match &mut self.correlator {
            Some(correlator) => correlator.ready(now),
            None => std::mem::take(&mut self.ready),
        };
        let (mut text, mut failed, told) = (String::new(), false, ready.len());
        for mut report in ready {
            report.judge(&self.rules, audited);
            self.metrics.report(&report);
            failed |= self.fail_on.is_some_and(|least| report.change.severity >= least);
            text += &match self.output {
                Output::Text => report.line(audited),
                Output::Json => serde_json::to_string(&report).context("a change as JSON")?,
            };
            text.push('\n');
        }
        if !text.is_empty() {
            print(&text)?;
        }
        if let Some(journal) = &mut self.journal {
            journal.told(told);
        }
        Ok(failed)
    }

    fn say(&self, text: &str) {
        if !self.quiet {
            note(text);
        }
    }
}
