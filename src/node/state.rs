//! A node at one moment: its fields, as far as they are wanted, and who set them.

use std::ops::Bound;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    flat::{Fields, flatten},
    owner::Managed,
    roots::known,
};
use crate::pattern;

/// Which fields count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Selection {
    /// Patterns of fields that are left out beside the volatile ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leave_out: Vec<String>,
    /// Patterns of fields that count although they are volatile or left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keep: Vec<String>,
}

impl Selection {
    /// Whether a field counts.
    #[must_use]
    pub fn takes(&self, field: &str) -> bool {
        pattern::any(&self.keep, field) || !(known(field).volatile || pattern::any(&self.leave_out, field))
    }

    /// What either says of fields.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.leave_out.extend(other.leave_out);
        self.keep.extend(other.keep);
        self
    }

    /// Every field.
    #[must_use]
    pub fn everything() -> Self {
        Self { leave_out: Vec::new(), keep: vec!["*".to_owned()] }
    }
}

/// A node at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NodeState {
    /// Its name.
    pub name: String,
    /// Its UID: another one is another node.
    pub uid: String,
    /// The version of the object.
    pub version: String,
    /// The fields that count.
    pub fields: Fields,
    /// Who set them.
    pub managed: Managed,
}

impl NodeState {
    /// A node as the API server sent it; none where it is no object with a name.
    #[must_use]
    pub fn of(mut node: Value, selection: &Selection) -> Option<Self> {
        let text = |key: &str| node["metadata"][key].as_str().unwrap_or_default().to_owned();
        let name = node["metadata"]["name"].as_str()?.to_owned();
        let (uid, version) = (text("uid"), text("resourceVersion"));
        let managed = Managed::take(&mut node);
        let fields = flatten(&node, &|field| selection.takes(field));
        Some(Self { name, uid, version, fields, managed })
    }

    /// A field's value.
    #[must_use]
    pub fn get(&self, field: &str) -> Option<&str> {
        self.fields.get(field).map(String::as_str)
    }

    /// The parts in brackets of the fields below a path, with their values.
    pub fn below<'a>(&'a self, path: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let fields = self
            .fields
            .range::<str, _>((Bound::Included(path), Bound::Unbounded))
            .take_while(move |(field, _)| field.starts_with(path));
        fields.filter_map(move |(field, value)| {
            let key = field.strip_prefix(path)?.strip_prefix('[')?.strip_suffix(']')?;
            Some((key, value.as_str()))
        })
    }

    /// How many items a field lists.
    #[must_use]
    pub fn count(&self, field: &str) -> usize {
        self.get(field).map_or(0, |list| list.split(", ").count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_maps_are_looked_into() {
        let fields = [("a", ""), ("a.b[c]", "d"), ("a[b[0]]", "1"), ("a[k]", "v"), ("ab[x]", ""), ("list", "1, 2, 3")];
        let fields = fields.map(|(field, value)| (field.to_owned(), value.to_owned())).into();
        let node = NodeState { fields, ..NodeState::default() };
        assert_eq!(node.below("a").collect::<Vec<_>>(), [("b[0]", "1"), ("k", "v")]);
        assert_eq!((node.count("list"), node.count("none"), node.get("a[k]")), (3, 0, Some("v")));
    }

    #[test]
    fn volatile_fields_are_left_out_unless_they_are_wanted() {
        let heartbeat = "status.conditions[Ready].lastHeartbeatTime";
        let mut selection = Selection::default();
        assert!(!selection.takes(heartbeat) && selection.takes("spec.podCIDR"));
        selection.leave_out = vec!["spec.*".to_owned()];
        assert!(!selection.takes("spec.podCIDR"));
        selection.keep = vec!["spec.podCIDR".to_owned(), "status.conditions[Ready]*".to_owned()];
        assert!(selection.takes("spec.podCIDR") && selection.takes(heartbeat));
        assert!(!selection.takes("spec.providerID"));
        assert!(Selection::everything().takes("status.images"));
    }
}
