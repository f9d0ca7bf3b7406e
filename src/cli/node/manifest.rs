//! `policyprobe node manifest`: what runs the watch in a cluster.

use std::path::PathBuf;

use anyhow::Context as _;

use crate::{
    engine,
    node::{manifest::objects, rules::Rules},
};

/// What to run, and where.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "\
It may get, list and watch nodes, and nothing else. It prints changes as JSON lines, and counts them for Prometheus on
port 9464.

Examples:
  policyprobe node manifest --image registry.example.com/policyprobe:0.1.0 | kubectl apply -f -
  policyprobe node manifest --image policyprobe:dev --rules rules.yaml > node-watch.yaml")]
pub(super) struct Args {
    /// An image with `policyprobe` in its PATH
    #[arg(long, value_name = "IMAGE")]
    image: String,
    /// The namespace, which is made
    #[arg(long, value_name = "NAME", default_value = "policyprobe-node-watch")]
    namespace: String,
    /// Rules, which go into a ConfigMap
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
}

/// Prints the manifest; returns the exit code.
pub(super) fn run(args: &Args) -> anyhow::Result<u8> {
    let rules = args.rules.as_ref().map(|path| {
        Rules::load(path)?;
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    });
    let rules = rules.transpose()?;
    for object in objects(&args.namespace, &args.image, rules.as_deref()) {
        anstream::print!("---\n{}", serde_yaml::to_string(&object).context("an object as YAML")?);
    }
    Ok(engine::OK)
}
