//! The command line as types. What flags mean together is checked where they are used.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum, builder::styling};

use super::{
    bench, cleanup, completions, doctor, explain, fuzz, init, lab, lint, list, metadata, mutants, node, run, schema,
};
use crate::{lab::embedded::enforcer::Mutant, report::ReportSpec, scenario::dns_label};

/// Proves what a Kubernetes network really lets through.
///
/// It builds a lab, applies network policies, has real `curl` processes in pods and nodes try the traffic, and says for
/// each pair whether what happened is what should have happened, and how it knows.
#[derive(Debug, Parser)]
#[command(name = "policyprobe", version, styles = STYLES, after_help = EXAMPLES, max_term_width = 110)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Cli {
    /// For every command.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that every command takes.
#[derive(Clone, Copy, Debug, clap::Args)]
#[expect(clippy::doc_markdown, reason = "the text of --help")]
pub struct Global {
    /// Show only what is not as expected, and the last line
    #[arg(long, short, global = true, display_order = 900)]
    pub quiet: bool,
    /// When to use colours; NO_COLOR and CLICOLOR are honoured
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", display_order = 901)]
    pub color: Color,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the lab: pods lose the cloud's metadata server, and a label gives it back
    Lab(lab::Args),
    /// Run scenarios
    Run(run::Args),
    /// Show where the time of a run goes
    Bench(bench::Args),
    /// Try the scenarios on enforcers that are broken on purpose: which notice which
    Mutants(mutants::Args),
    /// Try random policies, on which the simulator and a lab must agree
    Fuzz(fuzz::Args),
    /// List scenarios: id, tier, tags and title
    List(list::Args),
    /// Check scenario files and their manifests, with line and column
    Lint(lint::Args),
    /// Say which backends work here, what is missing, and how to get it
    Doctor(doctor::Args),
    /// Say which rule decides each cell of a scenario
    #[command(after_help = "\
Examples:
  policyprobe explain metadata-lab
  policyprobe explain my-scenarios/web.yaml --step 2")]
    Explain(explain::Args),
    /// Print the JSON Schema of scenario files
    Schema(schema::Args),
    /// Write the shipped scenarios and the schema to a folder, as a start for one's own
    Init(init::Args),
    /// Emulated metadata servers
    #[command(after_help = "\
Examples:
  policyprobe metadata serve --cloud gcp --listen 127.0.0.1:8080
  curl -H 'Metadata-Flavor: Google' http://127.0.0.1:8080/computeMetadata/v1/instance/image
  policyprobe metadata audit --policies ./my-policies")]
    Metadata(metadata::MetadataArgs),
    /// Node metadata: what it shows, who set it, and what changes
    #[command(after_help = "\
Examples:
  policyprobe node inventory
  policyprobe node snapshot -o nodes.yaml
  policyprobe node diff nodes.yaml --fail-on critical
  policyprobe node watch")]
    Node(node::NodeArgs),
    /// Remove what runs left that were killed
    Cleanup(cleanup::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
}

/// Which lab.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Lab")]
#[expect(clippy::doc_markdown, reason = "the text of --help")]
pub struct BackendArgs {
    /// Where the traffic runs
    #[arg(long, value_enum, default_value = "embedded", env = "POLICYPROBE_BACKEND", hide_env_values = true)]
    pub backend: Backend,
    /// embedded: how its enforcer stops traffic [default: drop]
    #[arg(long, value_name = "HOW")]
    pub deny_by: Option<DenyBy>,
    /// embedded: plant a fault in its enforcer, for testing scenarios; `policyprobe mutants --list` names them
    #[arg(long, value_name = "NAME", hide = true)]
    pub mutant: Option<Mutant>,
    /// kind: the image of its nodes [env: POLICYPROBE_NODE_IMAGE=] [default: kind's own]
    #[arg(long, value_name = "IMAGE", conflicts_with = "cluster")]
    pub node_image: Option<String>,
    /// kind: `default`, `none`, or a manifest file to apply in place of kind's CNI [default: default]
    #[arg(long, value_name = "CNI", conflicts_with = "cluster")]
    pub cni: Option<String>,
    /// kind: `lab`, `dual-stack` (IPv4 and IPv6), or a kind configuration file [default: lab]
    #[arg(long, value_name = "CONFIG", conflicts_with = "cluster")]
    pub kind_config: Option<String>,
    /// kind: leave the cluster behind, for further runs
    #[arg(long)]
    pub keep: bool,
    /// kind: use a cluster that an earlier run kept
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// cluster: the kubeconfig's context [default: the current one]
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// cluster: the kubeconfig [default: KUBECONFIG, ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// kind, cluster: the image of the pods; it must have `curl`
    #[arg(long, value_name = "IMAGE")]
    pub probe_image: Option<String>,
}

/// The backends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// Network namespaces on this machine; needs neither root nor a cluster
    #[default]
    Embedded,
    /// A cluster made with kind for the run, and removed after it
    Kind,
    /// A cluster that is there already, in scratch namespaces
    Cluster,
}

/// How the embedded enforcer stops traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DenyBy {
    /// Silently, as most CNIs do
    Drop,
    /// With a refusal, as kube-router does
    Reject,
}

/// How a run is made, and where its reports go.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Run")]
pub struct RunArgs {
    /// Wait whole seconds for each denial, in place of windows calibrated by what answers
    #[arg(long)]
    pub strict_timeouts: bool,
    /// Run the scenarios although the lab turns out to enforce no policy
    #[arg(long)]
    pub continue_unenforced: bool,
    /// Which deviations of the CNI are known: `detect`, `none`, a shipped profile's name, or a profile file
    #[arg(long, value_name = "PROFILE", default_value = "detect")]
    pub profile: String,
    /// Stop at the first scenario that fails
    #[arg(long)]
    pub fail_fast: bool,
    /// Write a report, `json=FILE` or `junit=FILE`; repeatable; `-` is stdout
    #[arg(long = "report", value_name = "KIND=FILE")]
    pub reports: Vec<ReportSpec>,
}

const STYLES: styling::Styles = styling::Styles::styled()
    .header(styling::AnsiColor::Green.on_default().bold())
    .usage(styling::AnsiColor::Green.on_default().bold())
    .literal(styling::AnsiColor::Cyan.on_default().bold())
    .placeholder(styling::AnsiColor::Cyan.on_default());

const EXAMPLES: &str = "\
Examples:
  policyprobe lab                               the lab, with no cluster
  policyprobe lab --backend kind                the same on a kind cluster
  policyprobe run                               every shipped scenario
  policyprobe run ./my-scenarios --report junit=report.xml

Exit codes:
  0  everything is as expected        3  the cluster enforces no policy
  1  something is not as expected     4  inconclusive, or everything was skipped
  2  usage, or a bad file             5  the lab is not there, or broke
                                    130  interrupted";

/// A name that a namespace can have.
pub(super) fn namespace(text: &str) -> Result<String, String> {
    dns_label(text).map(|()| text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }
}
