//! `policyprobe node diff`: a baseline against a cluster, or against another baseline.

use std::{fmt::Write as _, io::IsTerminal as _, path::PathBuf};

use anyhow::Context as _;

use super::{ClusterArgs, Output, select::SelectArgs, snapshot::live, warn};
use crate::{
    cli::{conduct::width_of, output::conclude},
    engine,
    node::{
        Severity,
        baseline::Baseline,
        diff::{self, Change},
        report::said,
        rules::Actor,
        source::Source,
    },
    report::{
        Theme,
        theme::{self, paint},
    },
};

/// What to compare.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "\
Exit code: 0 where nothing differs that is at least --fail-on, 1 where something does, 2 for a bad file, 5 where the
cluster cannot be asked.

Examples:
  policyprobe node diff nodes.yaml                          the cluster, against the baseline
  policyprobe node diff nodes.yaml --fail-on critical       in CI: only taints, role labels, addresses, provider IDs, ...
  policyprobe node diff before.yaml after.yaml -o json")]
pub(super) struct Args {
    /// The baseline, from `policyprobe node snapshot`
    #[arg(value_name = "BASELINE")]
    baseline: PathBuf,
    /// Another baseline; the cluster where none is given
    #[arg(value_name = "OTHER", conflicts_with_all = ["context", "kubeconfig"])]
    other: Option<PathBuf>,
    /// Fail from this severity on
    #[arg(long, value_name = "SEVERITY", value_enum, default_value = "info")]
    fail_on: Severity,
    /// Rules: severities, and fields that do not count
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// How to show the changes
    #[arg(long, short, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    select: SelectArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Compares; returns the exit code.
pub(super) async fn run(args: &Args) -> anyhow::Result<u8> {
    let rules = super::rules(args.rules.as_deref())?;
    let (baseline, warnings) = Baseline::load(&args.baseline)?;
    warn(warnings);
    let other = args.other.as_deref().map(Baseline::load).transpose()?;
    let mut selection = baseline.selection().and(rules.selection());
    if let Some((other, _)) = &other {
        // What only one of two files has says nothing.
        selection.leave_out.extend(other.leave_out.iter().cloned());
        selection.keep.retain(|pattern| other.keep.contains(pattern));
    }
    let selection = args.select.over(selection)?;
    let new = match other {
        Some((other, warnings)) => {
            warn(warnings);
            other.reduced(&selection)
        }
        None => live(&Source::new(args.cluster.connect().await?), &selection).await?,
    };
    let old = baseline.reduced(&selection);
    let mut changes = diff::nodes(&old, &new);
    for change in &mut changes {
        change.severity = rules.judge(change, Actor::default()).severity;
    }
    let text = match args.output {
        Output::Json => json(&changes)?,
        Output::Text => {
            let out = std::io::stdout();
            text(&changes, Theme::detect(out.is_terminal().then(|| width_of(&out)).flatten()))
        }
    };
    let failed = changes.iter().any(|change| change.severity >= args.fail_on);
    Ok(conclude(&text, if failed { engine::FAILED } else { engine::OK }))
}

fn json(changes: &[Change]) -> anyhow::Result<String> {
    let line = |change: &Change| Ok(serde_json::to_string(change).context("a change as JSON")? + "\n");
    changes.iter().map(line).collect()
}

/// The changes below their nodes, and a last line that counts them.
fn text(changes: &[Change], theme: Theme) -> String {
    let mut text = String::new();
    let mut node = None;
    for change in changes {
        if node != Some(&change.node) {
            let _ = writeln!(text, "{}", paint(theme::HEAD, &theme::visible(&change.node)));
            node = Some(&change.node);
        }
        let style = match change.severity {
            Severity::Critical => theme::BAD,
            Severity::Warning => theme::WARN,
            Severity::Notice | Severity::Info => theme::FAINT,
        };
        let severity = paint(style, &format!("{:8}", change.severity.as_str()));
        let lines = theme::wrap(&said(change), theme.width.saturating_sub(11));
        for (index, line) in lines.iter().enumerate() {
            let lead = if index == 0 { severity.as_str() } else { "        " };
            let _ = writeln!(text, "  {lead} {line}");
        }
    }
    let counts = Severity::ALL.iter().rev().filter_map(|severity| {
        let count = changes.iter().filter(|change| change.severity == *severity).count();
        (count > 0).then(|| format!("{count} {}", severity.as_str()))
    });
    let counts: Vec<_> = counts.collect();
    match changes.len() {
        0 => "nothing differs\n".to_owned(),
        1 => text + &format!("1 change: {}\n", counts.join(", ")),
        number => text + &format!("{number} changes: {}\n", counts.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::diff::{Nodes, UID};

    fn state(fields: &[(&str, &str)]) -> Nodes {
        let fields = fields.iter().map(|(field, value)| ((*field).to_owned(), (*value).to_owned())).collect();
        Nodes::from([("node01".to_owned(), fields)])
    }

    #[test]
    fn changes_are_shown_below_their_node() {
        let old = state(&[(UID, "1"), ("spec.taints[dedicated:NoSchedule]", "db"), ("status.nodeInfo.bootID", "a")]);
        let mut new = state(&[(UID, "1"), ("metadata.labels[region]", "x"), ("status.nodeInfo.bootID", "b")]);
        new.insert("node02".to_owned(), [(UID.to_owned(), "2".to_owned())].into());
        let shown = text(&diff::nodes(&old, &new), Theme { unicode: true, width: 70 });
        insta::assert_snapshot!(anstream::adapter::strip_str(&shown).to_string());
        assert_eq!(text(&[], Theme { unicode: true, width: 70 }), "nothing differs\n");
    }
}
