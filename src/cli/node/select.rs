//! Which fields count: flags that several subcommands take.

use crate::{
    cli::Problem,
    node::{Selection, roots::unknown_root},
};

/// Which fields count.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Fields")]
pub(super) struct SelectArgs {
    /// Leave out fields, beside those that change by themselves (heartbeats, images); repeatable, `*` is anything
    #[arg(long, value_name = "PATTERN")]
    leave_out: Vec<String>,
    /// Count fields although they change by themselves or are left out; repeatable
    #[arg(long, value_name = "PATTERN")]
    keep: Vec<String>,
}

impl SelectArgs {
    /// The flags on top of what a file says.
    pub(super) fn over(&self, file: Selection) -> Result<Selection, Problem> {
        for pattern in self.leave_out.iter().chain(&self.keep) {
            if unknown_root(pattern).is_some() {
                return Err(Problem::usage(format!("no node has a field `{pattern}`")).hint(
                    "such as `metadata.labels[example.com/*`; `policyprobe node inventory NODE` shows all fields",
                ));
            }
        }
        let Selection { mut leave_out, mut keep } = file;
        leave_out.extend(self.leave_out.iter().cloned());
        keep.extend(self.keep.iter().cloned());
        Ok(Selection { leave_out, keep })
    }
}
