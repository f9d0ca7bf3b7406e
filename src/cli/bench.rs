//! `policyprobe bench`: where the time of a run goes.

use std::{
    io::IsTerminal as _,
    path::{Path, PathBuf},
};

use super::{
    BackendArgs, Global, Problem, backend,
    conduct::{progress, width_of},
    lab, output, signals,
};
use crate::{
    engine::{self, Event, Events, Options, RunResult},
    input,
    report::{Report, Span, Theme, Timeline, compare},
    scenario::{self, LoadedScenario},
};

/// The flags.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  policyprobe bench                           the lab, in network namespaces
  policyprobe bench --backend kind --runs 1   the lab on kind, the making of the cluster included
  policyprobe bench metadata-label-change     one scenario
  policyprobe bench --compare calico.json cilium.json
                                              two runs, by the reports that `run --report json=FILE` wrote")]
pub struct Args {
    /// Scenario files and folders; ids, packs and tags of shipped scenarios; nothing means the lab
    #[arg(value_name = "PATH|TAG")]
    select: Vec<String>,
    /// Complete runs, each with a lab of its own; the median of each part is shown
    #[arg(long, short = 'n', value_name = "N", default_value = "5", value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Make no run: compare the JSON reports of two, of two CNIs or of one before and after a change
    #[arg(long, num_args = 2, value_names = ["REPORT", "REPORT"], conflicts_with_all = ["select", "runs"])]
    compare: Vec<PathBuf>,
    #[command(flatten)]
    backend: BackendArgs,
}

/// A report of a run of all scenarios, a hundred times over, has some 250 MiB.
const LARGEST: u64 = 512 << 20;

/// Makes the runs, and shows where their time went.
pub async fn run(args: &Args, global: Global) -> anyhow::Result<u8> {
    if let [one, other] = &args.compare[..] {
        let text = compare((&name(one), &read(one)?), (&name(other), &read(other)?), theme());
        return Ok(output::conclude(&text, engine::OK));
    }
    let cancel = signals::token()?;
    let mut timeline = Timeline::default();
    let mut shown = progress(global);
    for number in 1..=args.runs {
        let builder = backend::builder(&args.backend)?;
        let scenarios =
            if args.select.is_empty() { lab::scenarios(&*builder)? } else { scenario::select(&args.select)? };
        if scenarios.is_empty() {
            return Err(Problem::usage("no scenario is selected")
                .hint("`policyprobe list` shows what there is")
                .into());
        }
        shown.event(&Event::Phase(format!("run {number} of {}", args.runs)));
        let (result, spans) = once(builder, &scenarios, &cancel, args.select.is_empty()).await;
        if result.exit_code != engine::OK {
            shown.clear();
            match &result.error {
                Some(failure) => output::complain(&failure.message, failure.hint.as_deref()),
                None => output::complain(
                    "a run was not as expected, so its times mean nothing",
                    Some("`policyprobe run` shows why"),
                ),
            }
            return Ok(result.exit_code);
        }
        timeline.add(&result, spans);
    }
    shown.clear();
    Ok(output::conclude(&timeline.render(theme()), engine::OK))
}

fn theme() -> Theme {
    let out = std::io::stdout();
    Theme::detect(out.is_terminal().then(|| width_of(&out)).flatten())
}

/// A report, or what is wrong with it and where.
fn read(path: &Path) -> Result<Report, Problem> {
    let shown = path.display();
    let bytes = input::bytes(path, LARGEST).map_err(|error| Problem::input("the report", path, &error))?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let place = format!("{shown}:{}:{}", error.line(), error.column());
        Problem::usage(format!("{place}: this is no JSON report: {error}"))
            .hint("`policyprobe run --report json=FILE` writes one")
    })
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

async fn once(
    builder: Box<dyn crate::lab::LabBuilder>,
    scenarios: &[LoadedScenario],
    cancel: &tokio_util::sync::CancellationToken,
    is_lab: bool,
) -> (RunResult, Vec<Span>) {
    let (events, mut receiver) = Events::channel();
    // As the commands do that it measures.
    let options = Options { show_answers: is_lab, ..Options::default() };
    let result = engine::run(builder, scenarios, &options, &events, cancel).await;
    let mut spans = Vec::new();
    while let Ok(event) = receiver.try_recv() {
        if let Event::Span { name, began, took } = event {
            spans.push(Span { name, began, took });
        }
    }
    (result, spans)
}
