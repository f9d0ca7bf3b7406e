//! A baseline: what all nodes were at one time, as a file to be committed. A line a field, in a stable order, so that the
//! history of the file is the history of the nodes.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    diff::Nodes,
    file::{self, ApiVersion, PUBLISHED, check_fields, hinted, wrong_field, wrong_value},
    flat::Fields,
    state::Selection,
};
use crate::scenario::{
    Diagnostic, Diagnostics,
    document::{Document, Segment, at_path},
};

const FILE: &str = "node-baseline.schema.json";

/// What all nodes were at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Baseline {
    /// The version of the format.
    pub api_version: ApiVersion,
    /// `NodeBaseline`.
    pub kind: Kind,
    /// Patterns of fields that do not count, beside those that change by themselves; `*` stands for any characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leave_out: Vec<String>,
    /// Patterns of fields that count although they change by themselves or are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keep: Vec<String>,
    /// The nodes by name; of each its fields by path, all as text.
    pub nodes: BTreeMap<String, BTreeMap<String, String>>,
}

/// The kind of file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Kind {
    /// A baseline.
    #[default]
    NodeBaseline,
}

impl Baseline {
    /// Of these nodes.
    #[must_use]
    pub fn of(nodes: Nodes, selection: Selection) -> Self {
        Self { leave_out: selection.leave_out, keep: selection.keep, nodes, ..Self::default() }
    }

    /// Reads a file; warnings come with it.
    pub fn load(path: &Path) -> Result<(Self, Vec<Diagnostic>), Diagnostics> {
        file::read(path, "NodeBaseline", json_schema, check)
    }

    /// Which fields count.
    #[must_use]
    pub fn selection(&self) -> Selection {
        Selection { leave_out: self.leave_out.clone(), keep: self.keep.clone() }
    }

    /// Takes out the fields that do not count.
    #[must_use]
    pub fn reduced(mut self, selection: &Selection) -> Nodes {
        self.nodes.values_mut().for_each(|fields: &mut Fields| fields.retain(|field, _| selection.takes(field)));
        self.nodes
    }

    /// The file's text.
    ///
    /// # Errors
    /// Where a value cannot be written as YAML.
    pub fn to_yaml(&self) -> Result<String, serde_yaml::Error> {
        let mut text = format!("# yaml-language-server: $schema={PUBLISHED}{FILE}\n");
        // Writing to a text cannot fail.
        let _ = writeln!(text, "# Made by `policyprobe node snapshot`; `policyprobe node diff` compares with it.");
        Ok(text + &serde_yaml::to_string(self)?)
    }
}

/// The JSON Schema of baselines.
#[must_use]
pub fn json_schema() -> Value {
    file::schema_of::<Baseline>(FILE, "policyprobe node baseline")
}

fn check(document: &Document<'_>, baseline: &Baseline, faults: &mut Vec<Diagnostic>) {
    check_fields(document, &at_path![[]; "leaveOut"], &baseline.leave_out, faults);
    check_fields(document, &at_path![[]; "keep"], &baseline.keep, faults);
    for (name, fields) in &baseline.nodes {
        let node = at_path![[]; "nodes", name.as_str()];
        if !is_name(name) {
            let fault = document.error_at_key(&node, format!("`{name}` cannot be a node's name"));
            faults.push(fault.hint("names are lower-case letters, digits, dashes and dots"));
        }
        for (field, value) in fields {
            check_field(document, &node, field, value, faults);
        }
        let own = fields.get("metadata.name").filter(|own| *own != name);
        if let Some(own) = own {
            let fault = document.error(&at_path![node; "metadata.name"], format!("here it is `{own}`, above `{name}`"));
            faults.push(fault.hint("a node's name is its key and its `metadata.name`"));
        }
    }
}

