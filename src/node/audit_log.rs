//! API audit events (`audit.k8s.io/v1`) of writes to nodes, and which change belongs to which event. Pure.
//!
//! With `level: RequestResponse` an event has the resource version that the write made, and belongs to exactly one
//! change. With less it belongs to the only change of its node that waits for one, if there is only one.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use serde_json::Value;

use super::report::{Authenticated, Report};

/// A write to a node that the API server let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The node.
    pub node: String,
    /// The version that it made; none where the event has no response, and for deletions.
    pub version: Option<String>,
    /// Whether it deleted the node.
    pub deletes: bool,
    /// Who it was.
    pub by: Authenticated,
}

/// The writes to nodes in a line of a log: an event, or a list of events as a webhook gets it.
///
/// # Errors
/// Where the line is no audit event.
pub fn parse(line: &str) -> Result<Vec<Write>, String> {
    let value: Value = serde_json::from_str(line).map_err(|error| format!("this is no JSON: {error}"))?;
    match value["kind"].as_str() {
        Some("Event") => Ok(write(&value).into_iter().collect()),
        Some("EventList") => Ok(value["items"].as_array().into_iter().flatten().filter_map(write).collect()),
        _ => Err("this is no audit event: `kind` is neither Event nor EventList".to_owned()),
    }
}

fn write(event: &Value) -> Option<Write> {
    let verb = event["verb"].as_str()?;
    let object = &event["objectRef"];
    let tried = event["requestURI"].as_str().is_some_and(|uri| uri.contains("dryRun="));
    let done = event["stage"] == "ResponseComplete" && (200..300).contains(&event["responseStatus"]["code"].as_u64()?);
    let writes = ["create", "update", "patch", "delete", "deletecollection"].contains(&verb);
    if object["resource"] != "nodes" || !writes || !done || tried {
        return None;
    }
    let response = &event["responseObject"]["metadata"];
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let deletes = verb.starts_with("delete");
    Some(Write {
        // A creation has its name in the object alone.
        node: text(&object["name"]).or_else(|| text(&response["name"])).unwrap_or_default(),
        version: text(&response["resourceVersion"]).filter(|_| !deletes),
        deletes,
        by: Authenticated {
            user: text(&event["user"]["username"])?,
            impersonated: text(&event["impersonatedUser"]["username"]),
            addresses: event["sourceIPs"].as_array().into_iter().flatten().filter_map(text).collect(),
            agent: text(&event["userAgent"]).unwrap_or_default(),
            audit_id: text(&event["auditID"]).unwrap_or_default(),
        },
    })
}

/// How many writes are remembered for changes that have not been noticed yet.
const REMEMBERED: usize = 10_000;

/// Brings changes and writes together, in the order of the changes.
#[derive(Debug)]
pub struct Correlator {
    patience: Duration,
    versions: HashMap<(String, String), Authenticated>,
    others: Vec<Write>,
    order: VecDeque<(String, String)>,
    waiting: VecDeque<(Duration, Report)>,
}

impl Correlator {
    /// Changes wait so long for their event.
    #[must_use]
    pub fn new(patience: Duration) -> Self {
        Self {
            patience,
            versions: HashMap::new(),
            others: Vec::new(),
            order: VecDeque::new(),
            waiting: VecDeque::new(),
        }
    }

