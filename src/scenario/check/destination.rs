//! One destination: exactly one target, which exists and serves what is asked.

use serde_json::Value;

use super::{Context, lab, names::dns_label};
use crate::scenario::{
    By, Destination, Diagnostic, Expect, PortSpec, Protocol,
    document::{Segment, at_path},
    schema::TARGETS,
};
use crate::{lab::NODE_PORT, metadata::Exposure};

/// The names of the targets that a destination has.
pub(super) fn targets(to: &Destination) -> Vec<&'static str> {
    let present = [
        to.metadata.is_some(),
        to.pod.is_some(),
        to.service.is_some(),
        to.outside.is_some(),
        to.node.is_some(),
        to.dns.is_some(),
        to.apiserver.is_some(),
        to.kubelet.is_some(),
    ];
    TARGETS.into_iter().zip(present).filter_map(|(name, present)| present.then_some(name)).collect()
}

/// Adds the faults of an expectation's destination.
pub(super) fn check(context: &Context<'_>, expect: &Expect, at: &[Segment], faults: &mut Vec<Diagnostic>) {
    let to = &expect.to;
    let targets = targets(to);
    let [target] = targets[..] else { return faults.push(not_one(context, &targets, at)) };
    if to.port == Some(0) {
        faults.push(context.error(&at_path![at; "port"], lab::PORT_ZERO));
    }
    let own = at_path![at; target];
    let scenario = context.scenario;
    // What is only recorded may well be nonsense on purpose.
    let judged = !(expect.allow.is_empty() && expect.deny.is_empty() && expect.status.is_none());
    let serves = |ports: &[PortSpec], who: String| served(context, to, ports, &who, at).filter(|_| judged);
    match target {
        "metadata" => {
            if scenario.lab.metadata.is_none() {
                let fault = context.error(&own, "the lab has no metadata server");
                faults.push(fault.hint("add `metadata: gcp` to `lab`"));
            }
            metadata(context, to, &own, faults);
            if to.path.is_some() {
                let fault = context.error(&at_path![at; "path"], "the metadata server's path stands under `metadata`");
                faults.push(fault.hint("write `metadata: {path: …}`"));
            }
        }
        "pod" => match scenario.pod(to.pod.as_deref().unwrap_or_default()) {
            Ok(pod) => faults.extend(serves(&pod.ports, format!("pod `{}`", pod.name))),
            Err(error) => faults.push(context.reference(&own, error)),
        },
        "service" => match scenario.service(to.service.as_deref().unwrap_or_default()) {
            Ok(service) => {
                let port = PortSpec { name: None, port: service.port, protocol: service.protocol };
                faults.extend(serves(&[port], format!("Service `{}`", service.name)));
            }
            Err(error) => faults.push(context.reference(&own, error)),
        },
        "outside" => match scenario.outside_host(to.outside.as_deref().unwrap_or_default()) {
            Ok(host) => faults.extend(serves(&host.ports, format!("outside host `{}`", host.name))),
            Err(error) => faults.push(context.reference(&own, error)),
        },
        "node" if judged && (to.protocol != Protocol::Tcp || to.port.is_some_and(|port| port != NODE_PORT)) => {
            let field = if to.protocol == Protocol::Tcp { "port" } else { "protocol" };
            let fault = context.error(&at_path![at; field], format!("a node serves TCP port {NODE_PORT} alone"));
            faults.push(fault.hint("leave `port` and `protocol` out, or give a pod `hostNetwork: true` and ask that"));
        }
        "dns" => {
            let name = to.dns.as_deref().unwrap_or_default();
            let host = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if name.is_empty() || name.starts_with('-') || !name.chars().all(host) {
                let fault = context.error(&own, format!("`{name}` is no name that DNS could resolve"));
                faults.push(fault.hint("write a host name, as `kubernetes.default`"));
            }
        }
        _ => {}
    }
    headers(context, to, at, faults);
}

