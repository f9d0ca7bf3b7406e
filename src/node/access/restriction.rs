//! What a kubelet's identity may do to nodes: the Node authoriser and the admission plugin `NodeRestriction`, as they are
//! documented for each version of the API server.
//!
//! Sources: "Using Node Authorization" and "Admission Controllers" of <https://kubernetes.io/docs/reference/>, KEP-4601
//! for reads of other nodes, CVE-2025-5187 for owner references.

use serde_json::{Value, json};

use crate::engine::Verdict;

/// A server's version: minor and patch of 1.MINOR.PATCH.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

impl Version {
    /// From `v1.34.4-gke.7`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.strip_prefix("v1.")?.split(['.', '-', '+']).map(str::parse);
        Some(Self(numbers.next()?.ok()?, numbers.next().and_then(Result::ok).unwrap_or(0)))
    }
}

/// Which node a try is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The credential's own.
    Own,
    /// Another one.
    Other,
}

/// What should happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It is refused.
    Refused,
    /// It is let through, and has to be.
    Allowed,
    /// It is let through by design, and worth knowing.
    Notable,
}

impl Expected {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Refused => "refused: 403 Forbidden",
            Self::Allowed => "let through: kubelets need it",
            Self::Notable => "let through: Kubernetes lets kubelets do it",
        }
    }
}

/// One try with a node's credential.
#[derive(Clone, Debug)]
pub struct Case {
    /// In words.
    pub tried: &'static str,
    /// Which node.
    pub whose: Whose,
    /// The subresource.
    pub subresource: &'static str,
    /// The merge patch, sent with `dryRun=All`; a read where there is none.
    pub patch: Option<Value>,
    /// What should happen.
    pub expected: Expected,
    /// What somebody can do with it.
    pub matters: &'static str,
    /// How to close it.
    pub close: &'static str,
}

const ENABLE: &str = "add `NodeRestriction` to the API server's `--enable-admission-plugins`, and `Node` to its \
                      `--authorization-mode`; see that no binding gives the group `system:nodes` more";

/// The tries for a server of a version. `taints` are those that the own node has now.
#[must_use]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
pub fn cases(version: Version, taints: &Value) -> Vec<Case> {
    let own = |tried, patch: Value, expected, matters| Case {
        tried,
        whose: Whose::Own,
        subresource: "",
        patch: Some(patch),
        expected,
        matters,
        close: ENABLE,
    };
    let label = |key: &str| json!({"metadata": {"labels": {key: "x"}}});
    let taint = json!({"key": "policyprobe.io/try", "effect": "PreferNoSchedule"});
    let more: Vec<Value> = taints.as_array().into_iter().flatten().cloned().chain([taint.clone()]).collect();
    let draws = "a node that is taken over draws workloads to itself";
    let owner =
        json!([{"apiVersion": "v1", "kind": "Namespace", "name": "policyprobe-no-such", "uid": "policyprobe-no-such"}]);
    // Fixed in 1.31.12, 1.32.8 and 1.33.4.
    let guarded = match version {
        Version(..31, _) => false,
        Version(31, patch) => patch >= 12,
        Version(32, patch) => patch >= 8,
        Version(33, patch) => patch >= 4,
        Version(..) => true,
    };
    let mut cases = vec![
        Case {
            expected: Expected::Notable,
            close: "select nodes for isolation only by `node-restriction.kubernetes.io/` labels; an admission policy can \
                    refuse others from `system:nodes`",
            ..own(
                "set an unprefixed label of its own node, as `region` is",
                label("policyprobe-try"),
                Expected::Notable,
                draws,
            )
        },
        own(
            "set a node-restriction.kubernetes.io/ label of its own node",
            label("node-restriction.kubernetes.io/policyprobe"),
            Expected::Refused,
            draws,
        ),
        own(
            "set a kubernetes.io label outside the allowed set",
            label("policyprobe.kubernetes.io/try"),
            Expected::Refused,
            draws,
        ),
        own("set a k8s.io label outside the allowed set", label("policyprobe.k8s.io/try"), Expected::Refused, draws),
        own(
            "set the role label of a control plane on its own node",
            label("node-role.kubernetes.io/control-plane"),
            Expected::Refused,
            draws,
        ),
        own(
            "set an allowed kubelet.kubernetes.io/ label",
            label("kubelet.kubernetes.io/policyprobe"),
            Expected::Allowed,
            draws,
        ),
        own(
            "add a taint to its own node",
            json!({"spec": {"taints": more}}),
            Expected::Refused,
            "a node that is taken over keeps workloads away",
        ),
        own(
            "patch the status of its own node",
            json!({"metadata": {"annotations": {"policyprobe.io/try": "x"}}}),
            Expected::Allowed,
            draws,
        ),
        own(
            "make another object the owner of its own node",
            json!({"metadata": {"ownerReferences": owner}}),
            if guarded { Expected::Refused } else { Expected::Notable },
            "a node deletes itself by an owner that does not exist, and registers again without its taints (CVE-2025-5187)",
        ),
    ];
    if let Some(status) = cases.iter_mut().find(|case| case.tried.starts_with("patch the status")) {
        status.subresource = "status";
    }
    if taints.as_array().is_some_and(|taints| !taints.is_empty()) {
        cases.push(own(
            "remove the taints of its own node",
            json!({"spec": {"taints": null}}),
            Expected::Refused,
            draws,
        ));
    }
    let steers = "one node that is taken over steers all others";
    cases.push(Case {
        whose: Whose::Other,
        ..own("set a label of another node", label("policyprobe-try"), Expected::Refused, steers)
    });
    cases.push(Case {
        whose: Whose::Other,
        subresource: "status",
        ..own(
            "patch the status of another node",
            json!({"metadata": {"annotations": {"policyprobe.io/try": "x"}}}),
            Expected::Refused,
            steers,
        )
    });
    // `AuthorizeNodeWithSelectors` is on from 1.32 on.
    let reads = if version >= Version(32, 0) { Expected::Refused } else { Expected::Notable };
    cases.push(Case {
        whose: Whose::Other,
        patch: None,
        close: "use an API server of 1.32 or newer, where the Node authoriser lets kubelets read only their own node",
        ..own("read another node", Value::Null, reads, "one node that is taken over shows what all others run")
    });
    cases
}

