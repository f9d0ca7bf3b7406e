//! A small cluster, and flows written as text.
//!
//! Namespaces `x` and `y` with labels `ns` and `kubernetes.io/metadata.name`; in each the pods `a` (on the worker), `b`
//! (on the master) and `c` (on the worker), labelled `app`, serving `web` 80 and `alt` 81 over TCP and `dns` 53 over UDP.

use std::{net::IpAddr, sync::Arc};

use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::{Value, json};

use crate::{
    policy::{Cluster, Decision, End, Flow, NAME_LABEL, Node, Pod, ServiceAddress, decide},
    scenario::{Labels, NodeName, PortSpec, Protocol},
};

pub(in crate::policy) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// `namespace/name`, with the addresses `10.0.0.N` and `fd00::N`.
pub(in crate::policy) fn pod(name: &str, host: u8, pairs: &[(&str, &str)]) -> Pod {
    let (namespace, name) = name.split_once('/').unwrap();
    let served = [("web", 80, Protocol::Tcp), ("alt", 81, Protocol::Tcp), ("dns", 53, Protocol::Udp)];
    Pod {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        labels: labels(pairs),
        addresses: vec![IpAddr::from([10, 0, 0, host]), format!("fd00::{host}").parse().unwrap()],
        ports: served.map(|(name, port, protocol)| PortSpec { name: Some(name.to_owned()), port, protocol }).to_vec(),
        node: NodeName::Worker,
        host_network: false,
    }
}

pub(super) fn cluster(policies: &[(&str, Value)]) -> Cluster {
    let mut cluster = Cluster::default();
    for (index, namespace) in ["x", "y"].into_iter().enumerate() {
        cluster.namespaces.insert(namespace.to_owned(), labels(&[("ns", namespace), (NAME_LABEL, namespace)]));
        for (offset, name) in ["a", "b", "c"].into_iter().enumerate() {
            let host = u8::try_from(10 * (index + 1) + offset).unwrap();
            let mut pod = pod(&format!("{namespace}/{name}"), host, &[("app", name)]);
            pod.node = if name == "b" { NodeName::Master } else { NodeName::Worker };
            cluster.pods.push(pod);
        }
    }
    for (name, host) in [(NodeName::Master, 2), (NodeName::Worker, 3)] {
        let addresses = vec![IpAddr::from([172, 18, 0, host]), format!("fc00::{host}").parse().unwrap()];
        cluster.nodes.push(Node { name, addresses });
    }
    cluster.policies = policies.iter().map(|(name, spec)| Arc::new(policy(name, spec))).collect();
    cluster
}

pub(super) fn policy(name: &str, spec: &Value) -> NetworkPolicy {
    let (namespace, name) = name.split_once('/').unwrap();
    serde_json::from_value(json!({"metadata": {"namespace": namespace, "name": name}, "spec": spec})).unwrap()
}

/// Judges `x/a -> y/b:80[/UDP] [over ipv6] [via 10.96.0.1:8080]`. An end is a pod, `node/master`, `node/worker` or an
/// address of neither.
pub(super) fn ask(cluster: &Cluster, text: &str) -> Decision {
    let (text, via) = split(text, " via ");
    let (text, family) = split(text, " over ");
    let (from, to) = text.split_once(" -> ").unwrap();
    let (to, port) = to.rsplit_once(':').unwrap();
    let (port, protocol) = split(port, "/");
    let (from, from_address) = end(cluster, from, family.is_some());
    let (to, to_address) = end(cluster, to, family.is_some());
    let service = via.map(|via| {
        let (address, port) = via.rsplit_once(':').unwrap();
        ServiceAddress { address: address.parse().unwrap(), port: port.parse().unwrap() }
    });
    let protocol = match protocol {
        None => Protocol::Tcp,
        Some("UDP") => Protocol::Udp,
        Some("SCTP") => Protocol::Sctp,
        Some(other) => panic!("no protocol: {other}"),
    };
    decide(cluster, &Flow { from, from_address, to, to_address, port: port.parse().unwrap(), protocol, service })
}

fn split<'a>(text: &'a str, at: &str) -> (&'a str, Option<&'a str>) {
    text.split_once(at).map_or((text, None), |(before, after)| (before, Some(after)))
}

fn end<'a>(cluster: &'a Cluster, name: &str, v6: bool) -> (End<'a>, IpAddr) {
    let family = |addresses: &[IpAddr]| *addresses.iter().find(|address| address.is_ipv6() == v6).unwrap();
    if let Ok(address) = name.parse() {
        return (End::Outside, address);
    }
    if let Some(pod) = cluster.pods.iter().find(|pod| format!("{}/{}", pod.namespace, pod.name) == name) {
        return (End::Pod(pod), family(&pod.addresses));
    }
    let node = cluster.nodes.iter().find(|node| name == format!("node/{}", node.name.as_str())).unwrap();
    (End::Node(node), family(&node.addresses))
}

/// Checks a table on the small cluster.
pub(super) fn check(policies: &[(&str, Value)], table: &[&str]) {
    check_on(&cluster(policies), table);
}

/// Checks a table: each line a mark and a flow.
pub(super) fn check_on(cluster: &Cluster, table: &[&str]) {
    for line in table {
        let (mark, flow) = line.split_once(' ').unwrap();
        let decision = ask(cluster, flow);
        let got = match decision {
            Decision::Allow(_) => "+",
            Decision::Deny(_) => "-",
            Decision::Undefined { .. } => "?",
        };
        assert_eq!(got, mark, "{flow}: {decision}");
    }
}
