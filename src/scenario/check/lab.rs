//! The `lab` section: names, labels, ports, and what may be there only once.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_json::Value;

use super::{Context, names};
use crate::{
    lab::{NODE_PORT, OWN_NETWORKS},
    metadata::is_metadata_address,
    scenario::{
        AddressOf, Diagnostic, Labels, NodeName, PodSpec, PortSpec, Protocol, Severity,
        diagnostic::nearest,
        document::{Segment, at_path},
    },
};

/// Names that sources use for something else than namespaces (`node/worker`, `outside/web`).
const RESERVED: [&str; 2] = ["node", "outside"];

pub(super) fn check(context: &Context<'_>, faults: &mut Vec<Diagnostic>) {
    let scenario = context.scenario;
    let id = at_path![[]; "id"];
    if let Err(message) = names::dns_label(&scenario.id) {
        faults.push(context.error(&id, message.replace("a name", "an id")));
    }
    if scenario.title.trim().is_empty() {
        let fault = context.error(&at_path![[]; "title"], "the title is empty");
        faults.push(fault.hint("say in one sentence what is proved"));
    }
    let lab = at_path![[]; "lab"];
    for (name, namespace) in &scenario.lab.namespaces {
        let at = at_path![lab; "namespaces", name.as_str()];
        if let Err(message) = names::dns_label(name) {
            faults.push(context.document.error_at_key(&at, message));
        }
        if RESERVED.contains(&name.as_str()) {
            let fault = context.document.error_at_key(&at, format!("a namespace cannot be called `{name}`"));
            faults.push(fault.hint(format!("`{name}/…` means something else as a source; choose another name")));
        }
        labels(context, &namespace.labels, &at_path![at; "labels"], faults);
    }
    let mut taken = Taken::default();
    for (index, spec) in scenario.lab.pods.iter().enumerate() {
        pod(context, spec, &at_path![lab; "pods", index], &mut taken, faults);
    }
    for (step, actions) in scenario.steps.iter().enumerate() {
        for (index, spec) in actions.create.iter().enumerate() {
            pod(context, spec, &at_path![[]; "steps", step, "create", index], &mut taken, faults);
        }
    }
    let (mut hosts, mut at_hosts) = (BTreeSet::new(), BTreeSet::new());
    for (index, host) in scenario.lab.outside.iter().enumerate() {
        let at = at_path![lab; "outside", index];
        if let Err(message) = names::dns_label(&host.name) {
            faults.push(context.error(&at_path![at; "name"], message));
        }
        if !hosts.insert(&host.name) {
            faults.push(context.error(&at_path![at; "name"], format!("there are two outside hosts `{}`", host.name)));
        }
        ports(context, &host.ports, &at_path![at; "ports"], faults);
        if let Some(address) = host.address {
            let at = at_path![at; "address"];
            if !at_hosts.insert(address) {
                faults.push(context.error(&at, format!("another outside host has the address {address} already")));
            }
            faults.extend(outside_address(address).map(|(message, hint)| context.error(&at, message).hint(hint)));
        }
    }
    services(context, faults);
    addresses(context, faults);
}

/// Why no outside host can have an address, and what to do.
fn outside_address(address: IpAddr) -> Option<(String, String)> {
    let free = "take one of 203.0.113.0/24, or leave `address` out".to_owned();
    let plain = address.to_canonical();
    if plain != address {
        return Some((format!("{address} is an IPv4 address in IPv6 notation"), format!("write {plain}")));
    }
    if is_metadata_address(address) {
        let message = format!("{address} is a metadata server's address, or its neighbour on the link");
        return Some((message, "`metadata: gcp` in `lab` puts a metadata server there".to_owned()));
    }
    let is_nobodys = match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_multicast() || v4.octets()[0] == 0 || v4.octets()[0] >= 240,
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_multicast() || v6.is_unspecified() || v6.is_unicast_link_local(),
    };
    if is_nobodys {
        return Some((format!("{address} is no address that a host elsewhere can have"), free));
    }
    let network = OWN_NETWORKS.into_iter().find(|network| network.contains(&address));
    network.map(|network| (format!("labs use {network} themselves, and {address} is in it"), free))
}

