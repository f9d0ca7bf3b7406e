//! A destination of an expectation, resolved in a world: who answers, where, and how it is asked.

use std::{collections::BTreeSet, fmt::Write as _, net::IpAddr};

use super::{
    control_plane,
    error::Fault,
    flow::{of_family, service_address},
    reference::{node_in, outside_in, pod_in, short},
};
use crate::{
    lab::{NODE_PORT, ServerId, Source, World, WorldPod},
    metadata::Exposure,
    policy::ServiceAddress,
    probe::{Proof, Target},
    scenario::{
        By, Credential, DEFAULT_NAMESPACE, Destination, Family, MetadataTarget, Need, PodSpec, PortSpec, Protocol,
        Scenario,
    },
};

/// A destination, as far as it is the same for all sources.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    pub(super) server: ServerId,
    pub(super) identity: String,
    /// In short, for reports, with whatever tells it apart from the target's usual question.
    pub(super) text: String,
    /// What is connected to; none where the lab has no such address.
    pub(super) address: Option<IpAddr>,
    pub(super) port: u16,
    pub(super) server_port: u16,
    pub(super) via: Option<Source>,
    pub(super) protocol: Protocol,
    pub(super) family: Family,
    pub(super) source_port: Option<u16>,
    pub(super) by_name: bool,
    pub(super) service: Option<ServiceAddress>,
    pub(super) target: Option<Target>,
    pub(super) needs: BTreeSet<Need>,
}

/// Who answers and where: what differs by the kind of target.
pub(super) struct Place {
    pub(super) server: ServerId,
    pub(super) identity: String,
    pub(super) name: String,
    pub(super) address: Option<IpAddr>,
    /// The name to ask by, instead of the address.
    pub(super) host: Option<String>,
    pub(super) port: u16,
    pub(super) server_port: u16,
    pub(super) via: Option<Source>,
    pub(super) service: Option<ServiceAddress>,
    pub(super) needs: BTreeSet<Need>,
    pub(super) tls: bool,
    /// The path where none is asked for.
    pub(super) path: &'static str,
    /// What paths are below, if anything.
    pub(super) below: String,
    /// That, in short, for reports.
    pub(super) about: String,
    pub(super) headers: &'static [(&'static str, &'static str)],
    pub(super) proof: Proof,
    pub(super) credential: Option<Credential>,
    pub(super) patch: Option<String>,
}

impl Place {
    pub(super) fn new(server: ServerId, identity: impl Into<String>, name: impl Into<String>, port: u16) -> Self {
        Self {
            server,
            identity: identity.into(),
            name: name.into(),
            address: None,
            host: None,
            port,
            server_port: port,
            via: None,
            service: None,
            needs: BTreeSet::new(),
            tls: false,
            path: "/",
            below: String::new(),
            about: String::new(),
            headers: &[],
            proof: Proof::default(),
            credential: None,
            patch: None,
        }
    }
}

