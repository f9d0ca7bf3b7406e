//! What a server has seen, by its own log: that of a pod or of a host outside the cluster is read by the agent in it, that
//! of the metadata server by a node.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};

use super::{
    objects::{Server, control},
    stage::ClusterStage,
};
use crate::{
    lab::{LabError, ServerId, Source},
    scenario::NodeName,
};

/// A stream that has rested for long may have been cut by something on its way, which the first call finds out.
const TRIES: usize = 2;

impl ClusterStage {
    /// Which of these nonces a server has seen.
    pub(super) async fn log(&self, server: &ServerId, nonces: &BTreeSet<String>) -> Result<BTreeSet<String>, LabError> {
        if let (ServerId::Pod(namespace, pod), Server::Netexec) = (server, &self.maker.recipe.server) {
            let seen = self.maker.logged(&self.live_pod(namespace, pod).await?).await?;
            return Ok(seen.intersection(nonces).cloned().collect());
        }
        let mut tries = 1..=TRIES;
        loop {
            let last = tries.next().is_none_or(|attempt| attempt == TRIES);
            let read = match server {
                ServerId::Pod(namespace, pod) => self.log_of_pod(namespace, pod, nonces).await,
                ServerId::Outside(name) => self.log_of_outside(name, nonces).await,
                ServerId::Metadata => self.log_of_metadata(nonces).await,
                other => Err(anyhow::anyhow!("{other:?} keeps no log of nonces")),
            };
            match read {
                Err(error) if last => return Err(error.context("cannot read a server's log").into()),
                Err(_) => {}
                Ok(seen) => return Ok(seen),
            }
        }
    }

    async fn log_of_pod(
        &self,
        namespace: &str,
        pod: &str,
        nonces: &BTreeSet<String>,
    ) -> anyhow::Result<BTreeSet<String>> {
        let at = control(&self.live_pod(namespace, pod).await?.spec).into();
        let (seat, place) = self.seat(&Source::Pod(namespace.to_owned(), pod.to_owned())).await?;
        let link = self.shared.links.link(&seat, &place).with_context(|| format!("there is no agent in {seat}"))?;
        link.seen(at, nonces).await.map_err(anyhow::Error::msg)
    }

    async fn log_of_outside(&self, name: &str, nonces: &BTreeSet<String>) -> anyhow::Result<BTreeSet<String>> {
        let (seat, place) = self.seat(&Source::Outside(name.to_owned())).await?;
        let link = self.shared.links.link(&seat, &place).with_context(|| format!("there is no agent in {seat}"))?;
        let hosts = self.shared.ground.hosts().context("there are no outside hosts")?;
        let address = self.outside_address(name).context("there is no such outside host")?;
        let mut seen = BTreeSet::new();
        for control in hosts.controls(address).await {
            seen.extend(link.seen(control, nonces).await.map_err(anyhow::Error::msg)?);
        }
        Ok(seen)
    }

    async fn log_of_metadata(&self, nonces: &BTreeSet<String>) -> anyhow::Result<BTreeSet<String>> {
        let lease = self.metadata.as_ref().context("there is no metadata server")?;
        let mut seen = BTreeSet::new();
        for (node, control) in &lease.controls {
            seen.extend(self.log_by_node(*node, control, nonces).await?);
        }
        Ok(seen)
    }

    async fn log_by_node(
        &self,
        node: NodeName,
        control: &str,
        nonces: &BTreeSet<String>,
    ) -> anyhow::Result<BTreeSet<String>> {
        let (seat, place) = self.seat(&Source::Node(node)).await?;
        let mut shell = self.shared.shells.lease(seat, place);
        let wanted: String = nonces.iter().flat_map(|nonce| [nonce, "\n"]).collect();
        let curl = "curl -q -s -S -f --noproxy '*' --max-time 5 --data-binary @-";
        let command = format!("{curl} {control}/nonces 2>&1 <<'POLICYPROBE_END'\n{wanted}POLICYPROBE_END");
        let lines = shell.shell().read(&command).await.map_err(anyhow::Error::msg)?;
        let known: BTreeSet<String> = lines.into_iter().filter(|line| !line.is_empty()).collect();
        ensure!(known.is_subset(nonces), "this is no control endpoint");
        Ok(known)
    }
}
