//! Nodes that exist as objects alone, for measuring: made, changed at a rate, and removed.

use std::{
    collections::HashMap,
    pin::pin,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    core::PartialObjectMeta,
    runtime::watcher,
};
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use super::{
    NodeState, Selection,
    follow::{Seen, follow},
    source::Source,
    track::{Moment, Tracker},
};

/// What marks the objects.
const LABEL: &str = "policyprobe.io/bench";
/// The annotation that is changed.
const CHANGE: &str = "policyprobe.io/bench-change";
/// The value before all others: once it is reported, the watch stands.
const FIRST: &str = "first";
/// The value after all others: what was not reported before it is lost.
const LAST: &str = "last";
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
/// How long the last changes may take to be seen.
const PATIENCE: Duration = Duration::from_secs(20);

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
        let left = nodes.list_metadata(&ours).await.context("cannot list the nodes that were made")?.items;
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

/// What a watch made of changes.
#[derive(Clone, Debug)]
pub struct Watched {
    /// From the sending of each change to its report, in order of length: no less than the time since it was accepted.
    pub since_sent: Vec<Duration>,
    /// From the API server's answer to each change to its report, in order of length; zero where the report came first.
    /// No more than the time since it was accepted.
    pub since_answered: Vec<Duration>,
    /// How many changes were never reported.
    pub lost: usize,
    /// How many were reported more than once.
    pub repeated: usize,
    /// How many changes a second there really were.
    pub rate: f64,
}

/// When each value of the annotation was reported.
type Reported = HashMap<String, Vec<Instant>>;

/// Changes annotations of `nodes` nodes at a rate, `changes` in all, and watches.
pub async fn watch(client: &Client, nodes: usize, changes: usize, rate: u32) -> anyhow::Result<Watched> {
    let (state, mut is) = tokio::sync::watch::channel(State::Listing);
    // A task of its own, as a watch is: the sending of changes must not hold it up, nor it the sending.
    let watching = AbortOnDropHandle::new(tokio::spawn(reported(client.clone(), state)));
    let begin = async {
        is.wait_for(|state| *state >= State::Listed).await.ok()?;
        let annotated = annotate(&Api::all(client.clone()), 0, FIRST).await;
        is.wait_for(|state| *state == State::Stands).await.ok()?;
        Some(annotated)
    };
    let Some(annotated) = tokio::time::timeout(PATIENCE, begin).await.context("the watch does not begin")? else {
        watching.await.context("the watch")??;
        anyhow::bail!("the watch ended");
    };
    annotated?;
    let (sent, took) = change(client, nodes, changes, rate).await?;
    let seen = tokio::time::timeout(PATIENCE, watching).await.context("not every change was reported")?;
    let seen = seen.context("the watch")??;
    let first = |change: &Change| seen.get(&change.value).and_then(|seen| seen.first());
    let since = |start: fn(&Change) -> Instant| {
        let times = sent.iter().filter_map(|change| Some(first(change)?.saturating_duration_since(start(change))));
        let mut times: Vec<_> = times.collect();
        times.sort_unstable();
        times
    };
    let (since_sent, since_answered) = (since(|change| change.sent), since(|change| change.answered));
    let repeated = seen.values().filter(|times| times.len() > 1).count();
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let rate = changes as f64 / took.as_secs_f64();
    Ok(Watched { lost: changes - since_sent.len(), since_sent, since_answered, repeated, rate })
}

/// How far a watch has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Listing,
    Listed,
    Stands,
}

/// Watches until the last value is reported.
async fn reported(client: Client, is: tokio::sync::watch::Sender<State>) -> anyhow::Result<Reported> {
    let started = Instant::now();
    let mut tracker = Tracker::default();
    let selection = Selection::default();
    let mut seen = Reported::new();
    let mut events = pin!(follow(Source::new(client)));
    while !seen.contains_key(LAST) {
        let event = events.try_next().await.context("watching")?.context("the watch ended")?;
        let now = Moment { wall: Timestamp::now(), since_start: started.elapsed() };
        let state = |node: &Value| NodeState::of(node, &selection);
        let reports = match event {
            Seen::ListBegins(reason) => {
                tracker.list_begins(&reason);
                Vec::new()
            }
            Seen::Listed(node) => state(&node).map_or_else(Vec::new, |node| tracker.listed(node, now)),
            Seen::ListEnds => {
                let reports = tracker.list_ends(now);
                is.send_replace(State::Listed);
                reports
            }
            Seen::Applied(node) => state(&node).map_or_else(Vec::new, |node| tracker.applied(node, now)),
            Seen::Deleted(node) => state(&node).map_or_else(Vec::new, |node| tracker.deleted(&node, now)),
            Seen::Alive | Seen::Lost(_) => Vec::new(),
        };
        for report in reports.iter().filter(|report| report.change.field.contains(CHANGE)) {
            // The line that a person would get is part of the time.
            let line = serde_json::to_string(report).context("a report as JSON")?;
            anyhow::ensure!(!line.is_empty(), "a report is never empty");
            let value = report.change.new.clone().unwrap_or_default();
            if value == FIRST {
                is.send_replace(State::Stands);
            }
            seen.entry(value).or_default().push(Instant::now());
        }
    }
    Ok(seen)
}

/// A change of a node.
struct Change {
    value: String,
    sent: Instant,
    answered: Instant,
}

/// Sends changes at a rate, each as soon as its time has come; how long it all took.
async fn change(client: &Client, nodes: usize, changes: usize, rate: u32) -> anyhow::Result<(Vec<Change>, Duration)> {
    let api: Api<Node> = Api::all(client.clone());
    let begun = tokio::time::Instant::now();
    let each = Duration::from_secs(1) / rate.max(1);
    let sent = stream::iter(0..changes).map(|number| {
        let api = api.clone();
        async move {
            tokio::time::sleep_until(begun + each * u32::try_from(number).unwrap_or(u32::MAX)).await;
            let value = format!("change-{number}");
            let sent = Instant::now();
            annotate(&api, number % nodes, &value).await?;
            anyhow::Ok(Change { value, sent, answered: Instant::now() })
        }
    });
    // More at once than are under way at any time, so that the rate is kept.
    let sent = sent.buffer_unordered(256).try_collect().await?;
    let took = begun.elapsed();
    annotate(&api, 0, LAST).await?;
    Ok((sent, took))
}

async fn annotate(api: &Api<Node>, number: usize, value: &str) -> anyhow::Result<()> {
    let patch = Patch::Merge(json!({"metadata": {"annotations": {CHANGE: value}}}));
    api.patch_metadata(&name(number), &PatchParams::default(), &patch).await.map(drop).context("a change")
}
