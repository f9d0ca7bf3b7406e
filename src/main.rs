//! The command line: parse, run, exit code.

use std::{fs::File, process::ExitCode, time::Duration};

use clap::Parser as _;
use policyprobe::{
    cli::{self, Cli, Command, Global, metadata::MetadataCommand},
    lab::LabError,
};

fn main() -> ExitCode {
    // Before any thread exists.
    if let Some(code) = cli::inside::dispatch() {
        return code;
    }
    let Cli { global, command } = Cli::parse();
    cli::use_colors(global.color);
    ExitCode::from(run(command, global).unwrap_or_else(|error| cli::fail(&error)))
}

fn run(command: Command, global: Global) -> anyhow::Result<u8> {
    match command {
        Command::Lab(args) => wait(cli::lab::run(&args, global)),
        Command::Run(args) => wait(cli::run::run(&args, global)),
        Command::Bench(args) => wait(cli::bench::run(&args, global)),
        Command::Mutants(args) => wait(cli::mutants::run(&args, global)),
        Command::Fuzz(args) => wait(cli::fuzz::run(&args, global)),
        Command::List(args) => cli::list::run(&args),
        Command::Lint(args) => cli::lint::run(&args),
        Command::Doctor(args) => wait(cli::doctor::run(&args, global)),
        Command::Explain(args) => cli::explain::run(&args),
        Command::Schema(args) => cli::schema::run(&args),
        Command::Init(args) => cli::init::run(&args),
        Command::Metadata(args) => match args.command {
            MetadataCommand::Serve(args) => {
                descriptors().map_err(anyhow::Error::from).and_then(|()| cli::metadata::serve(args))
            }
            MetadataCommand::Audit(args) => wait(cli::audit::run(&args, global)),
        },
        Command::Node(args) => wait(cli::node::run(args, global)),
        Command::Cleanup(args) => wait(cli::cleanup::run(&args)),
        Command::Completions(args) => cli::completions::run(&args),
    }
}

/// The only runtime. Commands that need none start without its threads.
fn wait(command: impl Future<Output = anyhow::Result<u8>>) -> anyhow::Result<u8> {
    descriptors()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let code = runtime.block_on(command);
    // A thread that waits for somebody else's program keeps nobody from leaving.
    runtime.shutdown_timeout(Duration::from_secs(2));
    code
}

/// A runtime, and the signals that it catches, panic where they get no file descriptor.
fn descriptors() -> Result<(), LabError> {
    let spare: Result<Vec<File>, _> = (0..16).map(|_| File::open("/dev/null")).collect();
    spare.map(drop).map_err(|error| {
        LabError::with_hint(
            format!("too few files may be open at once: {error}"),
            "`ulimit -n 1024` allows more; `ulimit -n` says how many they are",
        )
    })
}
