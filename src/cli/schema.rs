//! `policyprobe schema`: the JSON Schema of scenario files.

use anyhow::Context as _;

use crate::{engine, scenario};

/// Print the JSON Schema of scenario files
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "\
Editors check scenario files against it when their first line names it:
  # yaml-language-server: $schema=../schema.json

Examples:
  policyprobe schema > scenarios/schema.json")]
pub struct Args {}

/// Prints the schema; returns the exit code.
pub fn run(_args: &Args) -> anyhow::Result<u8> {
    let text =
        serde_json::to_string_pretty(&scenario::json_schema()).context("the schema cannot be written as JSON")?;
    anstream::println!("{text}");
    Ok(engine::OK)
}
