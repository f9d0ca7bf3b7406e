//! `policyprobe fuzz`: random policies, on which the simulator and a lab must agree.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use futures::future::join;

use super::{BackendArgs, Global, Problem, backend, conduct::progress, output, signals};
use crate::{
    engine::{Event, Events},
    fuzz::{Campaign, Outcome, files, write},
};

/// The flags.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each case is a small lab with random labels, policies and changes. What must hold is what the simulator says; where the
lab does otherwise, the case is shrunk and written to a folder of its own, a scenario like any other. On a cluster a
difference is the CNI's, or the simulator's: `policyprobe explain FOLDER` says which rule decides.

Examples:
  policyprobe fuzz                                     100 cases on network namespaces
  policyprobe fuzz --seed 2a --cases 1000 --jobs 8     the same cases each time
  policyprobe fuzz --backend kind --cluster NAME       against the CNI of a kept kind cluster
  policyprobe fuzz --mutant ignores-except             an enforcer with a fault: it has to be found")]
pub struct Args {
    /// How many cases
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    cases: u32,
    /// What the cases are drawn with, hexadecimal; a new one each time where nothing is said
    #[arg(long, value_name = "SEED", value_parser = |text: &str| u64::from_str_radix(text, 16))]
    seed: Option<u64>,
    /// Where folders of shrunk cases are written
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Play so many cases side by side
    #[arg(long, short, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u32).range(1..=64))]
    jobs: u32,
    #[command(flatten)]
    backend: BackendArgs,
}

/// After so many cases each it is said how far it is.
const TOLD: u32 = 25;

/// Plays the cases; returns the exit code.
pub async fn run(args: &Args, global: Global) -> anyhow::Result<u8> {
    check(&args.out)?;
    // Whatever cannot be built is said before anything is drawn.
    drop(backend::builder(&args.backend)?);
    let campaign = Campaign { seed: args.seed.unwrap_or_else(by_clock), cases: args.cases as usize, jobs: args.jobs };
    let cancel = signals::token()?;
    let (events, mut told) = Events::channel();
    let playing = async {
        let outcome = campaign.run(|| backend::builder(&args.backend), &events, &cancel).await;
        drop(events);
        outcome
    };
    let showing = async {
        let (mut shown, mut done) = (progress(global), 0_u32);
        while let Some(event) = told.recv().await {
            match event {
                Event::ScenarioFinished(_) => {
                    done += 1;
                    let phase = match done.checked_sub(args.cases).filter(|smaller| *smaller > 0) {
                        None => format!("{done} of {} cases", args.cases),
                        Some(smaller) => format!("shrinking: {smaller} smaller cases"),
                    };
                    if done % TOLD == 0 {
                        shown.event(&Event::Phase(phase));
                    }
                }
                Event::Phase(_) | Event::Note(_) if done == 0 => shown.event(&event),
                _ => {}
            }
        }
        shown.clear();
    };
    let outcome = join(playing, showing).await.0?;
    let code = output::conclude(&told_of(&outcome, campaign.seed, &args.out)?, outcome.exit_code);
    if let Some(failure) = &outcome.error {
        output::complain(&failure.message, failure.hint.as_deref());
    }
    Ok(code)
}

/// What is told of the cases. The smallest scenario that shows a difference is part of it where it cannot be written.
fn told_of(outcome: &Outcome, seed: u64, out: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    for found in &outcome.disagreements {
        writeln!(text, "✘ {}: {} in step `{}`", found.drawn, found.cell.id, found.step)?;
        writeln!(text, "  {}", found.cell.reason.as_deref().unwrap_or_default())?;
        writeln!(text, "  rule     {}", found.cell.decided_by.as_deref().unwrap_or("none"))?;
        match write(&found.scenario, out) {
            Ok(file) => writeln!(text, "  written  {}", file.display())?,
            Err(error) => {
                writeln!(text, "  not written, so here it is: {error:#}")?;
                for (name, yaml) in files(&found.scenario)? {
                    writeln!(text, "--- # {name}\n{}", yaml.trim_end())?;
                }
            }
        }
    }
    if outcome.error.is_none() || outcome.different > 0 {
        let sign = if outcome.different > 0 { "✘" } else { "✔" };
        let cases = if outcome.played == 1 { "case" } else { "cases" };
        writeln!(text, "{sign} {} {cases}, seed {seed:x}: {}", outcome.played, summary(outcome))?;
    }
    Ok(text)
}

/// Finds out before the first case whether anything can be written below the folder, which need not exist yet.
fn check(out: &Path) -> Result<(), Problem> {
    let wrong = |why: String| {
        let message = format!("`--out {}`: nothing can be written there: {why}", out.display());
        Err(Problem::usage(message).hint("name a folder that can be written to, or one that can be made"))
    };
    let there = out.ancestors().find(|path| path.symlink_metadata().is_ok());
    let there = there.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !there.is_dir() {
        return wrong(format!("`{}` is no folder", there.display()));
    }
    tempfile::tempfile_in(there).map(drop).or_else(|error| wrong(error.to_string()))
}

fn summary(outcome: &Outcome) -> String {
    let inconclusive = match outcome.inconclusive {
        0 => String::new(),
        some => format!(", {some} inconclusive"),
    };
    let different = match outcome.different {
        0 => String::new(),
        1 => ", and not on one case".to_owned(),
        many => format!(", and not on {many} cases"),
    };
    format!("the simulator and the lab agree on {} cells{inconclusive}{different}", outcome.agreed)
}

fn by_clock() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_secs() ^ u64::from(now.subsec_nanos()).rotate_left(32)
}
