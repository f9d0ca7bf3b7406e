//! `policyprobe schema`: the JSON Schemas of scenario files and of those about nodes.

use anyhow::Context as _;

use super::output::conclude;
use crate::{
    engine,
    node::{baseline, rules},
    scenario,
};

/// Print the JSON Schema of scenario files
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "\
Editors check scenario files against it when their first line names it:
  # yaml-language-server: $schema=../schema.json

Examples:
  policyprobe schema > scenarios/schema.json
  policyprobe schema --of node-rules")]
pub struct Args {
    /// Which files
    #[arg(long, value_enum, default_value = "scenario")]
    of: Of,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Of {
    /// Scenarios
    Scenario,
    /// Rules of `node watch` and `node diff`
    NodeRules,
    /// Baselines of `node snapshot`
    NodeBaseline,
}

/// Prints the schema; returns the exit code.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    let schema = match args.of {
        Of::Scenario => scenario::json_schema(),
        Of::NodeRules => rules::json_schema(),
        Of::NodeBaseline => baseline::json_schema(),
    };
    let text = serde_json::to_string_pretty(&schema).context("the schema cannot be written as JSON")?;
    Ok(conclude(&(text + "\n"), engine::OK))
}
