//! Label selectors. Whose labels are asked, and where a selector is missing, is the caller's business.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use crate::scenario::Labels;

/// Whether a selector selects these labels. All requirements must hold; a selector without any selects everything. One that
/// the API would refuse (an unknown operator, `In` without values) selects nothing.
pub(super) fn selects(selector: &LabelSelector, labels: &Labels) -> bool {
    selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value))
        && selector.match_expressions.iter().flatten().all(|requirement| fulfils(requirement, labels))
}

/// Whether labels fulfil one requirement. A missing key fulfils `NotIn`, as in `labels.Requirement.Matches` of
/// Kubernetes.
fn fulfils(requirement: &LabelSelectorRequirement, labels: &Labels) -> bool {
    let value = labels.get(&requirement.key);
    let values = requirement.values.as_deref().unwrap_or_default();
    match requirement.operator.as_str() {
        "In" => value.is_some_and(|value| values.contains(value)),
        "NotIn" => !values.is_empty() && value.is_none_or(|value| !values.contains(value)),
        "Exists" => values.is_empty() && value.is_some(),
        "DoesNotExist" => values.is_empty() && value.is_none(),
        _ => false,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(selector: Value, labels: Value) -> bool {
        selects(&serde_json::from_value(selector).unwrap(), &serde_json::from_value(labels).unwrap())
    }

    fn expression(operator: &str, values: &[&str]) -> Value {
        json!({"matchExpressions": [{"key": "app", "operator": operator, "values": values}]})
    }

    #[test]
    fn an_empty_selector_selects_everything() {
        assert!(check(json!({}), json!({})));
        assert!(check(json!({"matchLabels": {}, "matchExpressions": []}), json!({"app": "a"})));
    }

    #[test]
    fn operators_follow_the_api() {
        for (operator, values, on_a, on_b, on_missing) in [
            ("In", &["a"][..], true, false, false),
            ("In", &["a", "b"], true, true, false),
            ("NotIn", &["a"], false, true, true),
            ("Exists", &[], true, true, false),
            ("DoesNotExist", &[], false, false, true),
            // The API refuses these: they select nothing.
            ("In", &[], false, false, false),
            ("NotIn", &[], false, false, false),
            ("Exists", &["a"], false, false, false),
            ("in", &["a"], false, false, false),
        ] {
            let selector = expression(operator, values);
            assert_eq!(check(selector.clone(), json!({"app": "a"})), on_a, "{operator} {values:?} on a");
            assert_eq!(check(selector.clone(), json!({"app": "b"})), on_b, "{operator} {values:?} on b");
            assert_eq!(check(selector, json!({})), on_missing, "{operator} {values:?} on no label");
        }
    }

    #[test]
    fn an_empty_value_is_a_value() {
        assert!(check(json!({"matchLabels": {"app": ""}}), json!({"app": ""})));
        assert!(!check(json!({"matchLabels": {"app": ""}}), json!({})));
        assert!(!check(json!({"matchLabels": {"app": ""}}), json!({"app": "a"})));
    }

    #[test]
    fn labels_and_expressions_are_anded() {
        let selector = json!({
            "matchLabels": {"tier": "db"},
            "matchExpressions": [
                {"key": "app", "operator": "In", "values": ["a", "b"]},
                {"key": "app", "operator": "NotIn", "values": ["b"]},
            ],
        });
        assert!(check(selector.clone(), json!({"tier": "db", "app": "a"})));
        assert!(!check(selector.clone(), json!({"tier": "db", "app": "b"})));
        assert!(!check(selector.clone(), json!({"tier": "web", "app": "a"})));
        assert!(!check(selector, json!({"app": "a"})));
    }

    #[test]
    fn keys_and_values_are_not_mixed_up() {
        assert!(!check(json!({"matchLabels": {"a-b": "c"}}), json!({"a": "b-c"})));
        assert!(!check(json!({"matchLabels": {"app": "A"}}), json!({"app": "a"})));
    }
}
