//! Where a stage's probes start, and what makes them.

use std::sync::Arc;

use super::{exec::PodPlace, shell::Place, shells::Seat, stage::ClusterStage};
use crate::{
    lab::{LabError, Source},
    probe::{CurlSession, Linked, Means, Mixed, Session},
    scenario::NodeName,
};

impl ClusterStage {
    /// A pod, by its logical namespace and name.
    pub(super) async fn place(&self, namespace: &str, pod: &str) -> Result<PodPlace, LabError> {
        let live = self.live_pod(namespace, pod).await?;
        Ok(PodPlace {
            pods: self.shared.maker.pods(&live.namespace),
            namespace: live.namespace,
            pod: live.name,
            kubectl: self.shared.access.kubectl(),
        })
    }

    /// A node, where it can be entered.
    pub(super) fn node(&self, node: NodeName) -> Result<Arc<dyn Place>, LabError> {
        self.shared.ground.node(node).ok_or_else(|| anyhow::anyhow!("node/{} cannot be entered", node.as_str()).into())
    }

    /// A session of `curl` processes, all started by one shell.
    pub(super) async fn curl(&self, source: &Source) -> Result<Box<dyn Session>, LabError> {
        let (seat, place): (_, Arc<dyn Place>) = match source {
            Source::Pod(namespace, pod) => {
                let place = self.place(namespace, pod).await?;
                (Seat::Pod(place.namespace.clone(), place.pod.clone()), Arc::new(place))
            }
            Source::Node(node) => (Seat::Node(*node), self.node(*node)?),
            Source::Outside(name) => return Err(anyhow::anyhow!("this backend has no outside host `{name}`").into()),
        };
        let mut shell = self.shared.shells.lease(seat, place);
        shell.shell().connect().await.map_err(|error| anyhow::anyhow!("{error}"))?;
        Ok(Box::new(CurlSession::new(shell)))
    }

    /// A session with the source's agent, and with `curl` for what the agent cannot do.
    pub(super) async fn mixed(&self, source: &Source, prefer: Means) -> Result<Box<dyn Session>, LabError> {
        let links = &self.shared.links;
        let (seat, place, link) = match source {
            Source::Pod(namespace, pod) => {
                let place = self.place(namespace, pod).await?;
                let (literal, name) = (place.namespace.clone(), place.pod.clone());
                let place: Arc<dyn Place> = Arc::new(place);
                let Some(link) = links.pod(&literal, &name, Arc::clone(&place)) else {
                    return self.curl(source).await;
                };
                link.connect().await.map_err(|error| anyhow::anyhow!("no agent in {namespace}/{pod}: {error}"))?;
                (Seat::Pod(literal, name), place, link)
            }
            Source::Node(node) => {
                let place = self.node(*node)?;
                let Some(link) = links.node(*node, Arc::clone(&place)) else {
                    return self.curl(source).await;
                };
                // A node need not let anything be carried in: `curl` does what it can.
                if let Err(error) = link.connect().await {
                    self.shared.events.note(format!("no agent on node/{}: {error}", node.as_str()));
                    return self.curl(source).await;
                }
                (Seat::Node(*node), place, link)
            }
            Source::Outside(_) => return self.curl(source).await,
        };
        let prefix = place.prefix();
        let mut shell = self.shared.shells.lease(seat, place);
        if prefer == Means::Curl {
            shell.shell().connect().await.map_err(|error| anyhow::anyhow!("{error}"))?;
        }
        Ok(Box::new(Mixed::new(Linked { link, prefix }, shell, prefer)))
    }
}
