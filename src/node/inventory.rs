//! One node as a list of fields, each with what it is for, who set it and what it tells. Pure; showing it is elsewhere.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::{
    age,
    catalogue::{CATALOGUE, Known},
    flat::Fields,
    owner::{Managed, Manager},
    roots::known,
    state::{NodeState, Selection},
};

/// A node.
#[derive(Clone, Debug, Serialize)]
pub struct NodeEntry {
    /// Its name.
    pub name: String,
    /// Its fields, by path.
    pub fields: Vec<FieldEntry>,
}

/// A field of a node.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldEntry {
    /// The path.
    pub field: String,
    /// The name for people.
    pub title: &'static str,
    /// The value; none where the server does not report it.
    pub value: Option<String>,
    /// How old the software is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<String>,
    /// What uses it.
    pub used_for: &'static str,
    /// What it tells somebody who should not know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sensitive: Option<&'static str>,
    /// Whether it changes by itself.
    pub volatile: bool,
    /// Who set it, as they claim; nobody where the API server did, or where it is not recorded.
    pub from: Vec<Manager>,
}

impl NodeEntry {
    /// A node as the API server sent it.
    #[must_use]
    pub fn of(node: Value, now: Timestamp) -> Option<Self> {
        let NodeState { name, fields, managed, .. } = NodeState::of(node, &Selection::everything())?;
        let missing: Vec<_> = missing(&fields).map(|known| known.pattern.trim_end_matches('*')).collect();
        let reported = fields.into_iter();
        let mut fields: Vec<_> =
            reported.map(|(field, value)| FieldEntry::new(field, Some(value), &managed, now)).collect();
        let missing = missing.into_iter();
        fields.extend(missing.map(|field| FieldEntry::new(field.to_owned(), None, &Managed::default(), now)));
        fields.sort_by(|a, b| a.field.cmp(&b.field));
        Some(Self { name, fields })
    }
}

/// What every node should have and this one has not.
fn missing(fields: &Fields) -> impl Iterator<Item = &'static Known> {
    CATALOGUE.iter().filter(|known| known.expected).filter(|known| {
        let prefix = known.pattern.trim_end_matches('*');
        let next = fields.range(prefix.to_owned()..).next();
        let there = next.is_some_and(|(field, _)| {
            if prefix.len() == known.pattern.len() { field == prefix } else { field.starts_with(prefix) }
        });
        !there
    })
}

impl FieldEntry {
    fn new(field: String, value: Option<String>, managed: &Managed, now: Timestamp) -> Self {
        let known = known(&field);
        Self {
            title: known.title,
            age: value.as_deref().and_then(|value| age::in_words(&field, value, now)),
            used_for: known.used_for,
            sensitive: known.sensitive,
            volatile: known.volatile,
            from: managed.owners(&field),
            field,
            value,
        }
    }

