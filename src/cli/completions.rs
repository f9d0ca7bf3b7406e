//! `policyprobe completions`: a completion script.

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, output::conclude};
use crate::engine;

/// The flags.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  policyprobe completions bash > ~/.local/share/bash-completion/completions/policyprobe
  policyprobe completions fish > ~/.config/fish/completions/policyprobe.fish
  policyprobe completions zsh > \"${fpath[1]}/_policyprobe\"")]
pub struct Args {
    /// The shell
    shell: Shell,
}

/// Prints the script.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "policyprobe", &mut script);
    Ok(conclude(&String::from_utf8(script).context("the script")?, engine::OK))
}
