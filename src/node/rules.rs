//! What is authorised, and how much a change matters, as a file says it. Pure but for reading that file.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Severity,
    diff::Change,
    file::{self, ApiVersion, check_fields},
    state::Selection,
};
use crate::{
    pattern,
    scenario::{
        Diagnostic, Diagnostics,
        document::{Document, at_path},
    },
};

const FILE: &str = "node-rules.schema.json";

/// Rules about changes of nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Rules {
    /// The version of the format.
    pub api_version: ApiVersion,
    /// `NodeRules`.
    pub kind: Kind,
    /// Patterns of fields that do not count, beside those that change by themselves; `*` stands for any characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leave_out: Vec<String>,
    /// Patterns of fields that count although they change by themselves or are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keep: Vec<String>,
    /// How much a change matters; of several rules for a field the first counts, and without one the built-in severity.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub severity: Vec<SeverityRule>,
    /// Who may change what. An authorised change has the severity `info`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorised: Vec<Authorised>,
}

/// The kind of file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Kind {
    /// Rules.
    #[default]
    NodeRules,
}

/// How much a change of a field matters.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SeverityRule {
    /// A pattern of fields.
    pub field: String,
    /// The severity.
    pub severity: Severity,
}

/// Who may change what: one of `users` and one of `managers`, where they are given, on one of `nodes`, one of `fields`
/// or a label under one of `labelPrefixes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Authorised {
    /// What is meant, for reports.
    pub name: String,
    /// Patterns of authenticated users, as API audit events name them. Without audit events such a rule authorises
    /// nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
    /// Patterns of field managers. A client chooses its manager's name, so that with audit events a rule needs `users`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub managers: Vec<String>,
    /// Patterns of nodes; all where nothing is said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
    /// Patterns of fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    /// Beginnings of label keys, such as `topology.kubernetes.io/`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub label_prefixes: Vec<String>,
}

/// Who made a change, as far as it is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Actor<'a> {
    /// Whether there are audit events: then a claim alone counts for nothing.
    pub audited: bool,
    /// The authenticated user.
    pub user: Option<&'a str>,
    /// The field managers that claim it.
    pub managers: &'a [&'a str],
}

/// What the rules say of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// How much it matters.
    pub severity: Severity,
    /// The name of the rule that authorises it.
    pub authorised: Option<String>,
}

impl Rules {
    /// Reads a file; warnings come with it.
    pub fn load(path: &Path) -> Result<(Self, Vec<Diagnostic>), Diagnostics> {
        file::read(path, "NodeRules", json_schema, check)
    }

    /// Which fields count.
    #[must_use]
    pub fn selection(&self) -> Selection {
        Selection { leave_out: self.leave_out.clone(), keep: self.keep.clone() }
    }

    /// Weighs a change.
    #[must_use]
    pub fn judge(&self, change: &Change, actor: Actor<'_>) -> Judgement {
        if let Some(rule) = self.authorised.iter().find(|rule| rule.covers(change) && rule.admits(actor)) {
            return Judgement { severity: Severity::Info, authorised: Some(rule.name.clone()) };
        }
        let rule = self.severity.iter().find(|rule| pattern::matches(&rule.field, &change.field));
        Judgement { severity: rule.map_or(change.severity, |rule| rule.severity), authorised: None }
    }

    /// The rules that can authorise nothing, because only proof counts and they ask for none.
    pub fn unproven(&self) -> impl Iterator<Item = &str> {
        self.authorised.iter().filter(|rule| rule.users.is_empty()).map(|rule| rule.name.as_str())
    }
}

impl Authorised {
    fn covers(&self, change: &Change) -> bool {
        let node = self.nodes.is_empty() || pattern::any(&self.nodes, &change.node);
        let label = change.field.strip_prefix("metadata.labels[").is_some_and(|key| {
            self.label_prefixes.iter().any(|prefix| key.trim_end_matches(']').starts_with(prefix.as_str()))
        });
        node && (label || pattern::any(&self.fields, &change.field))
    }

    fn admits(&self, actor: Actor<'_>) -> bool {
        let claimed =
            self.managers.is_empty() || actor.managers.iter().any(|manager| pattern::any(&self.managers, manager));
        let proved = actor.user.is_some_and(|user| pattern::any(&self.users, user));
        claimed && if actor.audited || !self.users.is_empty() { proved } else { true }
    }
}

/// The JSON Schema of rules.
#[must_use]
pub fn json_schema() -> Value {
    file::schema_of::<Rules>(FILE, "policyprobe node rules")
}