    /// Who set it, in a few words: the API server itself sets what identifies an object.
    #[must_use]
    pub fn origin(&self) -> String {
        if self.value.is_none() {
            return String::new();
        }
        if self.from.is_empty() {
            let own = ["metadata.name", "metadata.uid", "metadata.creationTimestamp", "metadata.resourceVersion"];
            let own = own.contains(&self.field.as_str()) || self.field.starts_with("metadata.generation");
            return if own { "API server" } else { "not recorded" }.to_owned();
        }
        let mut names: Vec<String> = Vec::new();
        for manager in &self.from {
            let kind = manager.kind.as_str();
            let name = &manager.name;
            let said = if name.contains(kind) || kind == "other" { name.clone() } else { format!("{name} ({kind})") };
            if !names.contains(&said) {
                names.push(said);
            }
        }
        names.join(", ")
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// The node of the document, as kind and a cloud would fill it.
    pub(crate) fn example() -> Value {
        json!({
            "metadata": {
                "name": "node01", "uid": "f5eb12a4", "creationTimestamp": "2026-11-20T12:00:00Z", "resourceVersion": "7",
                "labels": {
                    "kubernetes.io/arch": "amd64", "kubernetes.io/hostname": "node01", "region": "us-east-1",
                    "node-role.kubernetes.io/worker": "", "team": "a",
                },
                "annotations": {"flannel.alpha.coreos.com/public-ip": "192.168.87.255"},
                "managedFields": [
                    {"manager": "kubelet", "operation": "Update", "time": "2026-11-20T12:00:00Z", "fieldsV1": {
                        "f:metadata": {"f:labels": {".": {}, "f:kubernetes.io/arch": {}, "f:kubernetes.io/hostname": {}}},
                    }},
                    {"manager": "kubelet", "operation": "Update", "subresource": "status",
                     "time": "2026-11-23T12:00:00Z", "fieldsV1": {"f:status": {"f:nodeInfo": {"f:kernelVersion": {}}}}},
                    {"manager": "kubectl-label", "operation": "Update", "time": "2026-11-21T12:00:00Z", "fieldsV1": {
                        "f:metadata": {"f:labels": {"f:region": {}, "f:node-role.kubernetes.io/worker": {}}},
                    }},
                    {"manager": "cloud-controller-manager", "operation": "Update", "time": "2026-11-20T12:00:01Z",
                     "fieldsV1": {"f:spec": {"f:providerID": {}}}},
                ],
            },
            "spec": {
                "podCIDR": "10.244.1.0/24", "providerID": "gce://project/us-east1-b/node01",
                "taints": [{"key": "dedicated", "value": "db", "effect": "NoSchedule"}],
            },
            "status": {
                "addresses": [{"type": "InternalIP", "address": "10.128.0.7"}, {"type": "ExternalIP", "address": "198.51.100.7"}],
                "capacity": {"cpu": "4", "memory": "16Gi", "pods": "110"},
                "conditions": [
                    {"type": "MemoryPressure", "status": "True", "reason": "low"},
                    {"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-11-23T12:00:00Z"},
                ],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
                "images": [{"names": ["a:1"]}, {"names": ["b:1"]}],
                "nodeInfo": {
                    "architecture": "amd64", "bootID": "8059e764", "containerRuntimeVersion": "containerd://1.6.26",
                    "kernelVersion": "5.15.0-1065-gcp", "kubeProxyVersion": "", "kubeletVersion": "v1.33.1",
                    "machineID": "69ee5c89", "operatingSystem": "linux", "osImage": "Ubuntu 22.04.4 LTS",
                    "systemUUID": "8ab83d3f",
                },
            },
        })
    }

    pub(crate) fn now() -> Timestamp {
        "2026-11-23T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn what_a_server_no_longer_fills_is_not_reported() {
        let node = NodeEntry::of(example(), now()).unwrap();
        let proxy = node.fields.iter().find(|entry| entry.field == "status.nodeInfo.kubeProxyVersion").unwrap();
        assert_eq!(proxy.value, None);
        assert!(node.fields.is_sorted_by_key(|entry| &entry.field));
    }

    #[test]
    fn each_field_says_where_it_came_from() {
        let node = NodeEntry::of(example(), now()).unwrap();
        let origin = |field: &str| node.fields.iter().find(|entry| entry.field == field).unwrap().origin();
        assert_eq!(origin("metadata.labels[region]"), "kubectl-label (admin)");
        assert_eq!(origin("metadata.labels[kubernetes.io/arch]"), "kubelet");
        assert_eq!(origin("spec.providerID"), "cloud-controller-manager (cloud controller)");
        assert_eq!(origin("metadata.uid"), "API server");
        assert_eq!(origin("spec.podCIDR"), "not recorded");
    }

    #[test]
    fn every_field_of_the_document_is_there() {
        let node = NodeEntry::of(example(), now()).unwrap();
        let titles: std::collections::BTreeSet<_> = node.fields.iter().map(|entry| entry.title).collect();
        for title in [
            "name",
            "UID",
            "label",
            "region label",
            "flannel annotation",
            "architecture",
            "machine ID",
            "system UUID",
            "boot ID",
            "kernel version",
            "OS image",
            "operating system",
            "container runtime",
            "kubelet version",
            "kube-proxy version",
            "internal address",
            "external address",
            "condition",
            "capacity",
            "taint",
            "pod CIDR",
            "provider ID",
            "images",
        ] {
            assert!(titles.contains(title), "{title} of {titles:?}");
        }
    }
}
