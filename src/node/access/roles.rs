//! Which binding and which rule gave a right, also where aggregation hides it. Pure.

use k8s_openapi::{
    api::rbac::v1::{ClusterRole, PolicyRule},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::ResourceExt as _;

use super::question::Question;

/// What gave a right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// In words: binding, role, and the role that was aggregated into it.
    pub rule: String,
    /// How to take it away.
    pub close: String,
}

/// What the RBAC authoriser says of a decision: `RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "r" to User "u"`.
fn named(reason: &str) -> Option<[&str; 4]> {
    let quoted: Vec<&str> = reason.split('"').collect();
    let kind = |at: usize| quoted.get(at)?.split_whitespace().next_back();
    let (binding_kind, role_kind) = (kind(0)?, kind(2)?);
    let known = binding_kind.ends_with("RoleBinding") && role_kind.ends_with("Role");
    known.then(|| [binding_kind, quoted[1], role_kind, quoted[3]])
}

/// What gave a right, from the authoriser's reason and all cluster roles.
#[must_use]
pub fn grant(question: &Question, reason: &str, roles: &[ClusterRole]) -> Option<Grant> {
    let [binding_kind, binding, role_kind, name] = named(reason)?;
    // That of a namespace is written `NAME/NAMESPACE`.
    let (binding, space) = binding.split_once('/').unwrap_or((binding, ""));
    let within = if space.is_empty() { String::new() } else { format!(" -n {space}") };
    let unbind = format!("kubectl delete {} {binding}{within}", binding_kind.to_lowercase());
    let bound = format!("{binding_kind} `{binding}` of {role_kind} `{name}`");
    let Some(own) = roles.iter().find(|known| role_kind == "ClusterRole" && known.name_any() == name) else {
        return Some(Grant { rule: bound, close: unbind });
    };
    // A role that is aggregated may be so itself: its rules come from where the chain ends.
    let mut from = Vec::new();
    let mut last = own;
    while let Some((source, selector)) = source(question, last, roles) {
        if source.name_any() == name
            || from.iter().any(|(known, _): &(&ClusterRole, _)| known.name_any() == source.name_any())
        {
            break;
        }
        from.push((source, labels(selector)));
        last = source;
    }
    let Some(rule) = allowing(question, last) else { return Some(Grant { rule: bound, close: unbind }) };
    Some(match from.last() {
        None => Grant {
            rule: format!("{bound}: {}", said(rule)),
            close: format!("take the rule out of ClusterRole `{name}`, or take away the binding (`{unbind}`)"),
        },
        Some((source, label)) => {
            let steps = from.iter().map(|(role, label)| {
                format!("into which ClusterRole `{}` is aggregated by its label {label}", role.name_any())
            });
            let source = source.name_any();
            Grant {
                rule: format!("{bound}, {}: {}", steps.collect::<Vec<_>>().join(", "), said(rule)),
                close: format!(
                    "take the rule out of ClusterRole `{source}`, or its label off (`kubectl label clusterrole {source} {}-`); \
                     or take away the binding (`{unbind}`)",
                    label.split('=').next().unwrap_or_default()
                ),
            }
        }
    })
}

/// The role that is aggregated into another and brings a right, with the selector that takes it in.
fn source<'a>(
    question: &Question,
    into: &'a ClusterRole,
    roles: &'a [ClusterRole],
) -> Option<(&'a ClusterRole, &'a LabelSelector)> {
    let selectors: Vec<_> =
        into.aggregation_rule.iter().flat_map(|rule| rule.cluster_role_selectors.iter().flatten()).collect();
    roles.iter().filter(|other| other.name_any() != into.name_any()).find_map(|other| {
        let selector = selectors.iter().find(|selector| selects(selector, other))?;
        allowing(question, other).map(|_| (other, *selector))
    })
}

/// The rule of a role that allows it.
fn allowing<'a>(question: &Question, role: &'a ClusterRole) -> Option<&'a PolicyRule> {
    let resource = match question.subresource {
        "" => question.resource.to_owned(),
        subresource => format!("{}/{subresource}", question.resource),
    };
    let any = format!("*/{}", question.subresource);
    role.rules.iter().flatten().find(|rule| {
        let has = |list: Option<&Vec<String>>, words: &[&str]| {
            list.into_iter().flatten().any(|item| item == "*" || words.contains(&item.as_str()))
        };
        let names = rule.resource_names.as_ref().filter(|names| !names.is_empty());
        has(Some(&rule.verbs), &[question.verb])
            && has(rule.api_groups.as_ref(), &[question.group])
            && has(rule.resources.as_ref(), &[&resource, &any])
            && names.is_none_or(|names| names.iter().any(|name| name == question.name))
    })
}

