//! What `lab` and `run` have in common: one run with its reporters, report files, signals and exit code.

use std::{
    collections::BTreeSet,
    io::{self, IsTerminal as _},
    path::Path,
};

use super::{Global, Problem, RunArgs, output, signals};
use crate::{
    engine::{self, Events, Options, ProbeWith, Profiles, RunResult},
    lab::LabBuilder,
    profile::{self, Known},
    report::{Narrative, Progress, Pump, ReportSpec, Reporter, Terminal, Theme, Told},
    scenario::{LoadedScenario, nearest},
};

/// How results are shown.
pub(super) enum Show {
    /// As tables.
    Results,
    /// As the document's story.
    Story(Vec<Told>),
}

/// Makes a run, and returns its exit code.
pub(super) async fn conduct(
    builder: Box<dyn LabBuilder>,
    scenarios: &[LoadedScenario],
    args: &RunArgs,
    jobs: u32,
    probe: ProbeWith,
    global: Global,
    show: Show,
) -> anyhow::Result<u8> {
    let options = Options {
        continue_unenforced: args.continue_unenforced,
        strict_timeouts: args.strict_timeouts,
        probe,
        fail_fast: args.fail_fast,
        profiles: profiles(&args.profile)?,
        jobs,
        converge_limit: None,
        show_answers: matches!(show, Show::Story(_)),
    };
    let cancel = signals::token()?;
    let (events, receiver) = Events::channel();
    let reports_on_stdout = args.reports.iter().any(|report| report.path.is_none());
    let pump = Pump::start(receiver, vec![reporter(global, show, reports_on_stdout)], progress(global));
    let result = engine::run(builder, scenarios, &options, &events, &cancel).await;
    drop(events);
    Ok(conclude(&result, pump, &args.reports))
}

/// What `--profile` means. A file with faults is told with their places.
fn profiles(chosen: &str) -> anyhow::Result<Profiles> {
    let how = || "by `--profile`".to_owned();
    match chosen {
        "detect" => Ok(Profiles::Detect),
        "none" => Ok(Profiles::Nothing),
        file if Path::new(file).is_file() => {
            Ok(Profiles::Use(Known::new(profile::load_file(Path::new(file))?, None, how())))
        }
        other => {
            if let Some(shipped) = profile::by_name(other) {
                return Ok(Profiles::Use(Known::new(shipped.clone(), None, how())));
            }
            if !other.is_empty() && Path::new(other).exists() {
                // What is wrong with a folder or a device is said where files are read.
                return Ok(Profiles::Use(Known::new(profile::load_file(Path::new(other))?, None, how())));
            }
            let names: Vec<_> = profile::shipped().iter().map(|profile| profile.profile.as_str()).collect();
            let takes = format!("it takes `detect`, `none`, a profile file, or one of {}", names.join(", "));
            let hint = match nearest(other, ["detect", "none"].into_iter().chain(names)) {
                Some(near) => format!("did you mean `{near}`? {takes}"),
                None => takes,
            };
            Err(Problem::usage(format!("`--profile {other}`: there is no such profile or file")).hint(hint).into())
        }
    }
}

/// Before anything is made: an hour's run must not end in a wrong path.
pub(super) fn check_reports(reports: &[ReportSpec]) -> Result<(), Problem> {
    for (index, report) in reports.iter().enumerate() {
        if reports[..index].iter().any(|earlier| earlier.path == report.path) {
            return Err(Problem::usage(format!("two reports are to be written to {}", target(report))));
        }
        if let Err(error) = report.check() {
            let name = report.format.name();
            let message = format!("the {name} report cannot be written to {}: {error}", target(report));
            return Err(Problem::usage(message).hint("name a file in a folder that exists and can be written to"));
        }
    }
    Ok(())
}

