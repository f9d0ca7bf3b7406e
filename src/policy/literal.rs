//! From the logical namespaces of a scenario to those of the cluster, in a manifest. Nothing else in it is touched.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{lab::WorldNamespace, scenario::DEFAULT_NAMESPACE};

/// The label that every namespace carries, with its own name as the value.
pub const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Kinds that live in no namespace, as far as policies and what they need are concerned.
const CLUSTER_SCOPED: [&str; 13] = [
    "AdminNetworkPolicy",
    "BaselineAdminNetworkPolicy",
    "CiliumClusterwideNetworkPolicy",
    "ClusterNetworkPolicy",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "GlobalNetworkPolicy",
    "GlobalNetworkSet",
    "Namespace",
    "Node",
    "PriorityClass",
    "Tier",
];

/// Kinds whose subjects name a namespace.
const BINDINGS: [&str; 2] = ["ClusterRoleBinding", "RoleBinding"];

/// The manifest with literal namespaces: `metadata.namespace` is set (also where nothing was said), and values of
/// `kubernetes.io/metadata.name` in selectors are replaced wherever they stand, so that vendor kinds with Kubernetes'
/// selectors are served too; so are the service accounts that bindings name. A namespace that is not in the map keeps its name.
#[must_use]
pub fn literalise(mut manifest: Value, namespaces: &BTreeMap<String, WorldNamespace>) -> Value {
    let literal = |logical: &str| {
        namespaces.get(logical).map_or_else(|| logical.to_owned(), |namespace| namespace.literal.clone())
    };
    let kind = manifest.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some(metadata) = manifest.get_mut("metadata").and_then(Value::as_object_mut) {
        if kind == "Namespace" {
            replace(metadata.get_mut("name"), &literal);
            replace(metadata.get_mut("labels").and_then(|labels| labels.get_mut(NAME_LABEL)), &literal);
        } else if !CLUSTER_SCOPED.contains(&kind.as_str()) {
            let logical = metadata.get("namespace").and_then(Value::as_str).unwrap_or(DEFAULT_NAMESPACE);
            let name = literal(logical);
            metadata.insert("namespace".to_owned(), Value::String(name));
        }
    }
    if BINDINGS.contains(&kind.as_str()) {
        let subjects = manifest.get_mut("subjects").and_then(Value::as_array_mut);
        subjects.into_iter().flatten().for_each(|subject| replace(subject.get_mut("namespace"), &literal));
    }
    rewrite_selectors(&mut manifest, &literal);
    manifest
}

fn rewrite_selectors(value: &mut Value, literal: &impl Fn(&str) -> String) {
    match value {
        Value::Object(fields) => {
            rewrite_match_labels(fields, literal);
            rewrite_match_expressions(fields, literal);
            fields.values_mut().for_each(|field| rewrite_selectors(field, literal));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rewrite_selectors(item, literal)),
        _ => {}
    }
}

fn rewrite_match_labels(fields: &mut Map<String, Value>, literal: &impl Fn(&str) -> String) {
    replace(fields.get_mut("matchLabels").and_then(|labels| labels.get_mut(NAME_LABEL)), literal);
}

fn rewrite_match_expressions(fields: &mut Map<String, Value>, literal: &impl Fn(&str) -> String) {
    let requirements = fields.get_mut("matchExpressions").and_then(Value::as_array_mut);
    for requirement in requirements.into_iter().flatten() {
        if requirement.get("key").and_then(Value::as_str) == Some(NAME_LABEL) {
            let values = requirement.get_mut("values").and_then(Value::as_array_mut);
            values.into_iter().flatten().for_each(|value| replace(Some(value), literal));
        }
    }
}

fn replace(value: Option<&mut Value>, literal: &impl Fn(&str) -> String) {
    if let Some(name) = value
        && let Some(logical) = name.as_str()
    {
        *name = Value::String(literal(logical));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(manifest: Value) -> Value {
        let namespaces = [("default", "pp-1-default"), ("x", "pp-1-x")].map(|(logical, literal)| {
            (logical.to_owned(), WorldNamespace { literal: literal.to_owned(), ..WorldNamespace::default() })
        });
        literalise(manifest, &namespaces.into())
    }

    #[test]
    fn the_namespace_is_always_set() {
        let policy = |metadata: Value| json!({"kind": "NetworkPolicy", "metadata": metadata});
        assert_eq!(
            check(policy(json!({"name": "a", "namespace": "x"}))),
            policy(json!({"name": "a", "namespace": "pp-1-x"}))
        );
        assert_eq!(check(policy(json!({"name": "a"}))), policy(json!({"name": "a", "namespace": "pp-1-default"})));
        assert_eq!(
            check(policy(json!({"name": "a", "namespace": "kube-system"}))),
            policy(json!({"name": "a", "namespace": "kube-system"}))
        );
    }

    #[test]
    fn cluster_scoped_objects_get_no_namespace() {
        let admin = json!({"kind": "AdminNetworkPolicy", "metadata": {"name": "a"}});
        assert_eq!(check(admin.clone()), admin);
        assert_eq!(
            check(json!({"kind": "Namespace", "metadata": {"name": "x", "labels": {NAME_LABEL: "x", "team": "x"}}})),
            json!({"kind": "Namespace", "metadata": {"name": "pp-1-x", "labels": {NAME_LABEL: "pp-1-x", "team": "x"}}})
        );
    }

    #[test]
    fn service_accounts_of_bindings_follow() {
        let binding = |namespace: &str| {
            json!({"kind": "ClusterRoleBinding", "metadata": {"name": "a"}, "roleRef": {"kind": "ClusterRole", "name": "b"},
                   "subjects": [{"kind": "ServiceAccount", "name": "c", "namespace": namespace}, {"kind": "Group", "name": "x"}]})
        };
        assert_eq!(check(binding("x")), binding("pp-1-x"));
        assert_eq!(check(binding("monitoring")), binding("monitoring"));
    }

    #[test]
    fn selectors_on_the_name_follow() {
        let policy = |names: [&str; 3]| {
            json!({
                "kind": "NetworkPolicy",
                "metadata": {"name": "x", "namespace": names[0]},
                "spec": {
                    "podSelector": {"matchLabels": {"app": "x"}},
                    "ingress": [{"from": [
                        {"namespaceSelector": {"matchLabels": {NAME_LABEL: names[1], "team": "x"}}},
                        {"namespaceSelector": {"matchExpressions": [
                            {"key": NAME_LABEL, "operator": "NotIn", "values": [names[2], "kube-system"]},
                            {"key": "team", "operator": "In", "values": ["x"]},
                            {"key": NAME_LABEL, "operator": "Exists"},
                        ]}},
                    ]}],
                },
            })
        };
        assert_eq!(check(policy(["x", "x", "default"])), policy(["pp-1-x", "pp-1-x", "pp-1-default"]));
    }

    #[test]
    fn what_is_no_manifest_is_left_alone() {
        for value in [json!(null), json!([1]), json!({"metadata": "x"}), json!({"matchExpressions": "x"})] {
            assert_eq!(check(value.clone()), value);
        }
    }
}
