//! First packets: who can send some, and to whom.

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
        let fault = context.error(&own, "first packets are plain requests over TCP to an address that is known before");
        faults.push(fault.hint("ask a `pod`, an `outside` host, a `node` or the `metadata` server by its address"));
    }
    let made = |pod: &PodSpec| step.create.iter().any(|made| is(made, &pod.namespace, &pod.name));
    let again = |pod: &PodSpec| {
        let mut named = step.recreate.iter().filter_map(|name| context.scenario.pod(name).ok());
        named.any(|other| is(other, &pod.namespace, &pod.name))
    };
    if let Some(pod) = to.pod.as_deref().and_then(|name| context.scenario.pod(name).ok())
        && (made(pod) || again(pod))
    {
        let fault =
            context.error(&own, format!("this step makes the pod `{}`: nobody knows its address yet", pod.name));
        faults.push(fault.hint("ask a pod that was there before"));
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
            match created {
                Some(pod) if pod.host_network => {
                    let fault =
                        context.error(&at, format!("`{name}` is in its node's network, whose packets are not new"));
                    faults.push(fault.hint("leave `firstPackets` out"));
                }
                Some(_) => {}
                None => {
                    let fault =
                        context.error(&at, format!("`{name}` sends no first packets: this step does not create it"));
                    faults.push(fault.hint("name a pod that stands under the step's `create`"));
                }
            }
        }
    }
}

fn is(pod: &PodSpec, namespace: &str, name: &str) -> bool {
    pod.namespace == namespace && pod.name == name
}
