//! Label selectors.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use super::CompileError;
use crate::scenario::Labels;

/// Whether all of a selector's requirements hold. An empty selector selects everything.
pub(super) fn selects(selector: &LabelSelector, labels: &Labels) -> Result<bool, CompileError> {
    let exact = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    // Every expression is looked at, so that a faulty one is found whatever the labels are.
    selector
        .match_expressions
        .iter()
        .flatten()
        .map(|requirement| holds(requirement, labels))
        .try_fold(exact, |all, one| Ok(one? && all))
}

fn holds(requirement: &LabelSelectorRequirement, labels: &Labels) -> Result<bool, CompileError> {
    let label = labels.get(&requirement.key);
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = label.is_some_and(|label| values.contains(label));
    match (requirement.operator.as_str(), values.is_empty()) {
        ("In", false) => Ok(listed),
        ("NotIn", false) => Ok(!listed),
        ("Exists", true) => Ok(label.is_some()),
        ("DoesNotExist", true) => Ok(label.is_none()),
        ("In" | "NotIn", true) => Err(CompileError::Values { operator: requirement.operator.clone(), needed: "some" }),
        ("Exists" | "DoesNotExist", false) => {
            Err(CompileError::Values { operator: requirement.operator.clone(), needed: "no" })
        }
        (other, _) => Err(CompileError::Operator(other.to_owned())),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(selector: serde_json::Value, labels: &[(&str, &str)]) -> Result<bool, CompileError> {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        selects(&serde_json::from_value(selector).unwrap(), &labels)
    }

    fn expression(operator: &str, values: &[&str]) -> serde_json::Value {
        json!({"matchExpressions": [{"key": "app", "operator": operator, "values": values}]})
    }

    #[test]
    fn labels_must_all_be_equal() {
        let both = json!({"matchLabels": {"app": "a", "role": "x"}});
        assert!(check(both.clone(), &[("app", "a"), ("role", "x"), ("more", "")]).unwrap());
        assert!(!check(both.clone(), &[("app", "a")]).unwrap());
        assert!(!check(both, &[("app", "a"), ("role", "y")]).unwrap());
        assert!(check(json!({}), &[]).unwrap());
    }

    #[test]
    fn operators() {
        for (operator, values, with_a, with_b, without) in [
            ("In", &["a"][..], true, false, false),
            ("NotIn", &["a"], false, true, true),
            ("Exists", &[], true, true, false),
            ("DoesNotExist", &[], false, false, true),
        ] {
            assert_eq!(check(expression(operator, values), &[("app", "a")]).unwrap(), with_a, "{operator} a");
            assert_eq!(check(expression(operator, values), &[("app", "b")]).unwrap(), with_b, "{operator} b");
            assert_eq!(check(expression(operator, values), &[]).unwrap(), without, "{operator} nothing");
        }
    }

    #[test]
    fn faulty_expressions_are_errors_whatever_the_labels() {
        assert!(check(expression("in", &["a"]), &[]).is_err());
        assert!(check(expression("In", &[]), &[]).is_err());
        assert!(check(expression("Exists", &["a"]), &[("app", "a")]).is_err());
        let mixed = json!({"matchLabels": {"x": "y"}, "matchExpressions": [{"key": "app", "operator": "Equals"}]});
        assert!(check(mixed, &[]).is_err());
    }
}