fn selects(selector: &LabelSelector, role: &ClusterRole) -> bool {
    let labels = role.labels();
    let wanted = selector.match_labels.iter().flatten();
    // Nobody aggregates by expressions; one that does is not explained, and found all the same.
    selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
        && wanted.clone().count() > 0
        && wanted.into_iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn labels(selector: &LabelSelector) -> String {
    let labels = selector.match_labels.iter().flatten().map(|(key, value)| format!("{key}={value}"));
    labels.collect::<Vec<_>>().join(",")
}

fn said(rule: &PolicyRule) -> String {
    let list = |items: Option<&Vec<String>>| items.map(|items| items.join(", ")).unwrap_or_default();
    format!("verbs {} on {}", rule.verbs.join(", "), list(rule.resources.as_ref()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::node::access::question::QUESTIONS;

    fn roles() -> Vec<ClusterRole> {
        let role = |value: serde_json::Value| serde_json::from_value(value).unwrap();
        vec![
            role(json!({"metadata": {"name": "monitor"}, "rules": [],
                "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"example.com/to-monitor": "true"}}]}})),
            role(json!({"metadata": {"name": "reader", "labels": {"example.com/to-monitor": "true"}},
                "rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}]})),
            role(json!({"metadata": {"name": "between", "labels": {"example.com/to-monitor": "true"}},
                "rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["delete"]}],
                "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"example.com/to-between": "yes"}}]}})),
            role(json!({"metadata": {"name": "deepest", "labels": {"example.com/to-between": "yes"}},
                "rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["delete"]}]})),
            role(json!({"metadata": {"name": "hidden", "labels": {"example.com/to-monitor": "true"}},
                "rules": [{"apiGroups": [""], "resources": ["nodes", "nodes/status"], "verbs": ["patch"]}]})),
            role(
                json!({"metadata": {"name": "all"}, "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]}),
            ),
        ]
    }

    fn question(words: &str) -> &'static Question {
        QUESTIONS.iter().find(|question| question.words() == words).unwrap()
    }

    #[test]
    fn what_is_hidden_by_aggregation_is_named() {
        let reason =
            r#"RBAC: allowed by ClusterRoleBinding "mon" of ClusterRole "monitor" to ServiceAccount "default/shop""#;
        let grant = grant(question("patch nodes/status"), reason, &roles()).unwrap();
        assert!(
            grant.rule.contains("ClusterRole `hidden` is aggregated by its label example.com/to-monitor=true"),
            "{grant:?}"
        );
        assert!(grant.close.contains("kubectl label clusterrole hidden example.com/to-monitor-"), "{grant:?}");
        assert!(grant.close.contains("kubectl delete clusterrolebinding mon"), "{grant:?}");
    }

    #[test]
    fn what_is_hidden_twice_is_followed_to_where_it_comes_from() {
        let reason =
            r#"RBAC: allowed by ClusterRoleBinding "mon" of ClusterRole "monitor" to ServiceAccount "default/shop""#;
        let grant = grant(question("delete nodes"), reason, &roles()).unwrap();
        assert!(
            grant.rule.contains("`between` is aggregated") && grant.rule.contains("`deepest` is aggregated"),
            "{grant:?}"
        );
        assert!(grant.close.contains("kubectl label clusterrole deepest example.com/to-between-"), "{grant:?}");
    }

    #[test]
    fn plain_bindings_are_named_with_their_rule() {
        let reason = r#"RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "all" to Group "g""#;
        let grant = grant(question("list secrets in kube-system"), reason, &roles()).unwrap();
        assert_eq!(grant.rule, "ClusterRoleBinding `b` of ClusterRole `all`: verbs * on *");
        let reason = r#"RBAC: allowed by RoleBinding "b/kube-system" of Role "r" to User "u""#;
        let grant = super::grant(question("get nodes"), reason, &roles()).unwrap();
        assert_eq!(grant.rule, "RoleBinding `b` of Role `r`");
        assert_eq!(grant.close, "kubectl delete rolebinding b -n kube-system");
        assert_eq!(super::grant(question("get nodes"), "webhook says so", &roles()), None);
    }
}
