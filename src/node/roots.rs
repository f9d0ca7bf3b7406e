//! Where fields of a node begin, and what is known of a field by that.

use std::{collections::HashMap, sync::LazyLock};

use super::catalogue::{CATALOGUE, Known};
use crate::pattern;

/// Where fields of a node begin: what patterns in files are checked against.
pub const ROOTS: [&str; 31] = [
    "metadata.name",
    "metadata.uid",
    "metadata.creationTimestamp",
    "metadata.deletionTimestamp",
    "metadata.deletionGracePeriodSeconds",
    "metadata.generation",
    "metadata.resourceVersion",
    "metadata.finalizers",
    "metadata.ownerReferences",
    "metadata.labels",
    "metadata.annotations",
    "spec.podCIDR",
    "spec.podCIDRs",
    "spec.providerID",
    "spec.unschedulable",
    "spec.taints",
    "spec.externalID",
    "spec.configSource",
    "status.addresses",
    "status.allocatable",
    "status.capacity",
    "status.conditions",
    "status.config",
    "status.daemonEndpoints",
    "status.features",
    "status.images",
    "status.nodeInfo",
    "status.phase",
    "status.runtimeHandlers",
    "status.volumesAttached",
    "status.volumesInUse",
];

/// The beginning of a field or pattern that must be one of [`ROOTS`], where anything can be said of it.
#[must_use]
pub fn unknown_root(field: &str) -> Option<&str> {
    let end = field.find(['*', '[']).unwrap_or(field.len());
    let (head, open) = (&field[..end], end < field.len() && field[end..].starts_with('*'));
    // With a star any beginning of a root will do.
    let fits = |root: &str| {
        head.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            || (open && root.starts_with(head))
    };
    let newer = ["status.", "spec."].iter().any(|part| head.starts_with(part) && head.len() > part.len());
    // Servers newer than this program have more fields in spec and status; a near miss is a mistake all the same.
    let near = crate::scenario::nearest(head, ROOTS).is_some();
    (!ROOTS.iter().any(|root| fits(root)) && (near || !newer)).then_some(head)
}

/// The part of a field that is one of [`ROOTS`], if any is.
fn root(field: &str) -> &str {
    let mut ends = field.bytes().zip(0..).filter(|(byte, _)| matches!(byte, b'.' | b'['));
    &field[..ends.nth(1).map_or(field.len(), |(_, at)| at)]
}

/// The entries that may match fields of each root: asked of every field of thousands of nodes, most entries are for others.
static BY_ROOT: LazyLock<HashMap<&str, Vec<&Known>>> = LazyLock::new(|| {
    let fits = |root: &str, known: &Known| {
        let head = known.pattern.split('*').next().unwrap_or_default();
        head.starts_with(root) || root.starts_with(head)
    };
    ROOTS.map(|root| (root, CATALOGUE.iter().filter(|known| fits(root, known)).collect())).into()
});

/// What is known of a field.
#[must_use]
pub fn known(field: &str) -> &'static Known {
    let fallback = &CATALOGUE[CATALOGUE.len() - 1];
    let matches = |known: &&'static Known| pattern::matches(known.pattern, field);
    match BY_ROOT.get(root(field)) {
        Some(entries) => entries.iter().copied().find(matches),
        None => CATALOGUE.iter().find(matches),
    }
    .unwrap_or(fallback)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Severity::{Critical, Info, Warning};

    #[test]
    fn a_taint_is_not_a_heartbeat() {
        assert_eq!(known("spec.taints[a:NoSchedule]").severity, Critical);
        assert_eq!(known("metadata.labels[node-role.kubernetes.io/control-plane]").severity, Critical);
        assert_eq!(known("spec.providerID").severity, Critical);
        assert_eq!(known("spec.podCIDR").severity, Critical);
        assert_eq!(known("metadata.labels[team]").severity, Warning);
        let heartbeat = known("status.conditions[Ready].lastHeartbeatTime");
        assert!(heartbeat.volatile && heartbeat.severity == Info);
        assert!(!known("status.conditions[Ready].status").volatile);
        assert_eq!(known("brandNew").title, "other");
    }

    #[test]
    fn a_root_leaves_out_nothing_that_matches() {
        let more =
            ["x", "brandNew.y", "metadata", "metadata.x[a]", "spec.taintsOf[a]", "status.nodeInfo", "spec.podCIDRs"];
        let examples =
            CATALOGUE.iter().flat_map(|entry| ["", "x", "[a.b/c]", ".d"].map(|it| entry.pattern.replace('*', it)));
        for field in examples.chain(more.map(str::to_owned)) {
            let first = CATALOGUE.iter().find(|entry| pattern::matches(entry.pattern, &field));
            assert_eq!(first.map(|entry| entry.pattern), Some(known(&field).pattern), "{field}");
        }
        assert_eq!(root("metadata.labels[a.b/c]"), "metadata.labels");
    }

    #[test]
    fn mistyped_fields_are_noticed() {
        for good in
            ["spec.podCIDR", "metadata.labels[a]", "metadata.labels*", "*", "spec.*", "status.brandNew", "meta*"]
        {
            assert_eq!(unknown_root(good), None, "{good}");
        }
        assert_eq!(unknown_root("metadata.lables[a]"), Some("metadata.lables"));
        assert_eq!(unknown_root("spec.podCidr"), Some("spec.podCidr"));
        assert_eq!(unknown_root("labels[a]"), Some("labels"));
    }
}