/// Resolves a destination.
pub(super) fn resolve(scenario: &Scenario, world: &World, to: &Destination) -> Result<Resolved, Fault> {
    if let Some(name) = &to.dns {
        return Ok(resolve_name(name, to.family));
    }
    let place = place(scenario, world, to)?;
    let asked_path = to.metadata.as_ref().map_or(to.path.as_deref(), |metadata| metadata.path.as_deref());
    let asked_path = asked_path.map(|path| format!("/{}", path.trim_start_matches('/')));
    let protocol = format!("{:?}", to.protocol).to_lowercase();
    let mut text = format!("{}:{}/{protocol}", place.name, place.port);
    let is_spelt = to.metadata.as_ref().is_some_and(|metadata| metadata.spelling.is_some());
    let by_name = place.host.is_some() && !is_spelt;
    if let Some(metadata) = &to.metadata {
        if by_name && metadata.service.is_none() {
            text.push_str(" by name");
        }
        if let Some(spelling) = metadata.spelling {
            text.extend([" in ", spelling.as_str()]);
        }
        if let Some(category) = metadata.category {
            text.extend([" ", category.as_str()]);
        }
    }
    if !to.method.is_get() {
        text.extend([" ", to.method.as_str()]);
    }
    if to.family == Family::Ipv6 {
        text.push_str(" over ipv6");
    }
    if let Some(port) = to.source_port {
        let _ = write!(text, " from port {port}");
    }
    if to.established {
        text.push_str(" established");
    }
    if !place.about.is_empty() {
        text.extend([" ", &place.about]);
    }
    if let Some(path) = asked_path.as_deref().filter(|path| *path != place.path) {
        text.push(' ');
        text.push_str(path);
    }
    if let Some(patch) = &place.patch {
        text.extend([" PATCH ", patch]);
    }
    for (key, value) in &to.headers {
        text.extend([" [", key, ": ", value, "]"]);
    }
    if let Some(credential) = place.credential {
        text.extend([" ", credential.words()]);
    }
    let mut needs = place.needs.clone();
    if by_name {
        needs.insert(Need::Dns);
    }
    if to.family == Family::Ipv6 {
        needs.insert(Need::Ipv6);
    }
    if to.established {
        needs.insert(Need::Established);
    }
    match to.protocol {
        Protocol::Tcp => {}
        Protocol::Udp => _ = needs.insert(Need::Udp),
        Protocol::Sctp => _ = needs.insert(Need::Sctp),
    }
    let host = place.host.clone().or_else(|| place.address.map(|address| address.to_string()));
    let path = path(&place, asked_path.as_deref());
    let target = host.and_then(|host| match to.protocol {
        Protocol::Tcp => Some(Target::Http {
            method: to.method,
            tls: place.tls,
            host,
            port: place.port,
            path,
            headers: headers(place.headers, to),
            family: to.family,
            proof: place.proof,
            credential: place.credential,
            patch: place.patch,
        }),
        Protocol::Udp => Some(Target::Udp { host, port: place.port, family: to.family }),
        Protocol::Sctp => None,
    });
    Ok(Resolved {
        server: place.server,
        identity: place.identity,
        text,
        address: place.address,
        port: place.port,
        server_port: place.server_port,
        via: place.via,
        protocol: to.protocol,
        family: to.family,
        source_port: to.source_port,
        by_name,
        service: place.service,
        target,
        needs,
    })
}

/// What is asked for. A patch is never more than a dry run.
fn path(place: &Place, asked: Option<&str>) -> String {
    let usual = if place.below.is_empty() { place.path } else { "" };
    let dry = if place.patch.is_some() { "?dryRun=All" } else { "" };
    format!("{}{}{dry}", place.below, asked.unwrap_or(usual))
}

/// A name that DNS must resolve: the question itself is the traffic.
fn resolve_name(name: &str, family: Family) -> Resolved {
    let over = if family == Family::Ipv6 { " over ipv6" } else { "" };
    let mut needs = BTreeSet::from([Need::Dns]);
    if family == Family::Ipv6 {
        needs.insert(Need::Ipv6);
    }
    Resolved {
        server: ServerId::Dns,
        identity: "dns".to_owned(),
        text: format!("dns/{name}{over}"),
        address: None,
        port: 53,
        server_port: 53,
        via: None,
        protocol: Protocol::Udp,
        family,
        source_port: None,
        by_name: false,
        service: Some(ServiceAddress { address: service_address(Family::Ipv4), port: 53 }),
        target: Some(Target::Resolve { name: name.to_owned(), family }),
        needs,
    }
}

