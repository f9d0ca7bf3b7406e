//! `policyprobe lint`: every fault of scenario files and their manifests, with places and hints, what the simulator
//! contradicts included. Touches no network.

use std::io::Write as _;

use super::output::conclude;
use crate::{
    engine, parallel,
    scenario::{self, Diagnostics},
};

/// Check scenario files and their manifests, without any lab
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "\
Exit code: 0 without errors (warnings included, unless --deny-warnings), 2 with errors.

Examples:
  policyprobe lint                       the shipped scenarios
  policyprobe lint my-scenarios/         every scenario below a folder
  policyprobe lint --deny-warnings a.yaml b.yaml")]
pub struct Args {
    /// Scenario files and folders, or ids, packs and tags of shipped scenarios; all shipped ones where nothing is given
    #[arg(value_name = "PATH")]
    pub paths: Vec<String>,

    /// Treat warnings as errors
    #[arg(long)]
    pub deny_warnings: bool,
}

/// Lints; returns the exit code.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    let (checked, faults) = match scenario::select(&args.paths) {
        Ok(scenarios) => {
            let mut faults: Vec<_> = scenarios.iter().flat_map(|loaded| loaded.warnings.clone()).collect();
            let contradictions = parallel::each(&scenarios, |loaded| engine::contradictions(loaded).err());
            faults.extend(contradictions.into_iter().flatten().flatten());
            let faults = Diagnostics(faults).tidy();
            ((!faults.has_errors()).then_some(scenarios.len()), faults)
        }
        Err(faults) => (None, faults),
    };
    let told = if faults.0.is_empty() { Ok(()) } else { write!(anstream::stderr(), "{}\n\n", faults.styled()) };
    let (errors, warnings) = faults.counts();
    let warnings_in_words = counted(warnings, "warning");
    let summary = match checked {
        Some(number) if warnings == 0 => format!("{}: no faults\n", counted(number, "scenario")),
        Some(number) => format!("{}: {warnings_in_words}\n", counted(number, "scenario")),
        None if warnings == 0 => format!("{}\n", counted(errors, "error")),
        None => format!("{}, {warnings_in_words}\n", counted(errors, "error")),
    };
    let failed = errors > 0 || (args.deny_warnings && warnings > 0) || told.is_err();
    Ok(conclude(&summary, if failed { engine::USAGE } else { engine::OK }))
}

fn counted(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}
