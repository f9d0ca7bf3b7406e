//! `policyprobe node snapshot`: a baseline file.

use std::{path::PathBuf, pin::pin};

use anyhow::Context as _;
use futures::TryStreamExt as _;

use super::{ClusterArgs, select::SelectArgs};
use crate::{
    cli::output::{note, print},
    engine,
    node::{
        NodeState, Selection,
        baseline::Baseline,
        diff::Nodes,
        source::{Source, refused},
    },
    report::{Format, ReportSpec},
};

/// What goes into the baseline.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "\
The file has a line a field, in a stable order: commit it, and its history is the history of the nodes. Fields that change
by themselves are left out; what else is, or is kept, the file says under `leaveOut` and `keep`, so that `diff` does the
same.

Examples:
  policyprobe node snapshot -o nodes.yaml
  policyprobe node snapshot --leave-out 'status.nodeInfo.*Version' --keep status.images > nodes.yaml")]
pub(super) struct Args {
    /// The file; it is replaced only when the new one is whole [default: stdout]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    select: SelectArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Writes the baseline; returns the exit code.
pub(super) async fn run(args: &Args) -> anyhow::Result<u8> {
    let selection = args.select.over(Selection::default())?;
    let target = args.output.as_ref().map(|path| ReportSpec { format: Format::Json, path: Some(path.clone()) });
    if let Some(target) = &target {
        let path = args.output.as_deref().unwrap_or(std::path::Path::new("")).display();
        target.check().with_context(|| format!("cannot write {path}"))?;
    }
    let nodes = live(&Source::new(args.cluster.connect().await?), &selection).await?;
    let number = nodes.len();
    let text = Baseline::of(nodes, selection).to_yaml().context("the baseline as YAML")?;
    match target {
        Some(target) => {
            target.write_bytes(text.as_bytes()).context("cannot write the baseline")?;
            note(&format!("{number} nodes written"));
        }
        None => print(&text)?,
    }
    Ok(engine::OK)
}

/// The nodes of a cluster, reduced to the fields that count.
pub(super) async fn live(source: &Source, selection: &Selection) -> anyhow::Result<Nodes> {
    let mut nodes = Nodes::new();
    let mut pages = pin!(source.pages());
    while let Some(page) = pages.try_next().await.map_err(|error| refused(&error, "list"))? {
        let states = page.items.into_iter().filter_map(|node| NodeState::of(node, selection));
        nodes.extend(states.map(|state| (state.name, state.fields)));
    }
    Ok(nodes)
}
