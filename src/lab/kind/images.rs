//! The images of the pods and of the cluster's DNS, brought to the nodes while the cluster is still being made.
//!
//! `kindest/node` is built with images that are there and not unpacked (`ctr images import --no-unpack` in kind's
//! `pkg/build/nodeimage`), and an image that is not there is pulled: either is work that the first pod of each node would
//! wait for, when everything else starts as well.

use std::{collections::BTreeSet, convert::Infallible, future::pending, time::Duration};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::{MissedTickBehavior, interval};

use super::{cluster::nodes, command::run};

/// How often it is asked which nodes there are, and those are tried that could not be served yet.
const POLL: Duration = Duration::from_millis(500);

/// Unpacks an image, or pulls it where it is missing; it fails only where the container runtime does not run yet. An image
/// that is there is mounted, because nothing else unpacks it without a container, by its whole name, because `ctr` knows no
/// other. `CoreDNS` is there in some version.
const UNPACK: &str = "ctr version >/dev/null 2>&1 || exit 1; exec >/dev/null 2>&1; at=$(mktemp -d); \
    mount() { ctr -n k8s.io images mount \"$1\" \"$at\"; }; \
    { mount \"$1\" || mount \"docker.io/$1\" || mount \"docker.io/library/$1\"; } && \
    ctr -n k8s.io images unmount --rm \"$at\" || crictl pull \"$1\"; \
    for name in $(ctr -n k8s.io images ls -q | grep '/coredns:'); do \
    mount \"$name\" && ctr -n k8s.io images unmount --rm \"$at\"; done; rmdir \"$at\"; exit 0";

/// Brings an image to every one of the `count` nodes of a cluster, as soon as the node is there. It never ends: whoever
/// makes the cluster drops it when that is done, and what is not done by then is the kubelet's again.
pub(super) async fn bring(cluster: &str, count: usize, image: &str) -> Infallible {
    let mut polls = interval(POLL);
    polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut begun, mut working) = (BTreeSet::new(), FuturesUnordered::<BoxFuture<'_, (String, bool)>>::new());
    loop {
        tokio::select! {
            Some((node, has_runtime)) = working.next() => {
                if !has_runtime {
                    begun.remove(&node);
                }
            }
            _ = polls.tick(), if begun.len() < count => {
                for node in nodes(cluster).await.unwrap_or_default() {
                    if begun.insert(node.clone()) {
                        working.push(unpack(node, image).boxed());
                    }
                }
            }
            else => return pending().await,
        }
    }
}

async fn unpack(node: String, image: &str) -> (String, bool) {
    let unpacked = run("docker", &["exec", &node, "sh", "-c", UNPACK, "sh", image], None).await;
    (node, unpacked.is_ok())
}
