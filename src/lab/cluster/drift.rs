//! A change of a Node, as a watch of nodes reports it: made, waited for, and taken back.

use std::{pin::pin, time::Duration};

use anyhow::Context as _;
use futures::{Stream, TryStreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::{Map, Value};
use tokio::time::{Instant, timeout};

use super::apply::broken;
use crate::{
    lab::LabError,
    node::{
        NodeState, Selection,
        diff::Change,
        follow::{Seen, follow},
        source::Source,
        track::{Moment, Tracker},
    },
};

/// How long a watch may take to report a change that the API server took.
const PATIENCE: Duration = Duration::from_secs(10);

/// Changes a Node by a merge patch and takes that back: all that a watch reports of the node meanwhile, in order.
pub(crate) async fn drift(client: &Client, node: &str, patch: &Map<String, Value>) -> Result<Vec<Change>, LabError> {
    let source = Source::new(client.clone());
    let cannot = |error: &kube::Error| broken(&format!("cannot change the node `{node}`"), error);
    let before = source.node(node).await.map_err(|error| cannot(&error))?;
    let (tracker, started) = (Tracker::default(), Instant::now());
    let mut watch = Watch { seen: pin!(follow(source)), tracker, started, node, changes: Vec::new(), version: None };
    watch.until(|seen, _| matches!(seen, Seen::ListEnds)).await?;
    let nodes = Api::<Node>::all(client.clone());
    let mut failed = None;
    for patch in [patch.clone(), inverse(patch, &before)] {
        let changed = nodes.patch(node, &PatchParams::default(), &Patch::Merge(Value::Object(patch))).await;
        let made = changed.map_err(|error| cannot(&error))?.resource_version();
        // Whatever becomes of the watch, the change is taken back.
        if failed.is_none() {
            failed = watch.until(|_, version| version.is_some() && *version == made).await.err();
        }
    }
    failed.map_or(Ok(watch.changes), Err)
}

struct Watch<'a, S> {
    seen: S,
    tracker: Tracker,
    started: Instant,
    node: &'a str,
    changes: Vec<Change>,
    /// The version of the node that came last.
    version: Option<String>,
}

impl<S: Stream<Item = Result<Seen, kube::Error>> + Unpin> Watch<'_, S> {
    /// Takes what comes until that is so.
    async fn until(&mut self, done: impl Fn(&Seen, &Option<String>) -> bool) -> Result<(), LabError> {
        let taking = async {
            loop {
                let seen = self.seen.try_next().await.context("watching nodes")?.context("the watch of nodes ended")?;
                self.take(&seen);
                if done(&seen, &self.version) {
                    return Ok(());
                }
            }
        };
        let late = || anyhow::anyhow!("a watch of nodes shows nothing new after {} s", PATIENCE.as_secs());
        timeout(PATIENCE, taking).await.unwrap_or_else(|_| Err(late())).map_err(LabError::from)
    }

    fn take(&mut self, seen: &Seen) {
        let now = Moment { wall: Timestamp::now(), since_start: self.started.elapsed() };
        let state = |node: &Value| NodeState::of(node.clone(), &Selection::default()).unwrap_or_default();
        let reports = match seen {
            Seen::ListBegins(reason) => {
                self.tracker.list_begins(reason);
                return;
            }
            Seen::Listed(node) => self.tracker.listed(state(node), now),
            Seen::ListEnds => self.tracker.list_ends(now),
            Seen::Applied(node) => {
                let node = state(node);
                if node.name == self.node {
                    self.version = Some(node.version.clone());
                }
                self.tracker.applied(node, now)
            }
            Seen::Deleted(node) => self.tracker.deleted(&state(node), now),
            Seen::Alive | Seen::Lost(_) => return,
        };
        let own = reports.into_iter().map(|report| report.change).filter(|change| change.node == self.node);
        self.changes.extend(own);
    }
}

/// The merge patch that takes another one back.
fn inverse(patch: &Map<String, Value>, before: &Value) -> Map<String, Value> {
    let one = |(key, value): (&String, &Value)| {
        let old = before.get(key).unwrap_or(&Value::Null);
        let back = match (value, old) {
            (Value::Object(inner), Value::Object(_)) => Value::Object(inverse(inner, old)),
            _ => old.clone(),
        };
        (key.clone(), back)
    };
    patch.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_there_comes_back_and_what_was_not_goes() {
        let patch = json!({
            "metadata": {"labels": {"a": "2", "new": "x"}, "annotations": {"b": "c"}},
            "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}], "unschedulable": null},
        });
        let before = json!({
            "metadata": {"labels": {"a": "1", "other": "o"}},
            "spec": {"podCIDR": "10.0.0.0/24", "unschedulable": true},
        });
        let back = patch.as_object().map(|patch| inverse(patch, &before)).unwrap_or_default();
        assert_eq!(
            Value::Object(back),
            json!({
                "metadata": {"labels": {"a": "1", "new": null}, "annotations": null},
                "spec": {"taints": null, "unschedulable": true},
            })
        );
    }
}
