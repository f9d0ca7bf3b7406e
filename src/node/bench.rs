//! Nodes that exist as objects alone, for measuring: made, changed at a rate, and removed.

use std::{
    collections::HashMap,
    pin::pin,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    core::PartialObjectMeta,
    runtime::watcher,
};
use serde_json::{Value, json};

use super::source::refused;

/// What marks the objects.
const LABEL: &str = "policyprobe.io/bench";
/// The annotation that is changed.
pub const CHANGE: &str = "policyprobe.io/bench-change";
/// How many requests are under way at once.
const AT_ONCE: usize = 32;
/// How many nodes are listed at once, to be removed.
const REMOVED_AT_ONCE: u32 = 500;
/// Lists after which nodes that are still there will not go: twice as many as the most nodes need.
const REMOVALS: u32 = 80;
/// For so long nothing may happen to any node before something is measured.
const QUIET: Duration = Duration::from_secs(3);
/// How long that is waited for: controllers may have something to say of each node that was made.
const CALM_PATIENCE: Duration = Duration::from_secs(60);

/// Makes nodes `from..to`, as large as `template` is.
pub async fn make(client: &Client, template: &Value, from: usize, to: usize) -> anyhow::Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let made = (from..to).map(|number| {
        let nodes = nodes.clone();
        async move {
            let node: Node = serde_json::from_value(object(template, number)).context("a node as JSON")?;
            match nodes.create(&PostParams::default(), &node).await {
                Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
                made => made.map(drop).context("cannot make a node"),
            }
        }
    });
    stream::iter(made).buffer_unordered(AT_ONCE).try_collect().await
}

/// A node like the template, that nobody can schedule to.
fn object(template: &Value, number: usize) -> Value {
    let name = name(number);
    json!({
        "apiVersion": "v1", "kind": "Node", "status": template["status"],
        "metadata": {
            "name": name,
            "labels": {LABEL: "", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"},
        },
        "spec": {
            "unschedulable": true, "podCIDR": format!("10.{}.{}.0/24", number / 256 % 256, number % 256),
            "taints": [{"key": LABEL, "effect": "NoSchedule"}],
        },
    })
}

fn name(number: usize) -> String {
    format!("policyprobe-bench-{number:05}")
}

/// Removes all that were made, each by itself: API servers end requests that take a minute, as one for all of them would.
pub async fn remove(client: &Client) -> anyhow::Result<()> {
    let nodes = Api::<Node>::all(client.clone());
    let ours = ListParams::default().labels(LABEL).limit(REMOVED_AT_ONCE);
    for _ in 0..REMOVALS {
        let left = nodes.list_metadata(&ours).await.map_err(|error| refused(&error, "list"))?.items;
        if left.is_empty() {
            return Ok(());
        }
        let removing = left.iter().map(|node| {
            let (nodes, name) = (nodes.clone(), node.name_any());
            async move {
                match nodes.delete(&name, &DeleteParams::default()).await {
                    Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
                    removed => removed.map(drop).context("cannot remove a node that was made"),
                }
            }
        });
        stream::iter(removing).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    }
    anyhow::bail!("the nodes that were made do not go: `kubectl get nodes -l {LABEL}` lists them")
}

/// Waits until the controllers have done with the nodes that were made; whether they have.
pub async fn calm(client: &Client) -> anyhow::Result<bool> {
    let begun = Instant::now();
    let mut events = pin!(watcher(Api::<PartialObjectMeta<Node>>::all(client.clone()), watcher::Config::default()));
    while begun.elapsed() < CALM_PATIENCE {
        match tokio::time::timeout(QUIET, events.try_next()).await {
            Ok(event) => drop(event.context("watching")?.context("the watch ended")?),
            Err(_) => return Ok(true),
        }
    }
    Ok(false)
}

/// A change of a node.
#[derive(Clone, Debug)]
pub struct Change {
    /// The annotation's new value, which no other change has.
    pub value: String,
    /// When it was sent.
    pub sent: Instant,
    /// When the API server answered.
    pub answered: Instant,
}

/// Changes an annotation of `nodes` nodes in turn, `changes` times in all, each as soon as its time has come.
pub async fn change(
    client: &Client,
    nodes: usize,
    changes: usize,
    rate: u32,
    value: &str,
) -> anyhow::Result<Vec<Change>> {
    let begun = tokio::time::Instant::now();
    let each = Duration::from_secs(1) / rate.max(1);
    let sent = stream::iter(0..changes).map(|number| async move {
        tokio::time::sleep_until(begun + each * u32::try_from(number).unwrap_or(u32::MAX)).await;
        let value = format!("{value}-{number}");
        let sent = Instant::now();
        annotate(client, number % nodes, &value).await?;
        anyhow::Ok(Change { value, sent, answered: Instant::now() })
    });
    // More at once than are under way at any time, so that the rate is kept; in order, as they are compared by it.
    sent.buffered(256).try_collect().await
}

/// Changes the annotation of one node.
pub async fn annotate(client: &Client, number: usize, value: &str) -> anyhow::Result<()> {
    let patch = Patch::Merge(json!({"metadata": {"annotations": {CHANGE: value}}}));
    let nodes: Api<Node> = Api::all(client.clone());
    nodes.patch_metadata(&name(number), &PatchParams::default(), &patch).await.map(drop).context("a change")
}

/// A report of a value.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// When it came.
    pub at: Instant,
    /// Whether it is said to be a net change.
    pub over_gap: bool,
}

