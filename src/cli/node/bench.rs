//! `policyprobe node bench`: the figures of inventory and watch, on nodes that exist as objects alone.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use nix::sys::resource::{UsageWho, getrusage};

use super::ClusterArgs;
use crate::{
    cli::{Problem, signals},
    engine,
    node::{bench, connect, source::Source},
};

/// What to measure.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "\
It makes Node objects without machines, so it wants a cluster for nothing else: one of kind, or --make-nodes. They are
removed at the end. When the API server accepted a change nobody tells; it is between the sending and the answer, so that
the time from the one to the report is an upper bound of what a watch takes, and from the other a lower one.

Examples:
  policyprobe node bench --context kind-lab
  policyprobe node bench --nodes 500 --watched 200 --changes 200")]
pub(super) struct Args {
    /// Nodes for the inventory
    #[arg(long, value_name = "N", default_value = "5000", value_parser = clap::value_parser!(u32).range(1..=20_000))]
    nodes: u32,
    /// Nodes for the watch
    #[arg(long, value_name = "N", default_value = "1000", value_parser = clap::value_parser!(u32).range(1..=20_000))]
    watched: u32,
    /// Changes to watch
    #[arg(long, value_name = "N", default_value = "1000", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    changes: u32,
    /// Changes a second
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Make nodes although the cluster is not one of kind
    #[arg(long)]
    make_nodes: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Measures; returns the exit code.
pub(super) async fn run(args: &Args) -> anyhow::Result<u8> {
    let access = connect::access(args.cluster.context.as_deref(), args.cluster.kubeconfig.as_deref()).await?;
    if !access.context.starts_with("kind-") && !args.make_nodes {
        return Err(Problem::usage(format!("the context `{}` is not one of kind", access.context))
            .hint("the benchmark makes thousands of Node objects; `--make-nodes` says that the cluster is there for it")
            .into());
    }
    let cancel = signals::token()?;
    let measured = cancel.run_until_cancelled(measure(args, &access)).await;
    // However it ends, the nodes go.
    bench::remove(&access.client).await?;
    match measured {
        Some(measured) => measured,
        None => Ok(engine::INTERRUPTED),
    }
}

async fn measure(args: &Args, access: &crate::lab::cluster::Access) -> anyhow::Result<u8> {
    let client = &access.client;
    let nodes = Source::new(client.clone());
    let template = {
        use futures::TryStreamExt as _;
        let page = std::pin::pin!(nodes.pages()).try_next().await.context("listing nodes")?.unwrap_or_default();
        page.items.into_iter().next().context("the cluster has no node to be like")?
    };
    let (watched, all) = (args.watched as usize, args.nodes as usize);
    make(client, &template, 0, watched).await?;
    let seen = bench::watch(client, watched, args.changes as usize, args.rate).await?;
    anstream::println!(
        "watch      {} changes at {:.0}/s on {watched} nodes; {} lost, {} repeated",
        args.changes,
        seen.rate,
        seen.lost,
        seen.repeated
    );
    for (title, times) in [("sent", &seen.since_sent), ("answered", &seen.since_answered)] {
        let [p50, p99, longest] = [50, 99, 100].map(|share| milliseconds(quantile(times, share)));
        anstream::println!("           since {title:<9} p50 {p50} ms, p99 {p99} ms, longest {longest} ms");
    }
    // The sizes rise: what one child used is then seen in the greatest of all.
    let fifth = (all / 5).max(1);
    make(client, &template, watched, fifth.max(watched)).await?;
    let mut sizes = vec![fifth.max(watched)];
    sizes.extend((all > sizes[0]).then_some(all));
    let mut made = sizes[0];
    for size in sizes {
        make(client, &template, made, size).await?;
        made = size;
        let (took, memory) = inventory(access)?;
        anstream::println!("inventory  {size} nodes: {} ms, at most {memory} MiB", milliseconds(took));
    }
    let failed = seen.lost + seen.repeated > 0;
    Ok(if failed { engine::FAILED } else { engine::OK })
}

/// Makes nodes, and waits until nobody is busy with them any more: what is measured is a watch, not a cluster's growing.
async fn make(client: &kube::Client, template: &serde_json::Value, from: usize, to: usize) -> anyhow::Result<()> {
    bench::make(client, template, from, to).await?;
    if to > from && !bench::calm(client).await? {
        anstream::eprintln!("note: the controllers are still busy with the nodes that were made");
    }
    Ok(())
}

/// The time that this share (in %) of the times, in order of length, do not exceed.
fn quantile(times: &[Duration], share: usize) -> Duration {
    let index = (times.len() * share / 100).min(times.len().saturating_sub(1));
    times.get(index).copied().unwrap_or_default()
}

fn milliseconds(time: Duration) -> u128 {
    time.as_millis()
}

/// The time of a whole inventory, as a process of its own, and the most memory (MiB) that any so far has used.
fn inventory(access: &crate::lab::cluster::Access) -> anyhow::Result<(Duration, i64)> {
    let mut command = Command::new(std::env::current_exe().context("the path of this program")?);
    command.args(["node", "inventory", "--output", "json", "--context", &access.context]).stdout(Stdio::null());
    if let Some(file) = &access.kubeconfig {
        command.arg("--kubeconfig").arg(file);
    }
    let begun = Instant::now();
    let status = command.status().context("cannot run an inventory")?;
    let took = begun.elapsed();
    anyhow::ensure!(status.success(), "the inventory failed");
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("getrusage")?;
    Ok((took, usage.max_rss() / 1024))
}
