//! What an audit may do on a lab: above all, whether it may go to a real metadata service.

use super::Args;
use crate::{
    cli::Problem,
    lab::Capabilities,
    metadata::Imds,
    scenario::{Need, Topology},
};

/// Whether the servers are emulated ones; a refusal where they are not and nobody said that the real ones may be asked, or
/// where something is asked for that the lab does not have.
pub(super) fn check(args: &Args, backend: &str, lab: &Capabilities) -> Result<bool, Problem> {
    let is_emulated = lab.has.contains(&Need::Metadata);
    if !is_emulated && !args.allow_real_metadata {
        let why = lab.why_not.get(&Need::Metadata).cloned().unwrap_or_default();
        let problem = Problem::usage(format!("there is no emulated metadata server here: {why}"));
        return Err(problem.hint("`--allow-real-metadata` asks the real ones, by their root path alone"));
    }
    if is_emulated && args.allow_real_metadata {
        let problem =
            Problem::usage("`--allow-real-metadata` has no meaning where every metadata address is the lab's own");
        return Err(problem.hint("it goes with `--backend cluster`"));
    }
    if args.topology != Topology::Routed && !lab.has.contains(&Need::NodeMetadata) {
        let problem = Problem::usage(format!("the backend `{backend}` has no metadata server on its nodes"));
        return Err(problem.hint("leave `--topology` out, or use `--backend embedded`"));
    }
    if (args.imds != Imds::V1 || args.hop_limit.is_some()) && !lab.has.contains(&Need::MetadataSettings) {
        let problem = Problem::usage(format!("the metadata server of the backend `{backend}` has no settings"));
        return Err(problem.hint("leave `--imds` and `--hop-limit` out, or use `--backend embedded`"));
    }
    Ok(is_emulated)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    /// The answer to these flags on a lab with these abilities; the refusal's words, if it is one.
    fn check_with(flags: &[&str], has: &[Need]) -> Result<bool, String> {
        let Cli { args } = Cli::try_parse_from(["audit"].iter().chain(flags)).unwrap();
        let lab = Capabilities { has: has.iter().copied().collect(), ..Capabilities::default() };
        check(&args, "cluster", &lab).map_err(|problem| problem.to_string())
    }

    #[test]
    fn a_real_service_is_asked_only_where_that_was_said_and_there_is_no_other() {
        let emulated = [Need::Metadata];
        assert!(check_with(&[], &[]).unwrap_err().contains("no emulated metadata server"));
        assert_eq!(check_with(&["--allow-real-metadata"], &[]), Ok(false));
        assert_eq!(check_with(&[], &emulated), Ok(true));
        assert!(check_with(&["--allow-real-metadata"], &emulated).unwrap_err().contains("has no meaning"));
    }

    #[test]
    fn what_a_lab_does_not_have_cannot_be_asked_for() {
        let usual = [Need::Metadata];
        let all = [Need::Metadata, Need::NodeMetadata, Need::MetadataSettings];
        for flags in [&["--topology", "on-node"][..], &["--imds", "v2"], &["--hop-limit", "1"]] {
            assert!(check_with(flags, &usual).unwrap_err().contains("the backend `cluster`"), "{flags:?}");
            assert_eq!(check_with(flags, &all), Ok(true), "{flags:?}");
        }
    }
}
