//! Who set a field, as `managedFields` records it. A manager's name is what the client called itself: no proof.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who set a field, as the client claimed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Manager {
    /// The name.
    pub name: String,
    /// What kind of client has such a name.
    pub kind: ManagerKind,
    /// `Apply` or `Update`.
    pub operation: String,
    /// The subresource that was written, such as `status`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subresource: String,
    /// When that manager last changed what it owns, by the server's clock.
    pub time: String,
}

/// Who usually goes by a manager's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ManagerKind {
    /// The node itself.
    Kubelet,
    /// The control plane's controllers.
    Controller,
    /// The cloud provider's controller.
    CloudController,
    /// A person, or a tool in a person's hands.
    Admin,
    /// Anything else: a CNI, an operator.
    Other,
}

impl ManagerKind {
    /// By the manager's name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let has = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
        if name == "kubelet" || name == "k3s" || name.starts_with("Go-http-client kubelet") {
            Self::Kubelet
        } else if has(&["cloud-controller", "cloud-node-manager", "-ccm", "ccm-"]) {
            Self::CloudController
        } else if has(&["kube-controller-manager", "kube-scheduler", "node-controller"]) {
            Self::Controller
        } else if has(&["kubectl", "kubeadm", "k9s", "Mozilla", "helm", "argocd", "terraform", "Lens", "curl"]) {
            Self::Admin
        } else {
            Self::Other
        }
    }

    /// In words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kubelet => "kubelet",
            Self::Controller => "controller",
            Self::CloudController => "cloud controller",
            Self::Admin => "admin",
            Self::Other => "other",
        }
    }
}

/// The `managedFields` of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Managed(Vec<Value>);

impl Managed {
    /// Those of a node, which loses them: they are the larger half of it.
    #[must_use]
    pub fn take(node: &mut Value) -> Self {
        match node.pointer_mut("/metadata/managedFields").map(Value::take) {
            Some(Value::Array(entries)) => Self(entries),
            _ => Self::default(),
        }
    }

    /// Whoever owns a field, the latest first.
    #[must_use]
    pub fn owners(&self, field: &str) -> Vec<Manager> {
        let path = segments(field);
        let mut owners: Vec<_> = self.0.iter().filter(|entry| owns(&entry["fieldsV1"], &path)).map(manager).collect();
        owners.sort_by(|a, b| b.time.cmp(&a.time));
        owners
    }

    /// Whoever made a change from `before` to these, as they claim: whoever owns the field now, those first whose entries
    /// changed; where nobody owns it any more, those with a new time. A client that only removes a field leaves no trace: then there is none.
    #[must_use]
    pub fn claimants(&self, before: &Self, field: &str) -> Vec<Manager> {
        let path = segments(field);
        let changed = || self.0.iter().filter(|entry| !before.0.contains(entry));
        let owning: Vec<_> = changed().filter(|entry| owns(&entry["fieldsV1"], &path)).map(manager).collect();
        if !owning.is_empty() {
            return owning;
        }
        // Whoever writes as somebody that owns the field already, within the same second, changes no entry.
        if let Some(owner) = self.owners(field).into_iter().next() {
            return vec![owner];
        }
        let known = |entry: &&Value| before.0.iter().any(|old| key(old) == key(entry));
        changed().filter(|entry| !known(entry)).map(manager).collect()
    }
}

fn key(entry: &Value) -> [&Value; 4] {
    [&entry["manager"], &entry["operation"], &entry["subresource"], &entry["time"]]
}

fn manager(entry: &Value) -> Manager {
    let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    let name = text("manager");
    Manager {
        kind: ManagerKind::of(&name),
        name,
        operation: text("operation"),
        subresource: text("subresource"),
        time: text("time"),
    }
}

/// A field's path as the keys of its parts in a set of fields: `a.b[c/d].e` is f:a, f:b, f:c/d, f:e.
fn segments(field: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut rest = field;
    while !rest.is_empty() {
        rest = rest.strip_prefix('.').unwrap_or(rest);
        if let Some(inner) = rest.strip_prefix('[') {
            let end = inner.find(']').unwrap_or(inner.len());
            parts.push(format!("f:{}", &inner[..end]));
            rest = inner.get(end + 1..).unwrap_or_default();
        } else {
            let end = rest.bytes().position(|byte| matches!(byte, b'.' | b'[')).unwrap_or(rest.len());
            parts.push(format!("f:{}", &rest[..end]));
            rest = &rest[end..];
        }
    }
    parts
}

