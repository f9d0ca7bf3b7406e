//! What differs between two states of a node, or of all nodes. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Severity, flat::Fields, roots::known};

/// The field whose change says that a node came, went or was made again.
pub const UID: &str = "metadata.uid";

/// One changed field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The node.
    pub node: String,
    /// The field.
    pub field: String,
    /// What it was; none where it was not there.
    pub old: Option<String>,
    /// What it is; none where it is gone.
    pub new: Option<String>,
    /// How much it matters.
    pub severity: Severity,
}

impl Change {
    fn new(node: &str, field: &str, old: Option<&String>, new: Option<&String>) -> Self {
        let severity = match (field, old, new) {
            // Nodes come and go where there is an autoscaler; one made again under a name is somebody else.
            (UID, Some(_), Some(_)) => Severity::Critical,
            (UID, ..) => Severity::Warning,
            _ => known(field).severity,
        };
        Self { node: node.to_owned(), field: field.to_owned(), old: old.cloned(), new: new.cloned(), severity }
    }

    /// A node that was not there before.
    #[must_use]
    pub fn added(node: &str, uid: &str) -> Self {
        Self::new(node, UID, None, Some(&uid.to_owned()))
    }

    /// A node that is gone.
    #[must_use]
    pub fn removed(node: &str, uid: &str) -> Self {
        Self::new(node, UID, Some(&uid.to_owned()), None)
    }

    /// What happened, in a word or two.
    #[must_use]
    pub fn what(&self) -> &'static str {
        match (self.field.as_str(), &self.old, &self.new) {
            (UID, None, _) => "node added",
            (UID, _, None) => "node removed",
            (UID, ..) => "node made again",
            (_, None, _) => "added",
            (_, _, None) => "removed",
            _ => "changed",
        }
    }
}

/// The fields of a node that differ, in the order of their paths.
#[must_use]
pub fn fields(node: &str, old: &Fields, new: &Fields) -> Vec<Change> {
    let gone = old.iter().filter(|(field, _)| !new.contains_key(*field));
    let mut changes: Vec<_> = gone.map(|(field, value)| Change::new(node, field, Some(value), None)).collect();
    for (field, value) in new {
        let before = old.get(field);
        if before != Some(value) {
            changes.push(Change::new(node, field, before, Some(value)));
        }
    }
    changes.sort_by(|a, b| a.field.cmp(&b.field));
    changes
}

/// All nodes, by name.
pub type Nodes = BTreeMap<String, Fields>;

/// Compares with a state node by node, so that the other side need not be in memory.
#[derive(Debug)]
pub struct Comparison<'a> {
    rest: BTreeMap<&'a str, &'a Fields>,
}

impl<'a> Comparison<'a> {
    /// With this state.
    #[must_use]
    pub fn with(old: &'a Nodes) -> Self {
        Self { rest: old.iter().map(|(name, fields)| (name.as_str(), fields)).collect() }
    }

    /// What differs in one node of the other side.
    pub fn next(&mut self, name: &str, new: &Fields) -> Vec<Change> {
        match self.rest.remove(name) {
            Some(old) => fields(name, old, new),
            None => vec![Change::added(name, new.get(UID).map_or("", String::as_str))],
        }
    }

    /// The nodes that the other side does not have.
    #[must_use]
    pub fn end(self) -> Vec<Change> {
        let uid = |fields: &Fields| fields.get(UID).cloned().unwrap_or_default();
        self.rest.into_iter().map(|(name, fields)| Change::removed(name, &uid(fields))).collect()
    }
}

/// What differs between two states.
#[must_use]
pub fn nodes(old: &Nodes, new: &Nodes) -> Vec<Change> {
    let mut comparison = Comparison::with(old);
    let mut changes: Vec<_> = new.iter().flat_map(|(name, fields)| comparison.next(name, fields)).collect();
    changes.extend(comparison.end());
    changes.sort_by(|a, b| (&a.node, &a.field).cmp(&(&b.node, &b.field)));
    changes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn state(nodes: &[(&str, &[(&str, &str)])]) -> Nodes {
        let fields = |fields: &[(&str, &str)]| fields.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        nodes.iter().map(|(name, list)| ((*name).to_owned(), fields(list))).collect()
    }

    #[test]
    fn nodes_that_come_and_go_take_a_line_and_not_one_a_field() {
        let old = state(&[("a", &[(UID, "1"), ("spec.podCIDR", "x")]), ("b", &[(UID, "2")])]);
        let new = state(&[("b", &[(UID, "3")]), ("c", &[(UID, "4"), ("spec.podCIDR", "y")])]);
        let said: Vec<_> = nodes(&old, &new).iter().map(|c| (c.node.clone(), c.what(), c.severity)).collect();
        assert_eq!(
            said,
            [
                ("a".to_owned(), "node removed", Severity::Warning),
                ("b".to_owned(), "node made again", Severity::Critical),
                ("c".to_owned(), "node added", Severity::Warning),
            ]
        );
    }

    fn any_fields() -> impl Strategy<Value = Fields> {
        proptest::collection::btree_map("[a-d]", "[x-z]?", 0..4)
    }

    proptest! {
        #[test]
        fn changes_turn_the_old_into_the_new(old in any_fields(), new in any_fields()) {
            let mut patched = old.clone();
            for change in fields("n", &old, &new) {
                prop_assert_eq!(old.get(&change.field), change.old.as_ref());
                prop_assert_ne!(&change.old, &change.new);
                match change.new {
                    Some(value) => patched.insert(change.field, value),
                    None => patched.remove(&change.field),
                };
            }
            prop_assert_eq!(patched, new);
        }

        #[test]
        fn equal_states_have_no_changes(fields_of in any_fields()) {
            prop_assert!(fields("n", &fields_of, &fields_of).is_empty());
        }
    }
}
