//! `policyprobe lab`: the document's lab, step by step.

use anyhow::Context as _;

use super::{
    BackendArgs, Global, RunArgs, backend,
    conduct::{Show, check_reports, conduct, spare},
};
use crate::{
    engine::ProbeWith,
    lab::LabBuilder,
    report::Told,
    scenario::{self, LoadedScenario, SHIPPED},
};

/// The flags.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  policyprobe lab                    in network namespaces, with no cluster
  policyprobe lab --deny-by reject   the same, with an enforcer that refuses in place of dropping
  policyprobe lab --backend kind     on a kind cluster of its own

What it shows: two pods and both nodes ask the cloud's metadata server for the image of their machine. A policy
takes it from every pod, and the nodes keep it; a second one gives it back to the pods with one label.")]
pub struct Args {
    #[command(flatten)]
    backend: BackendArgs,
    #[command(flatten)]
    run: RunArgs,
}

/// The scenario that asks as the document does, by name.
const BY_NAME: &str = "metadata-lab";
/// The same by address: it needs no DNS.
const BY_ADDRESS: &str = "metadata-lab-by-address";

/// Shows the lab.
pub async fn run(args: &Args, global: Global) -> anyhow::Result<u8> {
    check_reports(&args.run.reports)?;
    let builder = backend::builder(&args.backend)?;
    let scenarios = scenarios(&*builder)?;
    spare(&args.run.reports, &[], &args.run.profile)?;
    let told = scenarios.iter().map(told).collect::<anyhow::Result<_>>()?;
    conduct(builder, &scenarios, &args.run, 1, ProbeWith::Curl, global, Show::Story(told)).await
}

/// The lab's scenarios on a backend.
pub(super) fn scenarios(builder: &dyn LabBuilder) -> anyhow::Result<Vec<LoadedScenario>> {
    // While a cluster's DNS is still starting, the scenario that needs none is shown.
    let ids: &[&str] = if builder.dns_lags() { &[BY_ADDRESS, BY_NAME] } else { &[BY_NAME] };
    Ok(scenario::select(&ids.iter().map(|&id| id.to_owned()).collect::<Vec<_>>())?)
}

/// The scenario with its manifest files as they are written, comments included.
fn told(loaded: &LoadedScenario) -> anyhow::Result<Told> {
    let folder = loaded.path.strip_prefix("scenarios").ok().and_then(|path| path.parent());
    let text = |name: &String| {
        let file = folder.and_then(|folder| SHIPPED.get_file(folder.join(name)));
        let text = file.and_then(|file| file.contents_utf8());
        Ok((name.clone(), text.with_context(|| format!("the manifest `{name}` is not in the binary"))?.to_owned()))
    };
    let manifests = loaded.manifests.keys().map(text).collect::<anyhow::Result<_>>()?;
    Ok(Told { scenario: loaded.scenario.clone(), manifests })
}