fn place(scenario: &Scenario, world: &World, to: &Destination) -> Result<Place, Fault> {
    if let Some(metadata) = &to.metadata {
        return metadata_place(scenario, world, to, metadata);
    }
    if let Some(word) = &to.pod {
        let PodSpec { namespace, name, .. } = scenario.pod(word)?;
        let pod = pod_in(world, namespace, name)?;
        let port = to.port.map_or_else(|| first_port(&pod.spec.ports, to.protocol, word), Ok)?;
        return Ok(pod_place(pod, short(namespace, name), port, to.family));
    }
    if let Some(word) = &to.service {
        return service_place(scenario, world, to, word);
    }
    if let Some(name) = &to.outside {
        let host = outside_in(world, name)?;
        let spec = scenario.lab.outside.iter().find(|spec| spec.name == *name);
        let ports = spec.map(|spec| spec.ports.as_slice()).unwrap_or_default();
        let address = of_family(&[host.address], to.family);
        if address.is_none() && spec.is_some_and(|spec| spec.address.is_some()) {
            let (asked, other) = if to.family == Family::Ipv4 { ("IPv4", "ipv6") } else { ("IPv6", "ipv4") };
            let message = format!("the outside host `{name}` has no {asked} address: its own is {}", host.address);
            return Err(Fault::new(message).hint(format!("set `family: {other}`, or give it no `address`")));
        }
        let port = to.port.map_or_else(|| first_port(ports, to.protocol, name), Ok)?;
        let server = ServerId::Outside(name.clone());
        return Ok(Place {
            address,
            needs: [Need::Outside].into(),
            ..Place::new(server, host.identity.clone(), format!("outside/{name}"), port)
        });
    }
    if let Some(name) = to.node {
        let node = node_in(world, name)?;
        let (identity, served) = node.server.clone().unwrap_or_default();
        let port = to.port.or((served != 0).then_some(served)).unwrap_or(NODE_PORT);
        return Ok(Place {
            address: of_family(&node.addresses, to.family),
            needs: [Need::NodeServer].into(),
            ..Place::new(ServerId::Node(name), identity, format!("node/{}", name.as_str()), port)
        });
    }
    if let Some(target) = &to.apiserver {
        return control_plane::apiserver(world, to, target);
    }
    if let Some(target) = &to.kubelet {
        return control_plane::kubelet(world, to, target);
    }
    Err(Fault::new("a destination names nobody")
        .hint("one of `metadata`, `pod`, `service`, `outside`, `node`, `dns`, `apiserver`, `kubelet`"))
}

/// The metadata server, at the address and by the path that are asked for.
fn metadata_place(
    scenario: &Scenario,
    world: &World,
    to: &Destination,
    metadata: &MetadataTarget,
) -> Result<Place, Fault> {
    let Some(cloud) = scenario.lab.metadata else {
        return Err(Fault::new("the lab has no metadata server").hint("set `lab.metadata: gcp`"));
    };
    let ask = cloud.definition();
    let exposure = match metadata.category {
        None => None,
        Some(category) => Some(Exposure::of(cloud, category).ok_or_else(|| {
            Fault::new(format!("{} has no {}", ask.title, category.title()))
                .hint("ask for another category, or a `path`")
        })?),
    };
    let server = world.metadata.as_ref();
    let identity = server.map(|server| server.identity.clone()).unwrap_or_default();
    let addresses = server.map(|server| server.addresses.as_slice()).unwrap_or_default();
    let of_exposure = exposure.map(|exposure| exposure.endpoint().ip()).filter(|own| *own != ask.endpoints[0].ip());
    let asked = metadata.address.or(of_exposure);
    if let Some(asked) = asked.filter(|asked| !ask.addresses().contains(asked)) {
        let own = ask.addresses().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        return Err(Fault::new(format!("{} has no server at {asked}", ask.title)).hint(format!("it has {own}")));
    }
    let address = match asked {
        Some(asked) => addresses.contains(&asked).then_some(asked),
        None => of_family(addresses, to.family),
    };
    let usual_port = exposure
        .map(|exposure| exposure.endpoint().port())
        .or_else(|| ask.ports(asked.or(address)?).next())
        .unwrap_or(ask.endpoints[0].port());
    let host = match (metadata.by, metadata.spelling) {
        _ if metadata.service.is_some() => metadata.service.as_deref().map(|service| service_host(world, service)),
        (By::Name, _) => Some(
            (*ask.hosts.first().ok_or_else(|| {
                let fault = Fault::new(format!("the metadata server of {} has no name", ask.title));
                fault.hint("ask it by its address")
            })?)
            .to_owned(),
        ),
        (By::Address, Some(spelling)) => address.map(|address| spelling.of(address)),
        (By::Address, None) => None,
    };
    let name = match &metadata.service {
        Some(service) => format!("metadata by service/{service}"),
        None => asked.map_or_else(|| "metadata".to_owned(), |asked| format!("metadata/{asked}")),
    };
    let direct = Place {
        address,
        host,
        needs: [Need::Metadata].into(),
        path: exposure.map_or(ask.path, |exposure| exposure.path),
        headers: ask.headers,
        ..Place::new(ServerId::Metadata, identity, name, to.port.unwrap_or(usual_port))
    };
    match &metadata.via {
        None => Ok(direct),
        Some(relay) => {
            let PodSpec { namespace, name, relay: through, .. } = scenario.pod(relay)?;
            let through = through.ok_or_else(|| {
                Fault::new(format!("the pod `{relay}` passes nothing on"))
                    .hint("give it a port for that: `relay: 3128`")
            })?;
            let addresses = &pod_in(world, namespace, name)?.addresses;
            Ok(Place {
                address: of_family(addresses, to.family),
                host: None,
                name: format!("{} via {}", direct.name, short(namespace, name)),
                port: through,
                via: Some(Source::Pod(namespace.clone(), name.clone())),
                needs: [Need::Metadata, Need::Relays].into(),
                ..direct
            })
        }
    }
}

