//! `policyprobe run`: scenarios, shipped ones and the user's own.

use std::io::Write as _;

use clap::ValueEnum;

use super::{
    BackendArgs, Global, Problem, RunArgs, backend,
    conduct::{Show, check_reports, conduct},
};
use crate::{
    engine,
    scenario::{self, Diagnostics, LoadedScenario},
};

/// The flags.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  policyprobe run                                        every shipped scenario, on the embedded backend
  policyprobe run cloud-metadata                         a pack or a tag
  policyprobe run ./my-scenarios --report json=out.json  one's own, with a report
  policyprobe run --backend kind --cni calico.yaml       on a kind cluster with that CNI
  policyprobe run --backend cluster --context staging    on a cluster that is there already")]
pub struct Args {
    /// Scenario files and folders; ids, packs and tags of shipped scenarios; nothing means every shipped scenario
    #[arg(value_name = "PATH|TAG")]
    select: Vec<String>,
    #[command(flatten)]
    backend: BackendArgs,
    #[command(flatten)]
    run: RunArgs,
    /// What makes the probes
    #[arg(long, value_enum, value_name = "MEANS", default_value = "auto", help_heading = "Run")]
    probe_with: ProbeWith,
}

/// What makes the probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ProbeWith {
    /// Real `curl` processes; only what they cannot do (UDP) goes by the agent
    Curl,
    /// An agent that stays open in each source; what it cannot do (TLS, names alone) goes by `curl`
    Agent,
    /// The agent for tables of more than 40 cells and for those with UDP, `curl` for the others
    Auto,
}

impl From<ProbeWith> for engine::ProbeWith {
    fn from(with: ProbeWith) -> Self {
        match with {
            ProbeWith::Curl => Self::Curl,
            ProbeWith::Agent => Self::Agent,
            ProbeWith::Auto => Self::Auto,
        }
    }
}

/// Runs the scenarios.
pub async fn run(args: &Args, global: Global) -> anyhow::Result<u8> {
    check_reports(&args.run.reports)?;
    let builder = backend::builder(&args.backend)?;
    let scenarios = scenario::select(&args.select)?;
    if scenarios.is_empty() {
        return Err(Problem::usage("no scenario is selected").hint("`policyprobe list` shows what there is").into());
    }
    warn(&scenarios);
    conduct(builder, &scenarios, &args.run, args.probe_with.into(), global, Show::Results).await
}

/// Warnings about the user's own scenarios; nobody can do anything about those of shipped ones.
fn warn(scenarios: &[LoadedScenario]) {
    let own = scenarios.iter().filter(|loaded| !loaded.shipped);
    let warnings = Diagnostics(own.flat_map(|loaded| loaded.warnings.iter().cloned()).collect());
    if !warnings.0.is_empty() {
        let _ = writeln!(anstream::stderr(), "{}\n", warnings.styled());
    }
}