/// What addresses stand for must be there; and an address that is really used stands for nothing.
fn addresses(context: &Context<'_>, faults: &mut Vec<Diagnostic>) {
    for (address, of) in &context.scenario.addresses {
        let at = at_path![[]; "addresses", address.to_string().as_str()];
        let found = match of {
            AddressOf::Pod(word) => context.scenario.pod(word).map(drop),
            AddressOf::Outside(name) => context.scenario.outside_host(name).map(drop),
            AddressOf::Node(_) => Ok(()),
        };
        faults.extend(found.err().map(|error| context.reference(&at, error)));
        if !DOCUMENTATION.iter().any(|range| range.contains(address)) {
            let fault = context.document.error_at_key(&at, format!("{address} is an address that is really used"));
            faults.push(fault.hint("take one of 192.0.2.0/24, 198.51.100.0/24 or 2001:db8::/32"));
        }
        let mut manifests = context.manifests.values().flatten();
        let is_own = !context.shipped && context.document.has_place(&at);
        if is_own && !manifests.any(|manifest| names_block(&manifest.raw, *address)) {
            let fault = context.document.error_at_key(&at, format!("no `ipBlock` of the manifests is {address}"));
            let fault = Diagnostic { severity: Severity::Warning, ..fault };
            faults.push(fault.hint("a rule that names the address is meant to have what it stands for"));
        }
    }
}

/// Whether a CIDR somewhere in an object begins with an address.
fn names_block(value: &Value, address: IpAddr) -> bool {
    match value {
        Value::String(text) => {
            text.split_once('/').is_some_and(|(before, _)| before.parse() == Ok(address)) || text.parse() == Ok(address)
        }
        Value::Array(items) => items.iter().any(|item| names_block(item, address)),
        Value::Object(fields) => fields.values().any(|field| names_block(field, address)),
        _ => false,
    }
}

/// The ranges for documentation: RFC 5737 and RFC 3849. TEST-NET-3 is left out: outside hosts have addresses in it.
const DOCUMENTATION: [IpNet; 3] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 2, 0), 24)),
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(198, 51, 100, 0), 24)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32)),
];

fn services(context: &Context<'_>, faults: &mut Vec<Diagnostic>) {
    let mut taken = BTreeSet::new();
    for (index, service) in context.scenario.lab.services.iter().enumerate() {
        let at = at_path![[]; "lab", "services", index];
        if let Err(message) = names::dns_label(&service.name) {
            faults.push(context.error(&at_path![at; "name"], message));
        }
        if !taken.insert((&service.namespace, &service.name)) {
            let message = format!("namespace `{}` has two Services `{}`", service.namespace, service.name);
            faults.push(context.error(&at_path![at; "name"], message));
        }
        namespace(context, &service.namespace, &at_path![at; "namespace"], faults);
        labels(context, &service.selector, &at_path![at; "selector"], faults);
        for (field, port) in [("port", Some(service.port)), ("targetPort", service.target_port)] {
            if port == Some(0) {
                faults.push(context.error(&at_path![at; field], PORT_ZERO));
            }
        }
        let behind = |pod: &&PodSpec| {
            pod.namespace == service.namespace
                && service.selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
        };
        if service.selector.is_empty() {
            faults.push(context.error(&at_path![at; "selector"], "the Service selects no pods: its selector is empty"));
        } else if context.scenario.all_pods().find(behind).is_none() {
            let message =
                format!("no pod of namespace `{}` has the labels that the Service selects", service.namespace);
            faults.push(context.warning(&at_path![at; "selector"], message));
        }
    }
}

/// What only one pod can have.
#[derive(Default)]
struct Taken<'a> {
    /// Names, by namespace.
    names: BTreeSet<(&'a str, &'a str)>,
    /// Ports of the nodes.
    ports: BTreeSet<(NodeName, u16, Protocol)>,
}