/// The reports of each value of the annotation.
pub type Reported = HashMap<String, Vec<Told>>;

/// What a watch made of changes over a gap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OverGap {
    /// Net changes that were never reported.
    pub lost: usize,
    /// Net changes that were reported more than once.
    pub repeated: usize,
    /// Net changes that were reported without saying that they are.
    pub unmarked: usize,
    /// Changes that were reported although others came after them.
    pub passing: usize,
}

impl OverGap {
    /// By what was sent to so many nodes in turn, of which the last change of each is a net change, and what was reported.
    #[must_use]
    pub fn of(sent: &[Change], nodes: usize, seen: &Reported) -> Self {
        let (passing, last) = sent.split_at(sent.len().saturating_sub(nodes));
        let told = |change: &Change| seen.get(&change.value).map_or(&[][..], Vec::as_slice);
        let count = |changes: &[Change], is: fn(&[Told]) -> bool| changes.iter().filter(|it| is(told(it))).count();
        Self {
            lost: count(last, <[Told]>::is_empty),
            repeated: count(last, |told| told.len() > 1),
            unmarked: count(last, |told| told.iter().any(|told| !told.over_gap)),
            passing: count(passing, |told| !told.is_empty()),
        }
    }
}

/// What a watch made of changes.
#[derive(Clone, Debug)]
pub struct Watched {
    /// From the API server's answer to each change to its report, in order of length; zero where the report came first.
    /// No more than the time since it was accepted.
    pub since_answered: Vec<Duration>,
    /// From the sending of each change to its report, in order of length: no less than the time since it was accepted.
    pub since_sent: Vec<Duration>,
    /// How many changes were never reported.
    pub lost: usize,
    /// How many were reported more than once.
    pub repeated: usize,
    /// How many changes a second there really were.
    pub rate: f64,
}

impl Watched {
    /// By what was sent and what was reported.
    #[must_use]
    pub fn of(sent: &[Change], seen: &Reported) -> Self {
        let times = |change: &Change| seen.get(&change.value).map_or(&[][..], Vec::as_slice);
        let since = |start: fn(&Change) -> Instant| {
            let first = sent.iter().filter_map(|change| Some((change, times(change).first()?)));
            let mut since: Vec<_> =
                first.map(|(change, told)| told.at.saturating_duration_since(start(change))).collect();
            since.sort_unstable();
            since
        };
        let (begun, ended) = (sent.iter().map(|it| it.sent).min(), sent.iter().map(|it| it.answered).max());
        let took = begun.zip(ended).map_or(Duration::ZERO, |(begun, ended)| ended - begun);
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let rate = sent.len() as f64 / took.as_secs_f64();
        Self {
            since_answered: since(|change| change.answered),
            since_sent: since(|change| change.sent),
            lost: sent.iter().filter(|change| times(change).is_empty()).count(),
            repeated: sent.iter().filter(|change| times(change).len() > 1).count(),
            rate,
        }
    }
}

/// The time that this share (in %) of the times, in order of length, do not exceed.
#[must_use]
pub fn quantile(times: &[Duration], share: usize) -> Duration {
    let index = (times.len() * share / 100).min(times.len().saturating_sub(1));
    times.get(index).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_reported_is_lost_and_twice_is_too_often() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let change = |value: &str| Change { value: value.to_owned(), sent: at(0), answered: at(10) };
        let sent = ["before", "after", "twice", "never"].map(change);
        let told = |times: &[u64]| times.iter().map(|time| Told { at: at(*time), over_gap: false }).collect();
        let seen = [("before", &[5][..]), ("after", &[40]), ("twice", &[20, 90]), ("other", &[])];
        let seen = seen.map(|(value, times)| (value.to_owned(), told(times))).into();
        let watched = Watched::of(&sent, &seen);
        assert_eq!((watched.lost, watched.repeated), (1, 1));
        assert_eq!(watched.since_answered, [0, 10, 30].map(Duration::from_millis));
        assert_eq!(watched.since_sent, [5, 20, 40].map(Duration::from_millis));
        assert!((watched.rate - 400.0).abs() < 1e-6);
        assert_eq!(quantile(&watched.since_sent, 50), Duration::from_millis(20));
        assert_eq!(quantile(&watched.since_sent, 100), Duration::from_millis(40));
        assert_eq!(quantile(&[], 99), Duration::ZERO);
    }

    #[test]
    fn over_a_gap_only_the_last_change_of_each_node_counts() {
        let at = Instant::now();
        let change = |value: &str| Change { value: value.to_owned(), sent: at, answered: at };
        let told = |over_gap| Told { at, over_gap };
        let sent = ["passing", "skipped", "once", "lost"].map(change);
        let mut seen = Reported::from([("once".to_owned(), vec![told(true)])]);
        assert_eq!(OverGap::of(&sent, 2, &seen), OverGap { lost: 1, ..OverGap::default() });
        seen.insert("lost".to_owned(), vec![told(true), told(false)]);
        seen.insert("passing".to_owned(), vec![told(true)]);
        assert_eq!(OverGap::of(&sent, 2, &seen), OverGap { lost: 0, repeated: 1, unmarked: 1, passing: 1 });
    }
}