    /// A write, from the log.
    pub fn write(&mut self, write: Write) {
        let Some(version) = write.version else {
            self.others.push(write);
            if self.others.len() > REMEMBERED {
                self.others.remove(0);
            }
            return;
        };
        let key = (write.node, version);
        self.versions.insert(key.clone(), write.by);
        self.order.push_back(key);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.versions.remove(&oldest);
        }
    }

    /// A change, noticed at this time since the start.
    pub fn notice(&mut self, report: Report, now: Duration) {
        // Nobody wrote a net change as such.
        let wait = if report.gap.is_some() { Duration::ZERO } else { self.patience };
        self.waiting.push_back((now + wait, report));
    }

    /// The changes that need wait no longer. Who made them is filled in where it is known.
    pub fn ready(&mut self, now: Duration) -> Vec<Report> {
        let mut ready = Vec::new();
        while let Some((until, report)) = self.waiting.front() {
            let by = self.who(report);
            if by.is_none() && *until > now {
                break;
            }
            if let Some((_, report)) = self.waiting.pop_front() {
                ready.push(Report { authenticated: by, ..report });
            }
        }
        ready
    }

    fn who(&self, report: &Report) -> Option<Authenticated> {
        if report.gap.is_some() {
            return None;
        }
        let key = (report.change.node.clone(), report.resource_version.clone());
        if let Some(by) = self.versions.get(&key) {
            return Some(by.clone());
        }
        let deletes = report.what == "node removed";
        let mut writes = self.others.iter().filter(|write| write.node == key.0 && write.deletes == deletes);
        // Of several it could be any; the last deletion is the one that removed it.
        match (writes.next(), writes.next_back()) {
            (Some(only), None) => Some(only.by.clone()),
            (Some(_), Some(last)) if deletes => Some(last.by.clone()),
            _ => None,
        }
    }

    /// When the first of those that wait gives up.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.waiting.front().map(|(until, _)| *until)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::node::diff::Change;

    fn event(verb: &str, version: Option<&str>, user: &str) -> Value {
        json!({
            "kind": "Event", "stage": "ResponseComplete", "verb": verb, "auditID": "id", "userAgent": "kubectl/v1",
            "requestURI": "/api/v1/nodes/n", "user": {"username": user}, "sourceIPs": ["10.0.0.1"],
            "objectRef": {"resource": "nodes", "name": "n"}, "responseStatus": {"code": 200},
            "responseObject": {"metadata": {"name": "n", "resourceVersion": version}},
        })
    }

    fn write_of(event: &Value) -> Write {
        parse(&event.to_string()).unwrap().remove(0)
    }

    fn report(version: &str) -> Report {
        let change = Change { old: Some("a".into()), field: "spec.x".into(), ..Change::added("n", "u") };
        Report {
            time: jiff::Timestamp::UNIX_EPOCH,
            what: "changed",
            change,
            uid: "u".into(),
            resource_version: version.into(),
            claimed: Vec::new(),
            authenticated: None,
            authorised: None,
            gap: None,
        }
    }

    fn users(reports: &[Report]) -> Vec<Option<&str>> {
        reports.iter().map(|report| report.authenticated.as_ref().map(|by| by.user.as_str())).collect()
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn only_writes_that_happened_count() {
        assert_eq!(write_of(&event("patch", Some("7"), "anna")).by.user, "anna");
        let none = |change: &dyn Fn(&mut Value)| {
            let mut event = event("patch", Some("7"), "anna");
            change(&mut event);
            assert!(parse(&event.to_string()).unwrap().is_empty(), "{event}");
        };
        none(&|event| event["verb"] = json!("get"));
        none(&|event| event["responseStatus"]["code"] = json!(403));
        none(&|event| event["stage"] = json!("RequestReceived"));
        none(&|event| event["objectRef"]["resource"] = json!("pods"));
        none(&|event| event["requestURI"] = json!("/api/v1/nodes/n?dryRun=All"));
        assert!(parse("{}").is_err() && parse("no").is_err());
        let list =
            json!({"kind": "EventList", "items": [event("patch", Some("1"), "a"), event("update", Some("2"), "b")]});
        assert_eq!(parse(&list.to_string()).unwrap().len(), 2);
    }

    #[test]
    fn a_change_and_its_event_meet_in_either_order() {
        let mut correlator = Correlator::new(SECOND);
        correlator.write(write_of(&event("patch", Some("7"), "anna")));
        correlator.notice(report("7"), Duration::ZERO);
        assert_eq!(users(&correlator.ready(Duration::ZERO)), [Some("anna")]);
        correlator.notice(report("8"), Duration::ZERO);
        correlator.notice(report("9"), Duration::ZERO);
        correlator.write(write_of(&event("patch", Some("9"), "carl")));
        assert!(correlator.ready(Duration::ZERO).is_empty(), "in order: 9 waits for 8");
        correlator.write(write_of(&event("patch", Some("8"), "bert")));
        assert_eq!(users(&correlator.ready(Duration::ZERO)), [Some("bert"), Some("carl")]);
    }

    #[test]
    fn without_an_event_it_is_reported_after_a_while_without_a_user() {
        let mut correlator = Correlator::new(SECOND);
        correlator.notice(report("7"), SECOND);
        assert!(correlator.ready(SECOND).is_empty());
        assert_eq!(correlator.deadline(), Some(SECOND * 2));
        assert_eq!(users(&correlator.ready(SECOND * 2)), [None]);
    }

    #[test]
    fn an_event_without_a_version_is_believed_when_it_is_the_only_one() {
        let mut correlator = Correlator::new(Duration::ZERO);
        correlator.write(write_of(&event("patch", None, "anna")));
        correlator.notice(report("7"), Duration::ZERO);
        assert_eq!(users(&correlator.ready(Duration::ZERO)), [Some("anna")]);
        correlator.write(write_of(&event("patch", None, "bert")));
        correlator.notice(report("8"), Duration::ZERO);
        assert_eq!(users(&correlator.ready(Duration::ZERO)), [None], "it could be either");
    }
}