/// What the cloud does not have cannot be asked for.
fn metadata(context: &Context<'_>, to: &Destination, at: &[Segment], faults: &mut Vec<Diagnostic>) {
    let (Some(target), Some(cloud)) = (&to.metadata, context.scenario.lab.metadata) else { return };
    let definition = cloud.definition();
    if target.path.is_some() && target.category.is_some() {
        let fault = context.error(&at_path![at; "category"], "a category stands for a path, and there is one already");
        faults.push(fault.hint("leave one of the two out"));
    }
    if let Some(category) = target.category.filter(|category| Exposure::of(cloud, *category).is_none()) {
        let message = format!("{} has no {}", definition.title, category.title());
        faults.push(context.error(&at_path![at; "category"], message));
    }
    if target.by == By::Name && definition.hosts.is_empty() {
        let fault =
            context.error(&at_path![at; "by"], format!("the metadata server of {} has no name", definition.title));
        faults.push(fault.hint("ask it by its address"));
    }
    if target.by == By::Name && target.spelling.is_some() {
        let fault = context.error(&at_path![at; "spelling"], "a name has no other spelling");
        faults.push(fault.hint("leave `by: name` out"));
    }
    if let Some(service) = &target.service {
        let at = at_path![at; "service"];
        if definition.hosts.is_empty() {
            let message =
                format!("the metadata server of {} has no name that a Service could stand for", definition.title);
            faults.push(context.error(&at, message));
        }
        if let Some(error) = service.split('/').find_map(|part| dns_label(part).err()) {
            faults.push(context.error(&at, error));
        }
        let is_plain = target.by == By::Address && target.spelling.is_none() && target.address.is_none();
        if !is_plain || target.via.is_some() {
            let fault = context.error(&at, "a Service is a name of its own for the metadata server's usual address");
            faults.push(fault.hint("leave `by`, `spelling`, `address` and `via` out"));
        }
    }
    if let Some(via) = &target.via {
        let at = at_path![at; "via"];
        match context.scenario.pod(via) {
            Ok(pod) if pod.relay.is_some() => {}
            Ok(_) => {
                let fault = context.error(&at, format!("the pod `{via}` passes nothing on"));
                faults.push(fault.hint("give it a port for that: `relay: 3128`"));
            }
            Err(error) => faults.push(context.reference(&at, error)),
        }
        let is_plain = target.by == By::Address && target.spelling.is_none() && target.address.is_none();
        if !is_plain || to.port.is_some() || to.protocol != Protocol::Tcp {
            let fault = context.error(&at, "a relay goes to one port of the metadata server's usual address");
            faults.push(fault.hint("leave `by`, `spelling`, `address`, `port` and `protocol` out"));
        }
    }
    let addresses = definition.addresses();
    if let Some(address) = target.address.filter(|address| !addresses.contains(address)) {
        let own = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let fault = context.error(&at_path![at; "address"], format!("{} has no server at {address}", definition.title));
        faults.push(fault.hint(format!("it has {own}")));
    }
}

fn not_one(context: &Context<'_>, targets: &[&str], at: &[Segment]) -> Diagnostic {
    if targets.len() > 1 {
        let list = targets.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" and ");
        let fault = context
            .document
            .error_at_key(&at_path![at; targets[1]], format!("a destination has one target, and this one has {list}"));
        return fault.hint("write an expectation for each");
    }
    let empty = TARGETS.into_iter().find(|name| context.document.get(&at_path![at; *name]) == Some(&Value::Null));
    match empty {
        Some(name @ ("metadata" | "apiserver")) => context
            .document
            .error_at_key(&at_path![at; name], format!("`{name}:` without a value says nothing"))
            .hint(format!("write `{name}: {{}}`")),
        Some("kubelet") => context
            .document
            .error_at_key(&at_path![at; "kubelet"], "`kubelet:` without a value says nothing")
            .hint("write `kubelet: {node: worker}`"),
        Some(name) => context.document.error_at_key(&at_path![at; name], format!("`{name}:` needs a value")),
        None => context
            .error(at, "this destination has no target")
            .hint(format!("write one of {}", TARGETS.map(|name| format!("`{name}`")).join(", "))),
    }
}

/// A fault where nothing listens on what is asked: such a cell could never be reached, whatever the policies say.
fn served(
    context: &Context<'_>,
    to: &Destination,
    ports: &[PortSpec],
    who: &str,
    at: &[Segment],
) -> Option<Diagnostic> {
    let name = |protocol: Protocol| match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
        Protocol::Sctp => "SCTP",
    };
    let serves = ports.iter().any(|spec| spec.protocol == to.protocol && to.port.is_none_or(|port| port == spec.port));
    if serves || to.port == Some(0) {
        return None;
    }
    let asked = to.port.map_or(String::new(), |port| format!(" port {port}"));
    let (field, asked) = if to.port.is_some() { ("port", asked) } else { ("protocol", " port".to_owned()) };
    let all = ports.iter().map(|spec| format!("{}/{}", spec.port, name(spec.protocol))).collect::<Vec<_>>();
    let fault = context.error(&at_path![at; field], format!("{who} serves no {}{asked}", name(to.protocol)));
    Some(fault.hint(format!(
        "it serves {}; add what is missing to its `ports`",
        if all.is_empty() { "nothing".into() } else { all.join(", ") }
    )))
}

/// Headers go into a request as they stand: nothing may end a line.
fn headers(context: &Context<'_>, to: &Destination, at: &[Segment], faults: &mut Vec<Diagnostic>) {
    for (name, value) in &to.headers {
        let at = at_path![at; "headers", name.as_str()];
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(token) {
            faults.push(context.document.error_at_key(&at, format!("`{name}` cannot be a header's name")));
        }
        if value.chars().any(char::is_control) {
            faults.push(context.error(&at, format!("the header `{name}` has a control character in it")));
        }
    }
    let metadata = to.metadata.as_ref().and_then(|metadata| metadata.path.as_deref());
    let paths = [(at_path![at; "metadata", "path"], metadata), (at_path![at; "path"], to.path.as_deref())];
    for (at, text) in paths {
        if text.is_some_and(|text| text.chars().any(|c| c.is_control() || c == ' ')) {
            let fault = context.error(&at, "a path cannot have spaces or control characters in it");
            faults.push(fault.hint("write a space as `%20`"));
        }
    }
}
