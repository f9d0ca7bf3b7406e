//! Ports that sources ask from: which there can be, and what becomes of a flow that was there before.

use super::{Context, place};
use crate::{
    lab::Source,
    scenario::{
        Destination, Diagnostic, Expect, PodSpec, Protocol,
        document::{Segment, at_path},
    },
};

/// The least port that needs no right in a network that is the node's.
const UNPRIVILEGED: u16 = 1024;

/// Adds the faults of an expectation of this step whose sources ask from a port of their own.
pub(super) fn check(context: &Context<'_>, step: usize, expect: &Expect, at: &[Segment], faults: &mut Vec<Diagnostic>) {
    let Some(port) = expect.to.source_port else { return };
    let own = at_path![at; "to", "sourcePort"];
    if port == 0 {
        let fault = context.error(&own, "port 0 means none in particular");
        return faults.push(fault.hint("leave `sourcePort` out, or write a number from 1 to 65535"));
    }
    let to = &expect.to;
    if to.dns.is_some() || to.apiserver.is_some() || to.kubelet.is_some() || !to.method.is_get() {
        let fault = context.error(&own, "only a plain GET and a datagram can be sent from a port of one's own");
        return faults.push(fault.hint("leave `sourcePort` out"));
    }
    for (list, sources) in expect.lists() {
        for (number, name) in sources.iter().enumerate() {
            let at = at_path![place(at, list); number];
            let Ok(source) = context.scenario.source(name) else { continue };
            if let Some(why) = cannot(context, &source, port, to.protocol) {
                let fault = context.error(&at, format!("`{name}` cannot ask from port {port}: {why}"));
                faults.push(fault.hint("choose another `sourcePort`, or another source"));
            }
            if list == "deny" && to.protocol == Protocol::Udp && was_open(context, step, to, &source) {
                let message = format!("`{name}` sent datagrams from port {port} in an earlier step, where they passed");
                faults.push(context.warning(&at, message).hint(
                    "they are one flow, of which it is not defined whether a later policy stops it; leave `sourcePort` \
                     out in the earlier step",
                ));
            }
        }
    }
}

/// Why a source cannot have this port.
fn cannot(context: &Context<'_>, source: &Source, port: u16, protocol: Protocol) -> Option<&'static str> {
    let pod = match source {
        Source::Pod(namespace, name) => Some(pod(context, namespace, name)?),
        Source::Node(_) | Source::Outside(_) => None,
    };
    if pod.is_some_and(|pod| pod.ports.iter().any(|spec| spec.port == port && spec.protocol == protocol)) {
        return Some("it serves there");
    }
    let in_node = pod.map_or(matches!(source, Source::Node(_)), |pod| pod.host_network);
    (in_node && port < UNPRIVILEGED).then_some("in its node's network that takes a right that it may not have")
}

fn pod<'a>(context: &'a Context<'_>, namespace: &str, name: &str) -> Option<&'a PodSpec> {
    context.scenario.all_pods().find(|pod| pod.namespace == namespace && pod.name == name)
}

/// Whether an earlier step lets the same flow through.
fn was_open(context: &Context<'_>, step: usize, to: &Destination, source: &Source) -> bool {
    let earlier = context.scenario.steps.iter().take(step).flat_map(|step| &step.expect);
    let same = earlier.filter(|expect| expect.to == *to);
    same.flat_map(|expect| &expect.allow).any(|name| context.scenario.source(name).as_ref() == Ok(source))
}
