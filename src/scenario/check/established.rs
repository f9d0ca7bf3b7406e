//! Connections that stay open over the steps: what can be asked over one, and whether it is still there.

use super::{Context, place};
use crate::scenario::{
    Diagnostic, Expect, PodSpec, Step,
    document::{Segment, at_path},
};

/// Adds the faults of an expectation of this step about connections that stay.
pub(super) fn check(context: &Context<'_>, step: usize, expect: &Expect, at: &[Segment], faults: &mut Vec<Diagnostic>) {
    let to = &expect.to;
    if !to.established {
        return;
    }
    let own = at_path![at; "to", "established"];
    let is_plain = to.dns.is_none() && to.apiserver.is_none() && to.kubelet.is_none() && to.method.is_get();
    if !is_plain || to.source_port.is_some() || expect.first_packets {
        let fault = context.error(
            &own,
            "only plain GETs and datagrams from a port of the system's choice are asked over one connection",
        );
        faults.push(fault.hint("leave `established` out"));
    }
    for (list, sources) in expect.lists() {
        let at = place(at, list);
        for (number, name) in sources.iter().enumerate() {
            let at = at_path![at; number];
            let Ok(source) = context.scenario.source(name) else { continue };
            let made =
                context.scenario.steps.iter().take(step).position(|step| context.scenario.asks(step, to, &source));
            match (list, made) {
                ("allow", None) | ("allow" | "record", Some(_)) => {}
                (_, None) => {
                    let fault = context.error(
                        &at,
                        format!("the connection of `{name}` has to be made first, in a step that allows it"),
                    );
                    faults.push(fault.hint(
                        "ask with `established: true` in an earlier step, and list the source under `allow` there",
                    ));
                }
                (_, Some(_)) => {
                    let message = "it is not defined whether a policy ends a connection that was there before";
                    faults.push(
                        context.error(&at, message).hint("list the source under `record`, or leave `established` out"),
                    );
                }
            }
            let server = to.pod.as_deref().or(to.metadata.as_ref().and_then(|metadata| metadata.via.as_deref()));
            let ends = [Some(name.as_str()), server].into_iter().flatten();
            let since = made.and_then(|made| context.scenario.steps.get(made + 1..=step)).unwrap_or_default();
            for pod in ends.filter_map(|name| context.scenario.pod(name).ok()) {
                if let Some(step) = since.iter().find(|step| renews(context, step, pod)) {
                    let message = format!(
                        "the connection is gone: step `{}` puts another pod in the place of `{}`",
                        step.name, pod.name
                    );
                    faults.push(context.error(&at, message).hint("leave `established` out"));
                }
            }
        }
    }
}

/// Whether a step makes a pod again, or has its containers start again.
fn renews(context: &Context<'_>, step: &Step, pod: &PodSpec) -> bool {
    let mut named = step.recreate.iter().chain(&step.restart).filter_map(|name| context.scenario.pod(name).ok());
    named.any(|other| (&other.namespace, &other.name) == (&pod.namespace, &pod.name))
}