/// What follows from an answer. `code` is the HTTP status.
#[must_use]
pub fn verdict(expected: Expected, code: u16) -> Verdict {
    match (expected, code) {
        // Stricter than it has to be is no fault.
        (Expected::Refused | Expected::Notable, 403) | (Expected::Allowed, 200..300) => Verdict::Pass,
        (Expected::Refused, 200..300) | (Expected::Allowed, 403) => Verdict::Fail,
        (Expected::Notable, 200..300) => Verdict::Recorded,
        _ => Verdict::Inconclusive,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn expected(version: Version, tried: &str) -> Expected {
        cases(version, &json!([])).into_iter().find(|case| case.tried.contains(tried)).unwrap().expected
    }

    #[test]
    fn expectations_go_by_the_servers_version() {
        assert_eq!(expected(Version(34, 4), "read another node"), Expected::Refused);
        assert_eq!(expected(Version(31, 9), "read another node"), Expected::Notable);
        assert_eq!(expected(Version(33, 3), "owner"), Expected::Notable);
        assert_eq!(expected(Version(33, 4), "owner"), Expected::Refused);
        assert_eq!(expected(Version(30, 14), "owner"), Expected::Notable);
        assert_eq!(expected(Version(34, 0), "unprefixed"), Expected::Notable);
    }

    #[test]
    fn versions_of_servers() {
        assert_eq!(Version::parse("v1.34.4-gke.7"), Some(Version(34, 4)));
        assert_eq!(Version::parse("v1.32"), Some(Version(32, 0)));
        assert_eq!(Version::parse("v2.0.0"), None);
    }

    #[test]
    fn taints_are_taken_away_only_where_there_are_some() {
        let taints = json!([{"key": "a", "effect": "NoSchedule"}]);
        let with = cases(Version(34, 0), &taints);
        assert_eq!(with.len(), cases(Version(34, 0), &json!([])).len() + 1);
        let added = with.iter().find(|case| case.tried.starts_with("add a taint")).unwrap();
        assert_eq!(added.patch.as_ref().unwrap()["spec"]["taints"][0]["key"], "a", "those that are there stay");
    }

    #[test]
    fn verdicts() {
        assert_eq!(verdict(Expected::Refused, 200), Verdict::Fail);
        assert_eq!(verdict(Expected::Notable, 200), Verdict::Recorded);
        assert_eq!(verdict(Expected::Refused, 422), Verdict::Inconclusive);
        assert_eq!(verdict(Expected::Allowed, 403), Verdict::Fail);
    }
}