/// Whether a set of fields (`FieldsV1`: `f:` a field, `k:` an item by its keys) has a path. What has nothing below it is
/// owned as a whole, as atomic lists are.
fn owns(set: &Value, path: &[String]) -> bool {
    let Some((first, rest)) = path.split_first() else { return true };
    let Some(object) = set.as_object() else { return false };
    let whole = |inner: &Value| rest.is_empty() || inner.as_object().is_some_and(serde_json::Map::is_empty);
    if let Some(inner) = object.get(first) {
        return whole(inner) || owns(inner, rest);
    }
    let first = &first["f:".len()..];
    object.iter().any(|(key, inner)| {
        let keys = key.strip_prefix("k:").filter(|keys| keys.contains(first));
        let keys: Option<Value> = keys.and_then(|keys| serde_json::from_str(keys).ok());
        let item = keys.is_some_and(|keys| keys.as_object().is_some_and(|keys| keys.values().any(|key| key == first)));
        item && owns(inner, rest)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn managed() -> Managed {
        Managed::take(&mut json!({"metadata": {"managedFields": [
            {"manager": "kube-controller-manager", "operation": "Update", "time": "2026-01-01T00:00:00Z", "fieldsV1": {
                "f:spec": {"f:podCIDR": {}, "f:podCIDRs": {".": {}, "v:\"10.0.0.0/24\"": {}}, "f:taints": {}},
            }},
            {"manager": "kubelet", "operation": "Update", "subresource": "status", "time": "2026-01-02T00:00:00Z",
             "fieldsV1": {"f:status": {"f:conditions": {"k:{\"type\":\"Ready\"}": {"f:status": {}}}}}},
            {"manager": "kubectl-label", "operation": "Update", "time": "2026-01-03T00:00:00Z", "fieldsV1": {
                "f:metadata": {"f:labels": {"f:example.com/a.b": {}}},
            }},
        ]}}))
    }

    fn names(managers: &[Manager]) -> Vec<&str> {
        managers.iter().map(|manager| manager.name.as_str()).collect()
    }

    #[test]
    fn fields_have_the_owners_that_the_server_recorded() {
        let managed = managed();
        assert_eq!(names(&managed.owners("spec.podCIDRs")), ["kube-controller-manager"]);
        assert_eq!(names(&managed.owners("spec.taints[a.b/c:NoSchedule]")), ["kube-controller-manager"]);
        assert_eq!(names(&managed.owners("status.conditions[Ready].status")), ["kubelet"]);
        assert_eq!(names(&managed.owners("metadata.labels[example.com/a.b]")), ["kubectl-label"]);
        assert!(managed.owners("metadata.labels[other]").is_empty());
        assert!(managed.owners("status.conditions[DiskPressure].status").is_empty());
    }

    #[test]
    fn the_claimant_is_whose_entry_changed() {
        let label = "metadata.labels[example.com/a.b]";
        let mut after = managed();
        after.0[2]["time"] = json!("2026-01-04T00:00:00Z");
        after.0[2]["fieldsV1"] = json!({"f:metadata": {"f:labels": {".": {}}}});
        assert_eq!(names(&after.claimants(&managed(), label)), ["kubectl-label"], "a write has a new time");
        after.0[2]["time"] = managed().0[2]["time"].clone();
        assert!(after.claimants(&managed(), label).is_empty(), "a removal leaves no trace");
        let mut taken = managed();
        taken.0[1]["fieldsV1"] = json!({"f:metadata": {"f:labels": {"f:example.com/a.b": {}}}});
        assert_eq!(names(&taken.claimants(&managed(), label)), ["kubelet"], "within a second the time is the same");
        assert_eq!(
            names(&managed().claimants(&managed(), label)),
            ["kubectl-label"],
            "a second write changes no entry"
        );
    }

    #[test]
    fn kinds_of_managers() {
        assert_eq!(ManagerKind::of("kubectl-edit"), ManagerKind::Admin);
        assert_eq!(ManagerKind::of("aws-cloud-controller-manager"), ManagerKind::CloudController);
        assert_eq!(ManagerKind::of("kube-controller-manager"), ManagerKind::Controller);
        assert_eq!(ManagerKind::of("cilium-operator"), ManagerKind::Other);
    }
}