/// No report may take the place of a file that it is about: of a scenario, its manifests, or the profile.
pub(super) fn spare(reports: &[ReportSpec], scenarios: &[LoadedScenario], profile: &str) -> Result<(), Problem> {
    let real = |path: &Path| path.canonicalize().ok();
    let targets: Vec<_> = reports.iter().filter_map(|report| Some((report, real(report.path.as_deref()?)?))).collect();
    if targets.is_empty() {
        return Ok(());
    }
    let own = scenarios.iter().filter(|loaded| !loaded.shipped);
    let files = own.flat_map(|loaded| {
        let manifests = loaded.manifests.values().flatten().map(|manifest| manifest.path.as_path());
        manifests.chain([loaded.path.as_path()])
    });
    let files: BTreeSet<_> = files.chain([Path::new(profile)]).filter_map(real).collect();
    match targets.iter().find(|(_, target)| files.contains(target)) {
        Some((report, _)) => {
            let message = format!("the {} report would overwrite {}", report.format.name(), target(report));
            Err(Problem::usage(format!("{message}, which this run reads")).hint("name another file for the report"))
        }
        None => Ok(()),
    }
}

/// Where a report goes.
fn target(report: &ReportSpec) -> String {
    report.path.as_ref().map_or("stdout".to_owned(), |path| format!("`{}`", path.display()))
}

/// Writes reports: a line for each that went to a file, and what is wrong with each that could not be written. One whose
/// reader went away is one of these: nobody has it.
pub(super) fn deliver(
    reports: &[ReportSpec],
    write: impl Fn(&ReportSpec) -> io::Result<Option<String>>,
) -> (Vec<String>, Vec<String>) {
    let (mut written, mut problems) = (Vec::new(), Vec::new());
    for report in reports {
        match write(report) {
            Ok(line) => written.extend(line),
            Err(error) => {
                let name = report.format.name();
                problems.push(format!("the {name} report could not be written to {}: {error}", target(report)));
            }
        }
    }
    (written, problems)
}

/// Writes the reports, shows the end, and says what went wrong. A verdict is never hidden by a report that could not
/// be written.
fn conclude(result: &RunResult, pump: Pump, reports: &[ReportSpec]) -> u8 {
    let (written, mut problems) = deliver(reports, |report| report.write(result));
    if let Err(error) = pump.finish(result, &written) {
        problems.push(format!("{}: {error}", output::UNWRITTEN));
    }
    if let Some(failure) = &result.error {
        output::complain(&failure.message, failure.hint.as_deref());
    }
    for problem in &problems {
        output::complain(problem, None);
    }
    let unreported = !problems.is_empty() && result.exit_code == engine::OK;
    if unreported { engine::USAGE } else { result.exit_code }
}

/// The reporter for people: on stdout, or on stderr where a report has taken stdout.
fn reporter(global: Global, show: Show, on_stderr: bool) -> Box<dyn Reporter> {
    if on_stderr {
        with_stream(anstream::stderr(), Theme::detect(width_of(&io::stderr())), global, show)
    } else {
        with_stream(anstream::stdout(), Theme::detect(width_of(&io::stdout())), global, show)
    }
}

fn with_stream(out: impl io::Write + Send + 'static, theme: Theme, global: Global, show: Show) -> Box<dyn Reporter> {
    // A whole event is written at once.
    let out = io::BufWriter::with_capacity(1 << 16, out);
    match show {
        Show::Story(told) if !global.quiet => Box::new(Narrative::new(out, theme, told)),
        _ => Box::new(Terminal::new(out, theme, global.quiet)),
    }
}

#[cfg(unix)]
pub(super) fn width_of(stream: &impl std::os::fd::AsFd) -> Option<usize> {
    terminal_size::terminal_size_of(stream).map(|(width, _)| usize::from(width.0))
}

#[cfg(not(unix))]
pub(super) fn width_of<T>(_stream: &T) -> Option<usize> {
    None
}

/// A live line for people, phases for logs, nothing for `--quiet`.
pub(super) fn progress(global: Global) -> Progress {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    if global.quiet {
        Progress::hidden()
    } else if io::stderr().is_terminal() && !dumb && !set("CI") {
        Progress::live(Theme::detect(None).unicode)
    } else {
        Progress::plain()
    }
}
