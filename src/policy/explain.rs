//! Decisions in words, for reports and for `explain`.

use std::fmt;

use super::{Decision, DirectionReason, Reason, RuleRef};

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allow(reason) => f.write_str(&allowed(reason)),
            Self::Deny(reason) => f.write_str(&denied(reason)),
            Self::Undefined { reason, documentation } => write!(f, "undefined: {reason} ({documentation})"),
        }
    }
}

impl fmt::Display for RuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.policy, self.path)
    }
}

fn allowed(reason: &Reason) -> String {
    let sides = [&reason.egress, &reason.ingress];
    let mut parts: Vec<String> = sides
        .iter()
        .filter_map(|side| match side {
            DirectionReason::AllowedBy(rule) => Some(format!("by {rule}")),
            _ => None,
        })
        .collect();
    if sides.contains(&&DirectionReason::Itself) {
        parts.push("because a pod cannot block access to itself".to_owned());
    }
    if sides.contains(&&DirectionReason::OwnNode) {
        parts.push("because traffic from the pod's own node always is".to_owned());
    }
    if parts.is_empty() {
        let nobody = sides.iter().all(|side| **side == DirectionReason::NotAPod);
        parts.push(if nobody { "as no pod is involved" } else { "as no policy isolates it" }.to_owned());
    }
    format!("allowed {}", parts.join(" and "))
}

fn denied(reason: &Reason) -> String {
    [("egress", &reason.egress), ("ingress", &reason.ingress)]
        .into_iter()
        .filter_map(|(direction, side)| match side {
            DirectionReason::IsolatedBy(policies) => Some(isolated(direction, policies)),
            _ => None,
        })
        .collect::<Vec<_>>()
        .join("; ")
}

fn isolated(direction: &str, policies: &[String]) -> String {
    let rule = if policies.len() == 1 { "no rule allows it" } else { "no rule of theirs allows it" };
    format!("isolated for {direction} by {}, {rule}", policies.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(path: &str) -> DirectionReason {
        DirectionReason::AllowedBy(RuleRef { policy: "default/allow".to_owned(), path: path.to_owned() })
    }

    #[test]
    fn decisions_read_as_sentences() {
        use DirectionReason::{IsolatedBy, Itself, NotAPod, NotIsolated, OwnNode};
        let deny = || IsolatedBy(vec!["default/deny".to_owned()]);
        let two = || IsolatedBy(vec!["default/deny".to_owned(), "default/more".to_owned()]);
        for (decision, text) in [
            (Decision::Allow(Reason { egress: NotIsolated, ingress: NotIsolated }), "allowed as no policy isolates it"),
            (Decision::Allow(Reason { egress: NotAPod, ingress: NotAPod }), "allowed as no pod is involved"),
            (
                Decision::Allow(Reason { egress: rule("egress[0].to[0]"), ingress: NotAPod }),
                "allowed by default/allow egress[0].to[0]",
            ),
            (
                Decision::Allow(Reason { egress: rule("egress[1]"), ingress: rule("ingress[0].from[2]") }),
                "allowed by default/allow egress[1] and by default/allow ingress[0].from[2]",
            ),
            (
                Decision::Allow(Reason { egress: Itself, ingress: Itself }),
                "allowed because a pod cannot block access to itself",
            ),
            (
                Decision::Allow(Reason { egress: NotAPod, ingress: OwnNode }),
                "allowed because traffic from the pod's own node always is",
            ),
            (
                Decision::Deny(Reason { egress: deny(), ingress: NotAPod }),
                "isolated for egress by default/deny, no rule allows it",
            ),
            (
                Decision::Deny(Reason { egress: deny(), ingress: two() }),
                "isolated for egress by default/deny, no rule allows it; isolated for ingress by default/deny, \
                 default/more, no rule of theirs allows it",
            ),
            (
                Decision::Undefined { reason: "it is open".to_owned(), documentation: "https://example.org/" },
                "undefined: it is open (https://example.org/)",
            ),
        ] {
            assert_eq!(decision.to_string(), text);
        }
    }
}