/// The name that DNS has for a Service, which is written `name` or `namespace/name`.
fn service_host(world: &World, service: &str) -> String {
    let (namespace, name) = service.split_once('/').unwrap_or((DEFAULT_NAMESPACE, service));
    let literal = world.namespaces.get(namespace).map_or(namespace, |namespace| &namespace.literal);
    format!("{name}.{literal}.svc.cluster.local")
}

fn pod_place(pod: &WorldPod, name: String, port: u16, family: Family) -> Place {
    let PodSpec { namespace, name: own_name, host_network, .. } = &pod.spec;
    let server = ServerId::Pod(namespace.clone(), own_name.clone());
    Place {
        address: of_family(&pod.addresses, family),
        needs: host_network.then_some(Need::HostNetwork).into_iter().collect(),
        proof: pod.proof.clone(),
        ..Place::new(server, pod.identity.clone(), name, port)
    }
}

/// A Service with one pod behind it. It is asked by name, because a world knows no Service's address.
fn service_place(scenario: &Scenario, world: &World, to: &Destination, asked: &str) -> Result<Place, Fault> {
    let spec = scenario.service(asked)?;
    let selected = |pod: &&WorldPod| {
        let labels = &pod.spec.labels;
        pod.spec.namespace == spec.namespace && spec.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    };
    let pods: Vec<_> = world.pods.iter().filter(selected).collect();
    let [pod] = pods.as_slice() else {
        return Err(Fault::new(format!("the Service `{asked}` has {} pods behind it", pods.len()))
            .hint("a probe proves the identity of one server: select exactly one pod"));
    };
    let port = to.port.unwrap_or(spec.port);
    let target_port = if port == spec.port { spec.target_port.unwrap_or(port) } else { port };
    let namespace = world.namespaces.get(&spec.namespace).map_or(&spec.namespace, |namespace| &namespace.literal);
    Ok(Place {
        address: None,
        host: Some(format!("{}.{namespace}.svc.cluster.local", spec.name)),
        server_port: target_port,
        service: Some(ServiceAddress { address: service_address(to.family), port }),
        needs: [Need::Services].into(),
        ..pod_place(pod, format!("service/{}", short(&spec.namespace, &spec.name)), port, to.family)
    })
}

fn first_port(ports: &[PortSpec], protocol: Protocol, name: &str) -> Result<u16, Fault> {
    ports.iter().find(|port| port.protocol == protocol).map(|port| port.port).ok_or_else(|| {
        Fault::new(format!("`{name}` serves nothing over {}", format!("{protocol:?}").to_uppercase()))
            .hint("say which `port` is meant")
    })
}

/// The target's own headers, unless the scenario says otherwise, and the scenario's.
fn headers(own: &[(&str, &str)], to: &Destination) -> Vec<(String, String)> {
    let kept = own.iter().filter(|(key, _)| !to.headers.keys().any(|asked| asked.eq_ignore_ascii_case(key)));
    let kept = kept.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    kept.chain(to.headers.iter().map(|(key, value)| (key.clone(), value.clone()))).collect()
}
