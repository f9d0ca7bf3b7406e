//! The command line: parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    policyprobe::cli::inside::dispatch().unwrap_or_default()
}
