//! One change that was noticed: what, when, by whom, and over which gap. What a watch prints.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Serialize;

use super::{
    Severity,
    diff::{Change, UID},
    owner::Manager,
    rules::{Actor, Rules},
};

/// A change that was noticed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// When it was noticed, by the clock of whoever watches.
    pub time: Timestamp,
    /// What changed.
    #[serde(flatten)]
    pub change: Change,
    /// `added`, `removed`, `changed`, `node added`, `node removed`, `node made again`.
    pub what: &'static str,
    /// The node's UID.
    pub uid: String,
    /// The version of the object that has the change.
    pub resource_version: String,
    /// Who says that they did it. No proof.
    pub claimed: Vec<Manager>,
    /// Who did it, by an audit event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authenticated: Option<Authenticated>,
    /// Which rule authorises it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorised: Option<String>,
    /// The time without a watch in which it happened; then it is a net change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap: Option<Gap>,
}

/// Who made a request, as the API server knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Authenticated {
    /// The user.
    pub user: String,
    /// Whom the user impersonated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub impersonated: Option<String>,
    /// Where the request came from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// What the client called itself.
    pub agent: String,
    /// The event's `auditID`.
    #[serde(rename = "auditID")]
    pub audit_id: String,
}

/// A time without a watch.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    /// The last moment that is known to be watched; none where a baseline file is compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// When the node was seen again.
    pub until: Timestamp,
    /// Its length by a clock that nobody sets; none where another process began it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Why there was none.
    pub reason: String,
    /// The node's UID before; none where there was no node.
    #[serde(rename = "uidBefore")]
    pub uid_before: Option<String>,
    /// The node's UID after; none where there is no node.
    #[serde(rename = "uidAfter")]
    pub uid_after: Option<String>,
}

impl Report {
    /// Weighs it by the rules. `audited`: whether audit events are read.
    pub fn judge(&mut self, rules: &Rules, audited: bool) {
        let managers: Vec<&str> = self.claimed.iter().map(|manager| manager.name.as_str()).collect();
        let user = self.authenticated.as_ref().map(|by| by.user.as_str());
        let judgement = rules.judge(&self.change, Actor { audited, user, managers: &managers });
        self.change.severity = judgement.severity;
        self.authorised = judgement.authorised;
    }

    /// One line for people, without colours but the severity's.
    #[must_use]
    pub fn line(&self, audited: bool) -> String {
        use crate::report::theme::{self, paint, visible};
        let style = match self.change.severity {
            Severity::Critical => theme::BAD,
            Severity::Warning => theme::WARN,
            Severity::Notice | Severity::Info => theme::FAINT,
        };
        let severity = paint(style, &format!("{:8}", self.change.severity.as_str()));
        let mut text =
            format!("{:.3} {severity} {}: {}", self.time, visible(&self.change.node), visible(&said(&self.change)));
        // Writing to a text cannot fail.
        let _ = match (&self.authenticated, audited) {
            (Some(by), _) => {
                let whom = by.impersonated.as_ref().map(|whom| format!(" as {whom}")).unwrap_or_default();
                write!(text, "; by {}{whom} (authenticated)", visible(&by.user))
            }
            (None, true) => write!(text, "; no audit event says by whom"),
            (None, false) => Ok(()),
        };
        let claims: Vec<_> = self.claimed.iter().map(|manager| visible(&manager.name)).collect();
        let _ = match (claims.is_empty(), self.authenticated.is_some()) {
            (true, _) => Ok(()),
            (false, true) => write!(text, " with manager {}", claims.join(", ")),
            (false, false) => write!(text, "; manager {} (claimed)", claims.join(", ")),
        };
        if let Some(rule) = &self.authorised {
            let _ = write!(text, "; authorised: {}", visible(rule));
        }
        if let Some(gap) = &self.gap {
            let _ = write!(text, "; {}", gap.line());
        }
        text
    }
}

impl Gap {
    fn line(&self) -> String {
        let uid = |uid: &Option<String>| uid.clone().unwrap_or_else(|| "none".to_owned());
        let uids = format!("UID {} then {}", uid(&self.uid_before), uid(&self.uid_after));
        let Some(from) = self.from else { return format!("since {}, {uids}", self.reason) };
        let length = self.seconds.map(|seconds| format!(" of {seconds:.1} s")).unwrap_or_default();
        format!("net change over a gap{length}, {from:.3} to {:.3} ({}), {uids}", self.until, self.reason)
    }
}

/// A change in words.
#[must_use]
pub fn said(change: &Change) -> String {
    let Change { field, old, new, .. } = change;
    match (field.as_str(), old, new) {
        (UID, None, Some(uid)) => format!("node added, UID {uid}"),
        (UID, Some(uid), None) => format!("node removed, UID {uid}"),
        (UID, Some(old), Some(new)) => format!("node made again under its name, UID {old} then {new}"),
        (_, None, Some(new)) => format!("{field} added: {new:?}"),
        (_, Some(old), None) => format!("{field} removed: {old:?}"),
        (_, Some(old), Some(new)) => format!("{field} changed: {old:?} to {new:?}"),
        (_, None, None) => field.clone(),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::node::owner::ManagerKind;

    fn report() -> Report {
        let time = "2026-11-23T13:24:12.892Z".parse().unwrap();
        let change = Change {
            node: "node01".into(),
            field: "spec.taints[a:NoSchedule]".into(),
            old: None,
            new: Some("b".into()),
            severity: Severity::Critical,
        };
        let manager = Manager {
            name: "kubectl-taint".into(),
            kind: ManagerKind::Admin,
            operation: "Update".into(),
            subresource: String::new(),
            time: String::new(),
        };
        Report {
            time,
            what: change.what(),
            change,
            uid: "u".into(),
            resource_version: "7".into(),
            claimed: vec![manager],
            authenticated: None,
            authorised: None,
            gap: None,
        }
    }

    fn by(user: &str, impersonated: Option<&str>) -> Authenticated {
        Authenticated {
            user: user.into(),
            impersonated: impersonated.map(str::to_owned),
            addresses: Vec::new(),
            agent: String::new(),
            audit_id: "id".into(),
        }
    }

    #[test]
    fn a_line_says_what_is_claimed_and_what_is_known() {
        let gap = Gap {
            from: Some("2026-11-23T13:24:02Z".parse().unwrap()),
            until: "2026-11-23T13:24:12Z".parse().unwrap(),
            seconds: Some(10.0),
            reason: "too old resource version".into(),
            uid_before: Some("u".into()),
            uid_after: None,
        };
        let resumed = Gap { seconds: None, reason: "the watch was started again".into(), ..gap.clone() };
        let lines = [
            report().line(false),
            report().line(true),
            Report { authenticated: Some(by("anna", Some("system:node:x"))), ..report() }.line(true),
            Report { gap: Some(gap), authorised: Some("platform team".into()), ..report() }.line(false),
            Report { gap: Some(resumed), ..report() }.line(false),
        ];
        insta::assert_snapshot!(anstream::adapter::strip_str(&lines.join("\n")).to_string());
    }
}
