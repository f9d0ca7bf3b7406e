//! `policyprobe list`: a line a scenario, its id first.

use std::fmt::Write as _;

use super::output::conclude;
use crate::{
    engine,
    scenario::{self, LoadedScenario, Tier},
};

/// List scenarios: id, tier, tags and title
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  policyprobe list
  policyprobe list cloud-metadata        a pack
  policyprobe list ingress               a tag
  policyprobe list my-scenarios/
  policyprobe list | cut -d' ' -f1       the ids alone")]
pub struct Args {
    /// Scenario files and folders, or ids, packs and tags of shipped scenarios; all shipped ones where nothing is given
    #[arg(value_name = "PATH|TAG")]
    pub select: Vec<String>,
}

/// Lists; returns the exit code.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    Ok(conclude(&table(&scenario::select(&args.select)?), engine::OK))
}

/// The table, with the ids in bold.
fn table(scenarios: &[LoadedScenario]) -> String {
    let bold = anstyle::Style::new().bold();
    let dim = anstyle::Style::new().dimmed();
    let tags: Vec<String> = scenarios.iter().map(|loaded| loaded.scenario.tags.join(",")).collect();
    let width = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or(0);
    let ids = width(&mut scenarios.iter().map(|loaded| loaded.scenario.id.len()));
    let tiers = width(&mut scenarios.iter().map(|loaded| tier(loaded.scenario.tier).len()));
    let widest_tags = width(&mut tags.iter().map(|tags| tags.chars().count()));
    scenarios.iter().zip(&tags).fold(String::new(), |mut text, (loaded, tags)| {
        let scenario = &loaded.scenario;
        // Writing to a text cannot fail.
        let _ = writeln!(
            text,
            "{bold}{:ids$}{bold:#}  {:tiers$}  {dim}{tags:widest_tags$}{dim:#}  {}",
            scenario.id,
            tier(scenario.tier),
            scenario.title.trim().lines().collect::<Vec<_>>().join(" "),
        );
        text
    })
}

fn tier(tier: Tier) -> &'static str {
    match tier {
        Tier::Required => "required",
        Tier::Undefined => "undefined",
        Tier::Informational => "informational",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_begins_with_the_id_and_is_aligned() {
        let plain = anstream::adapter::strip_str(&table(scenario::shipped())).to_string();
        let lines: Vec<&str> = plain.lines().collect();
        assert_eq!(lines.len(), scenario::shipped().len());
        let at = |line: &str| line.find("  required").unwrap_or(0);
        for (line, loaded) in lines.iter().zip(scenario::shipped()) {
            assert_eq!(line.split_whitespace().next(), Some(loaded.scenario.id.as_str()));
            assert!(line.ends_with(&loaded.scenario.title));
            assert!(line[..at(lines[0])].starts_with(&loaded.scenario.id) && &line[at(lines[0])..][..2] == "  ");
        }
    }
}