fn pod<'a>(
    context: &Context<'_>,
    spec: &'a PodSpec,
    at: &[Segment],
    taken: &mut Taken<'a>,
    faults: &mut Vec<Diagnostic>,
) {
    if let Err(message) = names::dns_label(&spec.name) {
        faults.push(context.error(&at_path![at; "name"], message));
    }
    if !taken.names.insert((&spec.namespace, &spec.name)) {
        let fault = context
            .error(&at_path![at; "name"], format!("namespace `{}` has two pods `{}`", spec.namespace, spec.name));
        faults.push(fault.hint("a step that makes a pod anew says `recreate:`"));
    }
    namespace(context, &spec.namespace, &at_path![at; "namespace"], faults);
    labels(context, &spec.labels, &at_path![at; "labels"], faults);
    ports(context, &spec.ports, &at_path![at; "ports"], faults);
    for port in spec.ports.iter().filter(|_| spec.host_network) {
        if (port.port, port.protocol) == (NODE_PORT, Protocol::Tcp) {
            let fault = context.error(&at_path![at; "ports"], format!("port {NODE_PORT} is the node's own server's"));
            faults.push(fault.hint("pods with `hostNetwork` share the ports of their node: take another"));
        }
        if !taken.ports.insert((spec.node, port.port, port.protocol)) {
            let message = format!("port {} of node/{} is another pod's already", port.port, spec.node.as_str());
            let fault = context.error(&at_path![at; "ports"], message);
            faults
                .push(fault.hint("pods with `hostNetwork` share the ports of their node: say `ports: [{port: 8182}]`"));
        }
    }
    if let Some(Err(message)) = spec.service_account.as_deref().map(names::dns_label) {
        faults.push(context.error(&at_path![at; "serviceAccount"], message));
    }
    if let Some(port) = spec.relay {
        relay(context, spec, port, &at_path![at; "relay"], faults);
    }
}

/// A relay has a port of its own, and leads somewhere.
fn relay(context: &Context<'_>, spec: &PodSpec, port: u16, at: &[Segment], faults: &mut Vec<Diagnostic>) {
    if port == 0 {
        faults.push(context.error(at, PORT_ZERO));
    }
    if spec.ports.iter().any(|served| served.port == port && served.protocol == Protocol::Tcp) {
        faults.push(context.error(at, format!("the pod serves port {port} itself")));
    }
    if context.scenario.lab.metadata.is_none() {
        let fault = context.error(at, "the lab has no metadata server that it could lead to");
        faults.push(fault.hint("add `metadata: gcp` to `lab`"));
    }
}

pub(super) const PORT_ZERO: &str = "0 is no port: it is from 1 to 65535";

fn ports(context: &Context<'_>, specs: &[PortSpec], at: &[Segment], faults: &mut Vec<Diagnostic>) {
    let mut taken = BTreeSet::new();
    let mut named = BTreeSet::new();
    for (index, spec) in specs.iter().enumerate() {
        let at = at_path![at; index];
        if spec.port == 0 {
            faults.push(context.error(&at_path![at; "port"], PORT_ZERO));
        }
        if !taken.insert((spec.port, spec.protocol)) {
            faults.push(context.error(&at_path![at; "port"], format!("port {} is listed twice", spec.port)));
        }
        if let Some(name) = &spec.name {
            if let Err(message) = names::port_name(name) {
                faults.push(context.error(&at_path![at; "name"], message));
            }
            if !named.insert(name) {
                faults.push(context.error(&at_path![at; "name"], format!("there are two ports `{name}`")));
            }
        }
    }
}

pub(super) fn labels(context: &Context<'_>, labels: &Labels, at: &[Segment], faults: &mut Vec<Diagnostic>) {
    for (key, value) in labels {
        let at = at_path![at; key.as_str()];
        if let Err(message) = names::label_key(key) {
            faults.push(context.document.error_at_key(&at, message));
        } else if key == "kubernetes.io/metadata.name" {
            let fault = context.document.error_at_key(&at, "this label is set by the API server, on every namespace");
            faults.push(fault.hint("remove it"));
        }
        if let Err(message) = names::label_value(value) {
            faults.push(context.error(&at, message));
        }
    }
}

pub(super) fn namespace(context: &Context<'_>, name: &str, at: &[Segment], faults: &mut Vec<Diagnostic>) {
    if !context.scenario.has_namespace(name) {
        let known = context.scenario.namespace_names();
        let fault = context.error(at, format!("the lab has no namespace `{name}`"));
        faults.push(match nearest(name, known.iter().copied()) {
            Some(near) => fault.hint(format!("did you mean `{near}`?")),
            None => fault.hint(format!("add `{name}: {{}}` to `lab.namespaces`")),
        });
    }
}