fn check(document: &Document<'_>, rules: &Rules, faults: &mut Vec<Diagnostic>) {
    check_fields(document, &at_path![[]; "leaveOut"], &rules.leave_out, faults);
    check_fields(document, &at_path![[]; "keep"], &rules.keep, faults);
    for (index, rule) in rules.severity.iter().enumerate() {
        if let Some((message, hint)) = file::wrong_field(&rule.field) {
            faults.push(document.error(&at_path![[]; "severity", index, "field"], message).hint(hint));
        }
    }
    for (index, rule) in rules.authorised.iter().enumerate() {
        let place = at_path![[]; "authorised", index];
        check_fields(document, &at_path![place; "fields"], &rule.fields, faults);
        if rule.users.is_empty() && rule.managers.is_empty() {
            let fault = document.error(&place, format!("`{}` authorises everybody", rule.name));
            faults.push(fault.hint("name `users` or `managers`; `users: [\"*\"]` is everybody with a name"));
        }
        if rule.fields.is_empty() && rule.label_prefixes.is_empty() {
            let fault = document.error(&place, format!("`{}` authorises nothing", rule.name));
            faults.push(fault.hint("name `fields` or `labelPrefixes`"));
        }
        for (at, prefix) in rule.label_prefixes.iter().enumerate() {
            if prefix.is_empty() || prefix.contains(['*', '[', ' ']) || prefix.starts_with("metadata.") {
                let fault =
                    document.error(&at_path![place; "labelPrefixes", at], format!("`{prefix}` begins no label"));
                faults.push(fault.hint("write the beginning of the key alone, such as `topology.kubernetes.io/`"));
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const TEXT: &str = "\
apiVersion: policyprobe.io/v1
kind: NodeRules
severity:
  - {field: \"metadata.labels[region]\", severity: notice}
authorised:
  - {name: autoscaler, managers: [autoscaler], fields: [\"spec.taints[*]\"]}
  - {name: platform team, users: [\"team:*\"], nodes: [\"pool-a-*\"], labelPrefixes: [example.com/]}
";

    fn load(text: &str) -> Result<Rules, Diagnostics> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rules.yaml");
        std::fs::write(&path, text).unwrap();
        Rules::load(&path).map(|(rules, _)| rules)
    }

    fn change(node: &str, field: &str) -> Change {
        Change {
            node: node.into(),
            field: field.into(),
            old: None,
            new: Some("x".into()),
            severity: Severity::Critical,
        }
    }

    fn judged(node: &str, field: &str, actor: Actor<'_>) -> (Severity, Option<String>) {
        let Judgement { severity, authorised } = load(TEXT).unwrap().judge(&change(node, field), actor);
        (severity, authorised)
    }

    #[test]
    fn a_claim_counts_only_where_nothing_proves_more() {
        let taint = "spec.taints[a:NoSchedule]";
        let claims = Actor { managers: &["autoscaler"], ..Actor::default() };
        assert_eq!(judged("n", taint, claims), (Severity::Info, Some("autoscaler".into())));
        let audited = Actor { audited: true, user: Some("mallory"), ..claims };
        assert_eq!(judged("n", taint, audited), (Severity::Critical, None), "a claimed manager is no proof");
        assert_eq!(
            judged("n", taint, Actor { managers: &["kubectl"], ..Actor::default() }),
            (Severity::Critical, None)
        );
    }

    #[test]
    fn users_are_believed_only_when_authenticated() {
        let label = "metadata.labels[example.com/team]";
        let proved = Actor { audited: true, user: Some("team:anna"), ..Actor::default() };
        assert_eq!(judged("pool-a-1", label, proved), (Severity::Info, Some("platform team".into())));
        assert_eq!(judged("pool-b-1", label, proved), (Severity::Critical, None));
        assert_eq!(judged("pool-a-1", "metadata.labels[other/x]", proved), (Severity::Critical, None));
        assert_eq!(judged("pool-a-1", label, Actor::default()), (Severity::Critical, None));
        let gap = Actor { audited: true, ..Actor::default() };
        assert_eq!(judged("pool-a-1", label, gap), (Severity::Critical, None));
    }

    #[test]
    fn severities_can_be_set_by_field() {
        assert_eq!(judged("n", "metadata.labels[region]", Actor::default()), (Severity::Notice, None));
        assert_eq!(load(TEXT).unwrap().unproven().collect::<Vec<_>>(), ["autoscaler"]);
    }

    #[test]
    fn faults_have_places() {
        let text = "\
apiVersion: policyprobe.io/v1
kind: NodeRules
severity:
  - {field: metadata.label, severity: grave}
authorised:
  - name: nobody
    fields: [spec.taint*]
    labelPrefixes: [\"metadata.labels[a]\"]
  - {name: nothing, users: [a], feilds: []}
";
        let faults = load(text).unwrap_err();
        assert_eq!(faults.counts().0, 2, "{faults}");
        let shown = faults.to_string();
        assert!(shown.contains(":4:39") && shown.contains("`severity[0].severity` cannot be `grave`"), "{shown}");
        assert!(shown.contains(":9:33") && shown.contains("did you mean `fields`"), "{shown}");
        let faults = load(&text.replace("grave", "info").replace(", feilds: []", "")).unwrap_err();
        let places: Vec<_> = faults.0.iter().map(|fault| fault.place.as_ref().unwrap().line).collect();
        assert_eq!(places, [4, 6, 8, 9], "{faults}");
    }
}
