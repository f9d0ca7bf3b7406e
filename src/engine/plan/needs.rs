//! What a scenario needs as a whole, and what of it a lab lacks. What its cells need is in their plans.

use std::collections::BTreeSet;

use crate::{
    lab::Capabilities,
    scenario::{Cloud, LoadedScenario, MetadataServerSpec, Need, Topology},
};

/// The needs without which a scenario cannot be staged or its steps taken: those that it states, and those that follow
/// from its lab and its actions. A lab without them skips the scenario; what only some cells need skips those.
#[must_use]
pub fn scenario_needs(loaded: &LoadedScenario) -> BTreeSet<Need> {
    let scenario = &loaded.scenario;
    let lab = &scenario.lab;
    let steps = &scenario.steps;
    let host_network = scenario.all_pods().any(|pod| pod.host_network);
    let service_account = scenario.all_pods().any(|pod| pod.service_account.is_some());
    // Only an API server knows kinds other than NetworkPolicy, as far as they matter.
    let other_kinds = steps
        .iter()
        .flat_map(|step| step.apply.iter().chain(&step.delete))
        .filter_map(|file| loaded.manifests.get(file))
        .flatten()
        .any(|manifest| manifest.policy.is_none() && !manifest.is_inert());
    // Google Kubernetes Engine's own server has the paths of Google's: they cannot be one.
    let usual = MetadataServerSpec { topology: lab.metadata_server.topology, ..MetadataServerSpec::default() };
    let has_settings = lab.metadata == Some(Cloud::Gke) || lab.metadata_server != usual;
    let derived = [
        (lab.metadata.is_some(), Need::Metadata),
        (lab.metadata_server.topology != Topology::Routed, Need::NodeMetadata),
        (has_settings, Need::MetadataSettings),
        (!lab.outside.is_empty(), Need::Outside),
        (!lab.services.is_empty(), Need::Services),
        (scenario.all_pods().any(|pod| pod.relay.is_some()), Need::Relays),
        (host_network, Need::HostNetwork),
        (steps.iter().any(|step| !step.restart.is_empty()), Need::Restart),
        (steps.iter().any(|step| !step.drift.is_empty()), Need::Disruptive),
        (steps.iter().any(|step| !step.drift.is_empty()), Need::Apiserver),
        (other_kinds || service_account || steps.iter().any(|step| !step.rejected.is_empty()), Need::Apiserver),
    ];
    let derived = derived.into_iter().filter_map(|(needed, need)| needed.then_some(need));
    scenario.needs.iter().copied().chain(derived).collect()
}

/// Why these needs are not fulfilled here; none where they are.
#[must_use]
pub(in crate::engine) fn missing(needs: &BTreeSet<Need>, capabilities: &Capabilities) -> Option<String> {
    let missing: Vec<String> = needs
        .difference(&capabilities.has)
        .map(|need| {
            let name = serde_json::to_value(need).ok().and_then(|name| name.as_str().map(str::to_owned));
            let name = name.unwrap_or_else(|| format!("{need:?}"));
            capabilities.why_not.get(need).map_or_else(|| format!("needs {name}"), |why| format!("needs {name}: {why}"))
        })
        .collect();
    (!missing.is_empty()).then(|| missing.join("; "))
}
