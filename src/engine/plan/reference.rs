//! Names in expectations, resolved to what is in a world.

use super::error::Fault;
use crate::{
    lab::{World, WorldNode, WorldOutside, WorldPod},
    scenario::{DEFAULT_NAMESPACE, NodeName, ReferenceError},
};

impl From<ReferenceError> for Fault {
    fn from(error: ReferenceError) -> Self {
        Self { message: error.message, hint: error.hint }
    }
}

/// How reports name a pod: with its namespace unless that is `default`.
pub(super) fn short(namespace: &str, name: &str) -> String {
    if namespace == DEFAULT_NAMESPACE { name.to_owned() } else { format!("{namespace}/{name}") }
}

pub(super) fn pod_in<'w>(world: &'w World, namespace: &str, name: &str) -> Result<&'w WorldPod, Fault> {
    world.pod(namespace, name).ok_or_else(|| {
        Fault::new(format!("the pod `{}` is not there in this step", short(namespace, name)))
            .hint("a pod of a step's `create` is there from that step on")
    })
}

pub(super) fn node_in(world: &World, name: NodeName) -> Result<&WorldNode, Fault> {
    world.node(name).ok_or_else(|| Fault::new(format!("the lab has no node `{}`", name.as_str())))
}

pub(super) fn outside_in<'w>(world: &'w World, name: &str) -> Result<&'w WorldOutside, Fault> {
    let host = world.outside_host(name);
    host.ok_or_else(|| Fault::new(format!("there is no outside host `{name}`")).hint("name it in `lab.outside`"))
}
