//! `policyprobe node bench`: the figures of inventory and watch, on nodes that exist as objects alone.

use std::{
    fmt::Write as _,
    pin::pin,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures::TryStreamExt as _;
use kube::Client;
use serde_json::Value;

use super::{
    ClusterArgs,
    measured::{Busy, Watching, cpu, inventory},
    outage::ControlPlane,
};
use crate::{
    cli::{
        Problem,
        output::{note, print},
        signals,
    },
    engine,
    lab::cluster::Access,
    node::{
        bench::{self, OverGap, Reported, Watched, quantile},
        connect,
        source::{Source, refused},
    },
};

/// The value after all others: what was not reported before it is lost.
const LAST: &str = "last";
/// The value after those of a gap.
const AFTER: &str = "after";
/// How often each node changes in a gap: the last of them alone is a net change.
const CHANGES_IN_GAP: usize = 2;
/// How long a watch may take to begin, and its last changes to be seen.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a value may take that shows whether the watch stands.
const BEGINNING: Duration = Duration::from_millis(500);

/// What to measure.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "\
It makes Node objects without machines, so it wants a cluster for nothing else: one of kind, or --make-nodes. They are
removed at the end. A CNI has something to do for each node that is made or changed, and controllers have for minutes, which is
not what is measured: take a cluster without them, whose only node need not be Ready (kind-config/bench.yaml).

Inventory and watch are processes of their own, as people run them. When the API server accepted a change nobody tells; it
is between the sending and the answer, so that the time from the answer to the report is a lower bound of what a watch takes,
and from the sending an upper one. Next to them stands what is the watch's own part: its CPU time.

With --restart each watched node is changed twice while the watch is stopped, its API server is another one and the history
is gone: the second change of each is to be reported, once and marked with the gap, and the first not at all.

Examples:
  kind create cluster --name bench --config kind-config/bench.yaml && policyprobe node bench
  policyprobe node bench --nodes 500 --watched 200 --changes 200 --restart --resume")]
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
    /// Then start the API server anew and compact its history while the watch is stopped and nodes change, in a cluster of kind
    #[arg(long)]
    restart: bool,
    /// Have the watch keep what it has seen in a file, as `node watch --resume` does
    #[arg(long)]
    resume: bool,
    /// Make nodes although the cluster is not one of kind
    #[arg(long)]
    make_nodes: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Measures; returns the exit code.
pub(super) async fn run(args: &Args) -> anyhow::Result<u8> {
    let cancel = signals::token()?;
    let access = connect::access(args.cluster.context.as_deref(), args.cluster.kubeconfig.as_deref());
    let Some(access) = cancel.run_until_cancelled(access).await.transpose()? else { return Ok(engine::INTERRUPTED) };
    if !access.context.starts_with("kind-") && !args.make_nodes {
        return Err(Problem::usage(format!("the context `{}` is not one of kind", access.context))
            .hint("the benchmark makes thousands of Node objects; `--make-nodes` says that the cluster is there for it")
            .into());
    }
    if args.restart && ControlPlane::of(&access.context).is_none() {
        return Err(Problem::usage("`--restart` enters the control plane, of a cluster of kind alone").into());
    }
    let measured = cancel.run_until_cancelled(measure(args, &access)).await;
    // However it ends, the nodes go.
    let removed = bench::remove(&access.client).await;
    let code = measured.unwrap_or(Ok(engine::INTERRUPTED))?;
    removed.map(|()| code)
}

async fn measure(args: &Args, access: &Access) -> anyhow::Result<u8> {
    let client = &access.client;
    let template = {
        let page =
            pin!(Source::new(client.clone()).pages()).try_next().await.map_err(|error| refused(&error, "list"))?;
        page.unwrap_or_default().items.into_iter().next().context("the cluster has no node to be like")?
    };
    let (watched, all) = (args.watched as usize, args.nodes as usize);
    make(client, &template, 0, watched).await?;
    // Not waited for until the end: what it used must not be seen in what the inventories use.
    let (seen, mut watching) = watch(args, access).await?;
    let over_gap = match ControlPlane::of(&access.context).filter(|_| args.restart) {
        Some(control_plane) => over_gap(args, access, &control_plane, &mut watching).await?,
        None => OverGap::default(),
    };
    watching.stop();
    // The sizes rise: what one child used is then seen in the greatest of all.
    let first = (all / 5).max(watched).max(1);
    let mut made = watched;
    for size in [Some(first), (all > first).then_some(all)].into_iter().flatten() {
        make(client, &template, made, size).await?;
        made = size;
        let used = inventory(access)?;
        print(&format!(
            "inventory  {size} nodes: {} ms, of which its own CPU {} ms; at most {} MiB\n",
            used.took.as_millis(),
            used.cpu.as_millis(),
            used.memory
        ))?;
    }
    let failed = seen.lost + seen.repeated > 0 || over_gap != OverGap::default();
    Ok(if failed { engine::FAILED } else { engine::OK })
}

/// Makes nodes, and waits until nobody is busy with them any more: what is measured is a watch, not a cluster's growing.
async fn make(client: &Client, template: &Value, from: usize, to: usize) -> anyhow::Result<()> {
    bench::make(client, template, from, to).await?;
    if to > from && !bench::calm(client).await? {
        note("note: the controllers are still busy with the nodes that were made");
    }
    Ok(())
}

/// Watches changes, and shows what became of them.
async fn watch(args: &Args, access: &Access) -> anyhow::Result<(Watched, Watching)> {
    let (client, nodes, changes) = (&access.client, args.watched as usize, args.changes as usize);
    let mut watching = Watching::start(access, args.resume)?;
    let mut seen = Reported::new();
    tokio::time::timeout(PATIENCE, begin(client, &mut watching, &mut seen))
        .await
        .context("the watch does not begin")??;
    // Controllers answer the first change of each node with one of their own, such as the TTL that goes with the cluster's size.
    bench::change(client, nodes, nodes, args.rate, "before").await?;
    let before = (watching.cpu(), cpu(std::process::id()), Busy::now());
    let begun = Instant::now();
    let sent = bench::change(client, nodes, changes, args.rate, "change").await?;
    let (took, after) = (begun.elapsed(), (watching.cpu(), cpu(std::process::id()), Busy::now()));
    bench::annotate(client, 0, LAST).await?;
    let last = tokio::time::timeout(PATIENCE, watching.until(LAST, &mut seen)).await;
    last.context("not every change was reported")??;
    let watched = Watched::of(&sent, &seen);
    let mut text = format!(
        "watch      {changes} changes at {:.0}/s on {nodes} nodes; {} lost, {} repeated\n",
        watched.rate, watched.lost, watched.repeated
    );
    for (title, times) in [("answered", &watched.since_answered), ("sent", &watched.since_sent)] {
        let [p50, p99, longest] = [50, 99, 100].map(|share| quantile(times, share).as_millis());
        let _ = writeln!(text, "           since {title:<9} p50 {p50} ms, p99 {p99} ms, longest {longest} ms");
    }
    let share = |before: Option<Duration>, after: Option<Duration>| {
        before.zip(after).map(|(before, after)| after.saturating_sub(before).as_secs_f64() / took.as_secs_f64() * 100.0)
    };
    if let (Some(own), Some(writer)) = (share(before.0, after.0), share(before.1, after.1)) {
        let each = own / 100.0 * took.as_secs_f64() * 1000.0 / f64::from(args.changes);
        let _ = write!(
            text,
            "           CPU: the watch {own:.1} % of a core, {each:.2} ms a change; the writer {writer:.1} %"
        );
        let busy = before.2.zip(after.2).and_then(|(before, after)| after.since(&before));
        text += &busy.map_or_else(String::new, |busy| format!("; this machine was {busy:.0} % busy"));
        text.push('\n');
    }
    print(&text)?;
    Ok((watched, watching))
}

/// Has nodes change while there is no watch, and shows what is reported of it afterwards.
async fn over_gap(
    args: &Args,
    access: &Access,
    control_plane: &ControlPlane,
    watching: &mut Watching,
) -> anyhow::Result<OverGap> {
    let (client, nodes) = (&access.client, args.watched as usize);
    watching.pause()?;
    // First, so that no change is on the way to the watch already.
    control_plane.restart(client).await?;
    let sent = bench::change(client, nodes, CHANGES_IN_GAP * nodes, args.rate, "gap").await?;
    control_plane.compact(client).await?;
    let begun = Instant::now();
    watching.go_on()?;
    let mut seen = Reported::new();
    let net = sent.iter().rev().take(nodes);
    let reported = async {
        for change in net {
            watching.until(&change.value, &mut seen).await?;
        }
        anyhow::Ok(())
    };
    // What is not reported in time is lost.
    tokio::time::timeout(PATIENCE, reported).await.unwrap_or(Ok(()))?;
    let took = begun.elapsed().as_millis();
    bench::annotate(client, 0, AFTER).await?;
    let last = tokio::time::timeout(PATIENCE, watching.until(AFTER, &mut seen)).await;
    last.context("the watch does not stand again")??;
    let over_gap = OverGap::of(&sent, nodes, &seen);
    let OverGap { lost, repeated, unmarked, passing } = over_gap;
    print(&format!(
        "gap        {nodes} nodes changed {CHANGES_IN_GAP} times while the API server was restarted and its history \
         compacted:\n           net changes after {took} ms; {lost} lost, {repeated} repeated, {unmarked} not marked, \
         {passing} reported that did not last\n"
    ))?;
    Ok(over_gap)
}

/// Changes a node again and again until the watch has reported one of the changes: then it stands.
async fn begin(client: &Client, watching: &mut Watching, seen: &mut Reported) -> anyhow::Result<()> {
    for number in 0_u32.. {
        let value = format!("first-{number}");
        bench::annotate(client, 0, &value).await?;
        if let Ok(reported) = tokio::time::timeout(BEGINNING, watching.until(&value, seen)).await {
            return reported;
        }
    }
    Ok(())
}
