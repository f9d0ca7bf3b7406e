//! `policyprobe mutants`: whether the suite notices enforcers that are broken on purpose.

use std::{fmt::Write as _, io::IsTerminal as _};

use super::{
    Global, Problem,
    conduct::{check_reports, deliver, progress, spare, width_of},
    output, signals,
};
use crate::{
    engine::{self, Event},
    lab::embedded::{EmbeddedBuilder, enforcer::Mutant},
    mutants::{Campaign, Campaigned, Trial},
    report::{self, Format, ReportSpec, Theme},
    scenario,
};

/// The flags.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  policyprobe mutants --list                     the mutants, and what each does wrong
  policyprobe mutants conformance                which case of the suite kills which mutant
  policyprobe mutants my-cases/ --all-kills      also the cases that kill nothing
  policyprobe mutants --mutant ignores-except    one mutant

A mutant is the embedded lab's enforcer with one fault. A case kills it by failing. Exit code 1: one survived.")]
pub struct Args {
    /// Scenario files and folders; ids, packs and tags of shipped scenarios; nothing means every shipped scenario
    #[arg(value_name = "PATH|TAG")]
    select: Vec<String>,
    /// Try only this mutant; repeatable
    #[arg(long = "mutant", value_name = "NAME")]
    mutants: Vec<Mutant>,
    /// List the mutants
    #[arg(long, exclusive = true)]
    list: bool,
    /// Play every case against every mutant, in place of ending with the first that fails
    #[arg(long)]
    all_kills: bool,
    /// Only work out on paper which cases should kill which mutants: no lab, and no proof
    #[arg(long)]
    forecast: bool,
    /// Try so many mutants side by side
    #[arg(long, short, value_name = "N", default_value = "2", value_parser = clap::value_parser!(u32).range(1..=64))]
    jobs: u32,
    /// Write a report, `json=FILE`; `-` is stdout
    #[arg(long = "report", value_name = "KIND=FILE")]
    reports: Vec<ReportSpec>,
}

/// Tries the mutants; returns the exit code.
pub async fn run(args: &Args, global: Global) -> anyhow::Result<u8> {
    let out = std::io::stdout();
    let theme = Theme::detect(out.is_terminal().then(|| width_of(&out)).flatten());
    if args.list {
        return Ok(output::conclude(&list(), engine::OK));
    }
    check_reports(&args.reports)?;
    if args.reports.iter().any(|report| report.format != Format::Json) {
        return Err(Problem::usage("this command's only report is `json=FILE`").into());
    }
    let cases = scenario::select(&args.select)?;
    if cases.is_empty() {
        return Err(Problem::usage("no scenario is selected").hint("`policyprobe list` shows what there is").into());
    }
    spare(&args.reports, &cases, "")?;
    let mut mutants = if args.mutants.is_empty() { Mutant::ALL.to_vec() } else { args.mutants.clone() };
    mutants.sort_unstable();
    mutants.dedup();
    let count = mutants.len();
    let campaign = Campaign {
        builder: EmbeddedBuilder::default(),
        mutants,
        all_kills: args.all_kills || args.forecast,
        jobs: args.jobs,
    };
    if args.forecast {
        return conclude(&campaign.forecast(&cases), args, global, theme);
    }
    let cancel = signals::token()?;
    let mut shown = progress(global);
    let mut done = 0;
    let told = |trial: &Trial| {
        done += 1;
        shown.event(&Event::Phase(format!("{done} of {count}: {}", outcome(trial))));
    };
    let result = campaign.run(&cases, &cancel, told).await;
    shown.clear();
    match result {
        Ok(result) => conclude(&result, args, global, theme),
        Err(failure) => {
            output::complain(&failure.message, failure.hint.as_deref());
            Ok(engine::NO_LAB)
        }
    }
}

fn conclude(result: &Campaigned, args: &Args, global: Global, theme: Theme) -> anyhow::Result<u8> {
    let text = report::mutants(theme, result, global.quiet);
    let mut bytes = serde_json::to_vec_pretty(result)?;
    bytes.push(b'\n');
    let mut code = exit_code(result);
    if args.reports.iter().any(|report| report.path.is_none()) {
        output::note(text.trim_end());
    } else {
        code = output::conclude(&text, code);
    }
    for problem in deliver(&args.reports, |report| report.write_bytes(&bytes)).1 {
        output::complain(&problem, None);
        code = if code == engine::OK { engine::USAGE } else { code };
    }
    if let Some((_, failure)) = result.errors().next() {
        output::complain(&failure.message, failure.hint.as_deref());
    }
    Ok(code)
}

fn exit_code(result: &Campaigned) -> u8 {
    if result.interrupted {
        engine::INTERRUPTED
    } else if result.errors().next().is_some() {
        engine::NO_LAB
    } else if result.survivors().next().is_some() || !result.unsound.is_empty() {
        engine::FAILED
    } else {
        engine::OK
    }
}

fn outcome(trial: &Trial) -> String {
    match (&trial.error, trial.killed_by.first()) {
        (Some(_), _) => format!("{} could not be tried", trial.mutant),
        (None, Some(case)) => format!("{} killed by {case}", trial.mutant),
        (None, None) => format!("{} survived", trial.mutant),
    }
}

fn list() -> String {
    let bold = anstyle::Style::new().bold();
    let width = Mutant::ALL.iter().map(|mutant| mutant.name().len()).max().unwrap_or(0);
    Mutant::ALL.iter().fold(String::new(), |mut text, mutant| {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{bold}{mutant:width$}{bold:#}  {}", mutant.fault());
        text
    })
}
