//! `policyprobe run`: scenarios, shipped ones and the user's own.

use std::io::Write as _;

use clap::ValueEnum;

use super::{
    BackendArgs, Global, Problem, RunArgs, backend,
    conduct::{Show, check_reports, conduct, spare},
};
use crate::{
    engine,
    lab::MOST_LANES,
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
    /// Run so many scenarios side by side, each in namespaces of its own [default: 1; on the embedded backend one for every 8
    /// scenarios, up to 12 a processor]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_LANES)))]
    jobs: Option<u32>,
    /// Run only the Kth of N equal parts
    #[arg(long, value_name = "K/N", value_parser = Shard::parse)]
    shard: Option<Shard>,
    /// Run the scenarios so many times, in one lab
    #[arg(long, value_name = "N", default_value = "1", hide_default_value = true, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeat: u32,
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
    /// The agent in runs of more than 5000 cells, for tables of more than 40, and for those with UDP; `curl` for the others
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
    spare(&args.run.reports, &scenarios, &args.run.profile)?;
    warn(&scenarios);
    let part: Vec<LoadedScenario> = match args.shard {
        None => scenarios,
        Some(shard) => {
            scenarios.into_iter().zip(0..).filter(|(_, index)| shard.has(*index)).map(|(it, _)| it).collect()
        }
    };
    if part.is_empty() {
        return Err(Problem::usage("no scenario is in this part").hint("there are fewer scenarios than parts").into());
    }
    let scenarios: Vec<LoadedScenario> = (0..args.repeat).flat_map(|_| part.iter().cloned()).collect();
    let jobs = args.jobs.unwrap_or_else(|| builder.lanes(scenarios.len()));
    conduct(builder, &scenarios, &args.run, jobs, args.probe_with.into(), global, Show::Results).await
}

/// One of several equal parts: every nth scenario, so that each part has some of every family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shard {
    /// From 0.
    number: usize,
    of: usize,
}

impl Shard {
    fn parse(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match parts {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Self { number: number - 1, of }),
            _ => Err("write `K/N` with K from 1 to N, as `1/4`".to_owned()),
        }
    }

    fn has(self, index: usize) -> bool {
        index % self.of == self.number
    }
}

/// Warnings about the user's own scenarios; nobody can do anything about those of shipped ones.
fn warn(scenarios: &[LoadedScenario]) {
    let own = scenarios.iter().filter(|loaded| !loaded.shipped);
    let warnings = Diagnostics(own.flat_map(|loaded| loaded.warnings.iter().cloned()).collect());
    if !warnings.0.is_empty() {
        let _ = writeln!(anstream::stderr(), "{}\n", warnings.styled());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_hold_every_scenario_once() {
        let parts: Vec<Shard> =
            (1..=3).map(|number| Shard::parse(&format!("{number}/3")).unwrap_or_else(|e| panic!("{e}"))).collect();
        for index in 0..10 {
            assert_eq!(parts.iter().filter(|part| part.has(index)).count(), 1);
        }
        for bad in ["", "0/3", "4/3", "1", "1/", "a/b", "1/0"] {
            assert!(Shard::parse(bad).is_err(), "{bad}");
        }
    }
}
