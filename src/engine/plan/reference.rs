//! Names in expectations, resolved to what is in a world.

use super::error::Fault;
use crate::{
    lab::{Source, World, WorldNode, WorldOutside, WorldPod},
    scenario::{DEFAULT_NAMESPACE, NodeName, Scenario, ServiceSpec},
};

/// The source that an expectation names: `pod`, `namespace/pod`, `node/NODE` or `outside/NAME`.
pub(super) fn source(scenario: &Scenario, word: &str) -> Result<Source, Fault> {
    match word.split_once('/') {
        Some(("node", node)) => NodeName::ALL
            .into_iter()
            .find(|name| name.as_str() == node)
            .map(Source::Node)
            .ok_or_else(|| Fault::new(format!("there is no node `{word}`")).hint("`node/master` or `node/worker`")),
        Some(("outside", name)) => Ok(Source::Outside(name.to_owned())),
        _ => pod_name(scenario, word).map(|(namespace, name)| Source::Pod(namespace, name)),
    }
}

/// How reports name a pod: with its namespace unless that is `default`.
pub(super) fn short(namespace: &str, name: &str) -> String {
    if namespace == DEFAULT_NAMESPACE { name.to_owned() } else { format!("{namespace}/{name}") }
}

/// Logical namespace and name of the pod that a word means.
pub(super) fn pod_name(scenario: &Scenario, word: &str) -> Result<(String, String), Fault> {
    let created = scenario.steps.iter().flat_map(|step| &step.create);
    let pods = scenario.lab.pods.iter().chain(created);
    resolve("pod", word, pods.map(|pod| (pod.namespace.as_str(), pod.name.as_str())))
}

/// The Service that a word means.
pub(super) fn service<'a>(scenario: &'a Scenario, word: &str) -> Result<&'a ServiceSpec, Fault> {
    let services = &scenario.lab.services;
    let (namespace, name) =
        resolve("Service", word, services.iter().map(|spec| (spec.namespace.as_str(), spec.name.as_str())))?;
    services
        .iter()
        .find(|spec| spec.namespace == namespace && spec.name == name)
        .ok_or_else(|| Fault::new(format!("there is no Service `{word}`")))
}

fn resolve<'a>(
    kind: &str,
    word: &str,
    known: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<(String, String), Fault> {
    let (namespace, name) = word.split_once('/').map_or((None, word), |(namespace, name)| (Some(namespace), name));
    let mut matching: Vec<_> =
        known.filter(|known| known.1 == name && namespace.is_none_or(|namespace| known.0 == namespace)).collect();
    matching.dedup();
    match matching.as_slice() {
        [] => Err(Fault::new(format!("there is no {kind} `{word}` in this scenario"))),
        [(namespace, name)] => Ok(((*namespace).to_owned(), (*name).to_owned())),
        [(first, _), (second, _), ..] => Err(Fault::new(format!("`{word}` is a {kind} of two namespaces"))
            .hint(format!("write `{first}/{name}` or `{second}/{name}`"))),
    }
}

pub(super) fn pod_in<'w>(world: &'w World, namespace: &str, name: &str) -> Result<&'w WorldPod, Fault> {
    world.pods.iter().find(|pod| pod.spec.namespace == namespace && pod.spec.name == name).ok_or_else(|| {
        Fault::new(format!("the pod `{}` is not there in this step", short(namespace, name)))
            .hint("a pod of a step's `create` is there from that step on")
    })
}

pub(super) fn node_in(world: &World, name: NodeName) -> Result<&WorldNode, Fault> {
    let node = world.nodes.iter().find(|node| node.name == name);
    node.ok_or_else(|| Fault::new(format!("the lab has no node `{}`", name.as_str())))
}

pub(super) fn outside_in<'w>(world: &'w World, name: &str) -> Result<&'w WorldOutside, Fault> {
    let host = world.outside.iter().find(|host| host.name == name);
    host.ok_or_else(|| Fault::new(format!("there is no outside host `{name}`")).hint("name it in `lab.outside`"))
}
