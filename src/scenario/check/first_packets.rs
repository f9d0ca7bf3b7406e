//! First packets: who can send some, and to whom. Either the sources are new, or who is asked.

use super::{Context, place};
use crate::{
    lab::Source,
    scenario::{
        By, Diagnostic, Expect, PodSpec, Protocol, Step,
        document::{Segment, at_path},
    },
};

/// Adds the faults of an expectation about the first packets of new pods.
pub(super) fn check(context: &Context<'_>, step: &Step, expect: &Expect, at: &[Segment], faults: &mut Vec<Diagnostic>) {
    if !expect.first_packets {
        return;
    }
    let to = &expect.to;
    let own = at_path![at; "to"];
    let named = to.metadata.as_ref().is_some_and(|metadata| metadata.by == By::Name || metadata.via.is_some());
    let is_known = to.pod.is_some() || to.outside.is_some() || to.node.is_some() || to.metadata.is_some();
    if !is_known || named || to.protocol != Protocol::Tcp || !to.method.is_get() || to.source_port.is_some() {
        let fault = context.error(&own, "first packets are plain requests over TCP to an address");
        faults.push(fault.hint("ask a `pod`, an `outside` host, a `node` or the `metadata` server by its address"));
    }
    let made = |pod: &PodSpec| step.create.iter().find(|made| is(made, &pod.namespace, &pod.name));
    let again = |pod: &PodSpec| {
        let mut named = step.recreate.iter().filter_map(|name| context.scenario.pod(name).ok());
        named.any(|other| is(other, &pod.namespace, &pod.name))
    };
    let asked = to.pod.as_deref().and_then(|name| context.scenario.pod(name).ok());
    if let Some(pod) = asked.filter(|pod| again(pod)) {
        let fault =
            context.error(&own, format!("this step makes the pod `{}` again: nobody knows its address yet", pod.name));
        faults.push(fault.hint("ask a pod that was there before, or one that stands under the step's `create`"));
    }
    let new = asked.and_then(made);
    if let Some(pod) = new.filter(|pod| pod.host_network) {
        faults.push(in_its_nodes_network(context, &own, &pod.name));
    }
    for (list, sources) in expect.lists() {
        if !sources.is_empty() && !["allow", "deny", "record"].contains(&list) {
            let fault = context.error(&at_path![at; list], "first packets are allowed, denied or recorded");
            faults.push(fault.hint("leave `firstPackets` out"));
        }
        for (number, name) in sources.iter().enumerate() {
            let created = match context.scenario.source(name) {
                Ok(Source::Pod(namespace, name)) => step.create.iter().find(|pod| is(pod, &namespace, &name)),
                Ok(_) => None,
                Err(_) => continue,
            };
            let at = at_path![place(at, list); number];
            match (created, new) {
                (Some(_), Some(new)) => {
                    let both =
                        format!("`{name}` and `{}` are both made by this step: nobody is there to ask", new.name);
                    faults.push(context.error(&at, both).hint("create one of them in a step before"));
                }
                (Some(pod), None) if pod.host_network => faults.push(in_its_nodes_network(context, &at, name)),
                (None, None) => {
                    let fault =
                        context.error(&at, format!("`{name}` sends no first packets: this step does not create it"));
                    faults.push(fault.hint("name a pod that stands under the step's `create`, here or under `to`"));
                }
                (Some(_), None) | (None, Some(_)) => {}
            }
        }
    }
}

fn in_its_nodes_network(context: &Context<'_>, at: &[Segment], name: &str) -> Diagnostic {
    let fault = context.error(at, format!("`{name}` is in its node's network, whose packets are not new"));
    fault.hint("leave `firstPackets` out")
}

fn is(pod: &PodSpec, namespace: &str, name: &str) -> bool {
    pod.namespace == namespace && pod.name == name
}
