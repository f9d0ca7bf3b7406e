//! A node as fields: `metadata.labels[kubernetes.io/arch]`, `spec.taints[dedicated:NoSchedule]`, `status.nodeInfo.bootID`.
//!
//! Lists with keys become fields by their keys, so that an order that means nothing is no change.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::Value;

/// Fields by path, with their values as text.
pub type Fields = BTreeMap<String, String>;

/// Values that are longer are kept as their hash: an annotation may have 256 KiB.
pub const LONGEST: usize = 1024;

/// What a hashed value begins with.
const HASH: &str = "sha256:";

/// The fields of a node, as the API server sends it. `managedFields` is no field: it says who set the others.
#[must_use]
pub fn flatten(node: &Value, wanted: &dyn Fn(&str) -> bool) -> Fields {
    let mut flat = Flat { fields: Fields::new(), wanted };
    for part in ["metadata", "spec", "status"] {
        if let Some(value) = node.get(part) {
            flat.walk(part, value);
        }
    }
    flat.fields
}

struct Flat<'a> {
    fields: Fields,
    wanted: &'a dyn Fn(&str) -> bool,
}

impl Flat<'_> {
    fn walk(&mut self, path: &str, value: &Value) {
        match path {
            "metadata.managedFields" => {}
            "metadata.labels" | "metadata.annotations" | "status.capacity" | "status.allocatable" => {
                for (key, value) in value.as_object().into_iter().flatten() {
                    self.put(format!("{path}[{key}]"), value);
                }
            }
            "spec.taints" => self.taints(path, value),
            "status.conditions" => self.conditions(path, value),
            "status.addresses" => self.addresses(path, value),
            "status.images" => {
                // Thousands of nodes have a hundred each: the names alone say what is there.
                let names = items(value).filter_map(|image| image["names"].as_array()?.last()?.as_str());
                self.list(path, names.collect());
            }
            "status.volumesAttached" => {
                self.list(path, items(value).filter_map(|volume| volume["name"].as_str()).collect());
            }
            "spec.podCIDRs" | "status.volumesInUse" | "metadata.finalizers" => {
                self.list(path, items(value).filter_map(Value::as_str).collect());
            }
            _ => match value {
                Value::Object(object) => {
                    for (key, value) in object {
                        self.walk(&format!("{path}.{key}"), value);
                    }
                }
                _ => self.put(path.to_owned(), value),
            },
        }
    }

    fn taints(&mut self, path: &str, value: &Value) {
        for taint in items(value) {
            let (key, effect) = (text(&taint["key"]), text(&taint["effect"]));
            let field = format!("{path}[{key}:{effect}]");
            if let Some(time) = taint["timeAdded"].as_str() {
                self.insert(format!("{field}.timeAdded"), time.to_owned());
            }
            self.insert(field, text(&taint["value"]));
        }
    }

    fn conditions(&mut self, path: &str, value: &Value) {
        for condition in items(value) {
            let kind = text(&condition["type"]);
            for (key, value) in condition.as_object().into_iter().flatten().filter(|(key, _)| *key != "type") {
                self.put(format!("{path}[{kind}].{key}"), value);
            }
        }
    }

    /// A dual-stack node has two addresses of one type. Their order says which is the first choice, so it stays.
    fn addresses(&mut self, path: &str, value: &Value) {
        let mut by_type: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for address in items(value) {
            by_type.entry(text(&address["type"])).or_default().push(text(&address["address"]));
        }
        for (kind, addresses) in by_type {
            self.insert(format!("{path}[{kind}]"), addresses.join(", "));
        }
    }

    fn list(&mut self, path: &str, mut items: Vec<&str>) {
        if !items.is_empty() && (self.wanted)(path) {
            // The order of CIDRs says which family comes first; that of all others means nothing.
            if path != "spec.podCIDRs" {
                items.sort_unstable();
            }
            self.insert(path.to_owned(), items.join(", "));
        }
    }

    fn put(&mut self, path: String, value: &Value) {
        // What is empty is not there: `kubeProxyVersion: ""`. A label's empty value is a value.
        let label = path.ends_with(']');
        if !value.is_null() && (label || value.as_str() != Some("")) {
            self.insert(path, text(value));
        }
    }

    fn insert(&mut self, path: String, value: String) {
        if (self.wanted)(&path) {
            self.fields.insert(path, shortened(value));
        }
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A long value as its hash and its length.
fn shortened(value: String) -> String {
    if value.len() <= LONGEST {
        return value;
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, value.as_bytes());
    let mut text = digest.as_ref().iter().fold(HASH.to_owned(), |mut text, byte| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    });
    let _ = write!(text, " ({} bytes)", value.len());
    text
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    fn all(node: &Value) -> Fields {
        flatten(node, &|_| true)
    }

    #[test]
    fn lists_become_fields_by_their_keys() {
        let node = json!({
            "metadata": {"name": "a", "labels": {"x.io/y": ""}, "managedFields": [{"manager": "m"}]},
            "spec": {
                "podCIDRs": ["10.0.0.0/24", "fd00::/64"], "unschedulable": true,
                "taints": [{"key": "k", "effect": "NoSchedule", "timeAdded": "t"}, {"key": "k", "value": "v", "effect": "NoExecute"}],
            },
            "status": {
                "nodeInfo": {"bootID": "b", "kubeProxyVersion": ""},
                "addresses": [{"type": "InternalIP", "address": "1.1.1.1"}, {"type": "InternalIP", "address": "::1"}],
                "conditions": [{"type": "Ready", "status": "True"}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
                "images": [{"names": ["z@sha256:1", "z:1"]}, {"names": ["a:1"]}],
            },
        });
        let fields = all(&node);
        let lines: Vec<_> = fields.iter().map(|(field, value)| format!("{field}={value}")).collect();
        assert_eq!(
            lines,
            [
                "metadata.labels[x.io/y]=",
                "metadata.name=a",
                "spec.podCIDRs=10.0.0.0/24, fd00::/64",
                "spec.taints[k:NoExecute]=v",
                "spec.taints[k:NoSchedule]=",
                "spec.taints[k:NoSchedule].timeAdded=t",
                "spec.unschedulable=true",
                "status.addresses[InternalIP]=1.1.1.1, ::1",
                "status.conditions[Ready].status=True",
                "status.daemonEndpoints.kubeletEndpoint.Port=10250",
                "status.images=a:1, z:1",
                "status.nodeInfo.bootID=b",
            ]
        );
    }

    #[test]
    fn an_order_that_means_nothing_is_no_change() {
        let node = |taints: Value| all(&json!({"spec": {"taints": taints}}));
        let (a, b) = (json!({"key": "a", "effect": "NoSchedule"}), json!({"key": "b", "effect": "NoSchedule"}));
        assert_eq!(node(json!([a, b])), node(json!([b, a])));
    }

    #[test]
    fn a_large_annotation_is_kept_as_its_hash() {
        let node = |fill: &str| all(&json!({"metadata": {"annotations": {"big": fill.repeat(200 * 1024)}}}));
        let (a, b) = (node("a"), node("b"));
        let (a, b) = (a.values().next().unwrap(), b.values().next().unwrap());
        assert!(a.starts_with(HASH) && a.ends_with("(204800 bytes)") && a.len() < 100, "{a}");
        assert_ne!(a, b);
    }

    #[test]
    fn garbage_is_borne() {
        for node in
            [json!(null), json!({"metadata": 3}), json!({"spec": {"taints": {"a": 1}}, "status": {"images": [1]}})]
        {
            let _ = all(&node);
        }
    }
}