fn check_field(document: &Document<'_>, node: &[Segment], field: &str, value: &str, faults: &mut Vec<Diagnostic>) {
    let place = at_path![node; field];
    if let Some((message, hint)) = wrong_field(field) {
        faults.push(hinted(document.error_at_key(&place, message), hint));
    } else if field.contains('*') {
        let fault = document.error_at_key(&place, "a field of a node has no `*`");
        faults.push(fault.hint("patterns go under `leaveOut` and `keep`"));
    } else if field.starts_with("spec.taints") && !is_taint(field) {
        let fault = document.error_at_key(&place, format!("`{field}` is no taint"));
        faults.push(fault.hint("taints are `spec.taints[KEY:EFFECT]`, with NoSchedule, PreferNoSchedule or NoExecute"));
    } else if let Some(wrong) = wrong_value(field, value) {
        faults.push(document.error(&place, format!("`{field}`: {wrong}")));
    }
}

fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    !name.is_empty()
        && name.len() <= 253
        && name.chars().all(|c| plain(c) || c == '-' || c == '.')
        && name.starts_with(plain)
        && name.ends_with(plain)
}

fn is_taint(field: &str) -> bool {
    let inner = field.strip_prefix("spec.taints[").and_then(|rest| rest.rsplit_once(']'));
    inner.is_some_and(|(inner, rest)| {
        let effect = inner.rsplit_once(':').map(|(_, effect)| effect);
        matches!(effect, Some("NoSchedule" | "PreferNoSchedule" | "NoExecute")) && ["", ".timeAdded"].contains(&rest)
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn load(text: &str) -> Result<(Baseline, Vec<Diagnostic>), Diagnostics> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nodes.yaml");
        std::fs::write(&path, text).unwrap();
        Baseline::load(&path)
    }

    #[test]
    fn nonsense_is_reported_with_its_places() {
        let text = "\
apiVersion: policyprobe.io/v1
kind: NodeBaseline
leaveOut: [metadata.lables*]
nodes:
  node01:
    metadata.uid: f5eb12a4
    spec.podCIDR: 10.244.1.0/240
    spec.taints[dedicated:NoShedule]: db
    spec.unschedulable: maybe
    banana: x
  Node_2:
    metadata.labels[a]: \"1\"
";
        let faults = load(text).unwrap_err();
        let said: Vec<String> = faults
            .0
            .iter()
            .map(|fault| {
                let place = fault.place.as_ref().unwrap();
                let hint = fault.hint.as_deref().unwrap_or("-");
                format!("{}:{} {} | {hint}", place.line, place.column, fault.message)
            })
            .collect();
        insta::assert_snapshot!(said.join("\n"));
    }

    #[test]
    fn a_value_that_is_no_text_is_an_error_with_a_hint() {
        let text = "apiVersion: policyprobe.io/v1\nkind: NodeBaseline\nnodes: {a: {\"metadata.labels[x]\": 1}}\n";
        let faults = load(text).unwrap_err();
        assert_eq!(faults.0[0].hint.as_deref(), Some("put the value in quotes"), "{faults}");
        for text in
            ["", "nodes: [", "kind: NodeRules\n", "apiVersion: policyprobe.io/v2\nkind: NodeBaseline\nnodes: {}"]
        {
            assert!(load(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            values in proptest::collection::btree_map("[a-z]{1,3}(/[a-z.]{1,4})?", any::<String>(), 0..6),
        ) {
            let label = |(key, value): (String, String)| {
                // Values are printable where they come from an API server.
                let value: String = value.chars().filter(|c| !c.is_control() && *c != '\u{feff}').collect();
                (format!("metadata.labels[{key}]"), value)
            };
            let fields: Fields = values.into_iter().map(label).collect();
            let nodes = Nodes::from([("a.b-c".to_owned(), fields)]);
            let baseline = Baseline::of(nodes, Selection { keep: vec!["status.images".to_owned()], ..Selection::default() });
            let text = baseline.to_yaml().unwrap();
            let (read, warnings) = load(&text).unwrap();
            prop_assert_eq!(read, baseline);
            prop_assert!(warnings.is_empty());
        }
    }
}
