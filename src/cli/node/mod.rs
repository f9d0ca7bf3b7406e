//! `policyprobe node`: node metadata. One file a subcommand.

mod audit;
mod bench;
mod diff;
mod inventory;
mod journal;
mod lines;
mod manifest;
mod measured;
mod metrics;
mod outage;
mod select;
mod snapshot;
mod time;
mod watch;
mod webhook;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use kube::Client;

use super::{Global, output::note, signals::unless_interrupted};
use crate::{
    lab::{LabError, cluster::ClusterMark},
    node::{connect, rules::Rules},
    scenario::{Diagnostic, Diagnostics},
};

/// Node metadata: what it shows, who may change it, and who did
#[derive(clap::Args, Debug)]
pub struct NodeArgs {
    #[command(subcommand)]
    command: NodeCommand,
}

#[derive(Debug, Subcommand)]
enum NodeCommand {
    /// Show each node's metadata: what it is used for, who set it, what it tells an attacker
    Inventory(inventory::Args),
    /// Write a baseline of all nodes, to be committed
    Snapshot(snapshot::Args),
    /// Compare nodes with a baseline, or two baselines
    Diff(diff::Args),
    /// Report each change of a node, once, and who made it
    Watch(watch::Args),
    /// Find out who can read and who can change node metadata
    Audit(audit::Args),
    /// Measure inventory and watch on thousands of nodes
    Bench(bench::Args),
    /// Print a manifest that runs the watch in a cluster, with least privilege
    Manifest(manifest::Args),
}

/// Which cluster.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Cluster")]
struct ClusterArgs {
    /// The kubeconfig's context [default: the current one]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// The kubeconfig [default: KUBECONFIG, ~/.kube/config; in a pod its service account]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

impl ClusterArgs {
    async fn connect(&self) -> Result<Client, LabError> {
        self.reach().await.map(|(client, _)| client)
    }

    /// The client, and what tells the cluster from others.
    async fn reach(&self) -> Result<(Client, ClusterMark), LabError> {
        connect::connect(self.context.as_deref(), self.kubeconfig.as_deref()).await
    }
}

/// How changes are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// Lines for people
    Text,
    /// A JSON object a line
    Json,
}

/// Runs the subcommand; returns the exit code.
pub async fn run(args: NodeArgs, global: Global) -> anyhow::Result<u8> {
    match args.command {
        NodeCommand::Inventory(args) => unless_interrupted(Box::pin(inventory::run(&args))).await,
        NodeCommand::Snapshot(args) => unless_interrupted(Box::pin(snapshot::run(&args))).await,
        NodeCommand::Diff(args) => unless_interrupted(Box::pin(diff::run(&args))).await,
        NodeCommand::Watch(args) => unless_interrupted(Box::pin(watch::run(&args, global))).await,
        NodeCommand::Audit(args) => audit::run(&args, global).await,
        NodeCommand::Bench(args) => bench::run(&args).await,
        NodeCommand::Manifest(args) => manifest::run(&args),
    }
}

/// The rules of a file, or none.
fn rules(path: Option<&Path>) -> Result<Rules, Diagnostics> {
    let Some(path) = path else { return Ok(Rules::default()) };
    let (rules, warnings) = Rules::load(path)?;
    warn(warnings);
    Ok(rules)
}

fn warn(warnings: Vec<Diagnostic>) {
    if !warnings.is_empty() {
        note(&format!("{}\n", Diagnostics(warnings).styled()));
    }
}
