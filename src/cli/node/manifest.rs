//! `policyprobe node manifest`: what runs the watch in a cluster.

use std::path::PathBuf;

use anyhow::Context as _;

use crate::{
    cli::{Problem, args::namespace, output::conclude},
    engine, input,
    node::{manifest::objects, rules::Rules},
};

/// What to run, and where.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "\
It may get, list and watch nodes, and nothing else. It prints changes as JSON lines, and counts them for Prometheus on
port 9464. What it has seen is in a volume of the pod: over a restart of the container, it reports what changed in between.

Examples:
  policyprobe node manifest --image registry.example.com/policyprobe:0.1.0 | kubectl apply -f -
  policyprobe node manifest --image policyprobe:dev --rules rules.yaml > node-watch.yaml")]
pub(super) struct Args {
    /// An image with `policyprobe` in its PATH
    #[arg(long, value_name = "IMAGE")]
    image: String,
    /// The namespace, which is made
    #[arg(long, value_name = "NAME", default_value = "policyprobe-node-watch", value_parser = namespace)]
    namespace: String,
    /// Rules, which go into a ConfigMap
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
}

/// What Kubernetes takes as a ConfigMap, in bytes.
const CONFIG_MAP: u64 = 1 << 20;

/// Prints the manifest; returns the exit code.
pub(super) fn run(args: &Args) -> anyhow::Result<u8> {
    let rules = args.rules.as_ref().map(|path| {
        Rules::load(path)?;
        anyhow::Ok(input::text(path, CONFIG_MAP).map_err(|error| Problem::input("the rules", path, &error))?)
    });
    let rules = rules.transpose()?;
    let mut text = String::new();
    for object in objects(&args.namespace, &args.image, rules.as_deref()) {
        text += "---\n";
        text += &serde_yaml::to_string(&object).context("an object as YAML")?;
    }
    Ok(conclude(&text, engine::OK))
}
