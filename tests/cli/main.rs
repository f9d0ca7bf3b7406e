//! The command line as a user meets it: the real binary, its streams and its exit codes. No test here builds a lab.

mod help;
mod node;
mod reports;
mod usage;

use std::process::Output;

use assert_cmd::Command;

/// The binary in an environment that holds nothing of the developer's.
fn policyprobe(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_policyprobe"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("LANG", "C.UTF-8").args(args);
    command
}

/// Runs it, and shows all that it did.
fn transcript(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("the binary can be started");
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    let code = status.code().map_or("by a signal".to_owned(), |code| code.to_string());
    format!("exit: {code}\n--- stdout\n{stdout}--- stderr\n{stderr}")
}
