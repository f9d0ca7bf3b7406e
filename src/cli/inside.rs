//! `policyprobe inside`: the embedded lab's inner half. Hidden, and not for use by hand.

use std::{ffi::OsStr, process::ExitCode};

/// Runs the subcommand if it is asked for. It makes namespaces, which only a process with a single thread can: this has
/// to come first in the program's main function, before any runtime.
#[must_use]
pub fn dispatch() -> Option<ExitCode> {
    let asked = std::env::args_os().nth(1).as_deref() == Some(OsStr::new("inside"));
    asked.then(crate::lab::embedded::inside::main)
}
