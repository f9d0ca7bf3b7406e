//! Where a stage's probes start, and what makes them.

use std::{net::IpAddr, sync::Arc};

use super::{exec::PodPlace, ground::Hosts, shell::Place, shells::Seat, stage::ClusterStage};
use crate::{
    lab::{LabError, Source},
    probe::{Alone, CurlSession, Linked, Means, Mixed, Session},
};

impl ClusterStage {
    /// Where a source is.
    pub(super) async fn seat(&self, source: &Source) -> Result<(Seat, Arc<dyn Place>), LabError> {
        match source {
            Source::Pod(namespace, pod) => {
                let live = self.live_pod(namespace, pod).await?;
                let place = PodPlace {
                    pods: self.maker.pods(&live.namespace),
                    namespace: live.namespace.clone(),
                    pod: live.name.clone(),
                    kubectl: self.shared.access.kubectl(),
                };
                Ok((Seat::Pod(live.namespace, live.name), Arc::new(place)))
            }
            Source::Node(node) => {
                let place = self.shared.ground.node(*node);
                let place = place.ok_or_else(|| anyhow::anyhow!("node/{} cannot be entered", node.as_str()))?;
                Ok((Seat::Node(*node), place))
            }
            Source::Outside(name) => {
                let missing = || anyhow::anyhow!("this backend has no outside host `{name}`");
                let address = self.outside_address(name).ok_or_else(missing)?;
                let hosts = self.shared.ground.hosts().ok_or_else(missing)?;
                Ok((Seat::Outside(address), hosts.place()))
            }
        }
    }

    /// The address of a host outside the cluster.
    pub(super) fn outside_address(&self, name: &str) -> Option<IpAddr> {
        self.outside.iter().find(|host| host.name == name).map(|host| host.address)
    }

    /// A session of `curl` processes, all started by one shell; where there is no `curl`, of the source's agent.
    pub(super) async fn curl(&self, source: &Source) -> Result<Box<dyn Session>, LabError> {
        let (seat, place) = self.seat(source).await?;
        if let Seat::Outside(address) = seat {
            return self.alone(&seat, &place, address).await;
        }
        let mut shell = self.shared.shells.lease(seat, place);
        shell.shell().connect().await.map_err(|error| anyhow::anyhow!("{error}"))?;
        Ok(Box::new(CurlSession::new(shell)))
    }

    /// A session with the source's agent, and with `curl` for what the agent cannot do.
    pub(super) async fn mixed(&self, source: &Source, prefer: Means) -> Result<Box<dyn Session>, LabError> {
        let (seat, place) = self.seat(source).await?;
        if let Seat::Outside(address) = seat {
            return self.alone(&seat, &place, address).await;
        }
        let Some(link) = self.shared.links.link(&seat, &place) else { return self.curl(source).await };
        match (link.connect().await, source) {
            (Ok(()), _) => {}
            // A node need not let anything be carried in: `curl` does what it can.
            (Err(error), Source::Node(node)) => {
                self.shared.events.note(format!("no agent on node/{}: {error}", node.as_str()));
                return self.curl(source).await;
            }
            (Err(error), _) => return Err(anyhow::anyhow!("no agent in {seat}: {error}").into()),
        }
        let prefix = place.prefix();
        let mut shell = self.shared.shells.lease(seat, place);
        if prefer == Means::Curl {
            shell.shell().connect().await.map_err(|error| anyhow::anyhow!("{error}"))?;
        }
        Ok(Box::new(Mixed::new(Linked { link, prefix }, shell, prefer)))
    }

    /// A session of the agent of a host outside the cluster.
    async fn alone(&self, seat: &Seat, place: &Arc<dyn Place>, address: IpAddr) -> Result<Box<dyn Session>, LabError> {
        let link = self.shared.links.link(seat, place).ok_or_else(|| anyhow::anyhow!("there is no agent in {seat}"))?;
        link.connect().await.map_err(|error| anyhow::anyhow!("no agent in {seat}: {error}"))?;
        let prefix = self.shared.ground.hosts().map(Hosts::by_hand).unwrap_or_default();
        Ok(Box::new(Alone::new(Linked { link, prefix }, address)))
    }
}
