//! What a server has seen, by its own log: that of a pod is read by the agent in it, that of the metadata server by a node.

use std::{collections::BTreeSet, net::Ipv4Addr};

use super::{
    objects::{CONTROL_PORT, Server},
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
        let mut read = Err(String::new());
        for _ in 0..TRIES {
            read = match server {
                ServerId::Pod(namespace, pod) => self.log_of_pod(namespace, pod, nonces).await?,
                ServerId::Metadata => self.log_of_metadata(nonces).await?,
                other => return Err(anyhow::anyhow!("{other:?} keeps no log of nonces").into()),
            };
            if read.is_ok() {
                break;
            }
        }
        read.map_err(|error| anyhow::anyhow!("cannot read a server's log: {error}").into())
    }

    async fn log_of_pod(
        &self,
        namespace: &str,
        pod: &str,
        nonces: &BTreeSet<String>,
    ) -> Result<Result<BTreeSet<String>, String>, LabError> {
        let live = self.live_pod(namespace, pod).await?;
        if self.shared.maker.recipe.server == Server::Netexec {
            let seen = self.shared.maker.logged(&live).await?;
            return Ok(Ok(seen.intersection(nonces).cloned().collect()));
        }
        let (seat, place) = self.seat(&Source::Pod(namespace.to_owned(), pod.to_owned())).await?;
        let link = self.shared.links.link(&seat, &place);
        let link = link.ok_or_else(|| anyhow::anyhow!("there is no agent in {seat}"))?;
        Ok(link.seen((Ipv4Addr::LOCALHOST, CONTROL_PORT).into(), nonces).await)
    }

    async fn log_of_metadata(&self, nonces: &BTreeSet<String>) -> Result<Result<BTreeSet<String>, String>, LabError> {
        let metadata = self.shared.ground.metadata();
        let (_, control) = metadata.ok_or_else(|| anyhow::anyhow!("there is no metadata server"))?;
        let (seat, place) = self.seat(&Source::Node(NodeName::Master)).await?;
        let mut shell = self.shared.shells.lease(seat, place);
        let wanted: String = nonces.iter().flat_map(|nonce| [nonce, "\n"]).collect();
        let curl = "curl -q -s -S -f --noproxy '*' --max-time 5 --data-binary @-";
        let command = format!("{curl} {control}/nonces 2>&1 <<'POLICYPROBE_END'\n{wanted}POLICYPROBE_END");
        let lines = match shell.shell().read(&command).await {
            Ok(lines) => lines,
            Err(error) => return Ok(Err(error)),
        };
        let known: BTreeSet<String> = lines.into_iter().filter(|line| !line.is_empty()).collect();
        Ok(if known.is_subset(nonces) { Ok(known) } else { Err("this is no control endpoint".to_owned()) })
    }
}
