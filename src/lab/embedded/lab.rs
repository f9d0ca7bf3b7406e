//! The lab as the engine sees it: the inner half, running.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::anyhow;
use async_trait::async_trait;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::{
    DenyBy, EmbeddedStage,
    client::Client,
    enforcer::Mutant,
    has_ipv6,
    protocol::{Reply, Request},
};
use crate::{
    lab::{Capabilities, Lab, LabError, Stage},
    probe::OLDEST_CURL,
    scenario::{LabSpec, Need},
};

/// How long a policy may take to have its effect. The enforcer takes milliseconds, on a busy machine more.
const CONVERGE_LIMIT: Duration = Duration::from_secs(5);

/// A lab of network namespaces.
pub struct EmbeddedLab {
    client: Arc<Client>,
    run: String,
    deny_by: DenyBy,
    mutant: Option<Mutant>,
    capabilities: Capabilities,
    last_stage: AtomicU64,
    idle: Arc<Pool>,
}

/// Stages that nobody uses, for whoever asks for the same again: making one costs more than playing a case on it.
#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<Vec<Idle>>);

/// One of them, and the lane that had it.
#[derive(Debug)]
struct Idle {
    spec: LabSpec,
    lane: u32,
    stage: u64,
}

/// So many are kept.
const MOST_IDLE: usize = 8;

impl Pool {
    /// A stage of this specification, the lane's own if there is one.
    fn take(&self, spec: &LabSpec, lane: u32) -> Option<u64> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |one: &Idle| one.spec == *spec;
        let own = idle.iter().rposition(|one| same(one) && one.lane == lane);
        let index = own.or_else(|| idle.iter().position(same))?;
        Some(idle.remove(index).stage)
    }

    /// Keeps a stage; the one that is to be closed in its place, if any.
    pub(super) fn keep(&self, (spec, lane): (LabSpec, u32), stage: u64) -> Option<u64> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(Idle { spec, lane, stage });
        (idle.len() > MOST_IDLE).then(|| idle.remove(0).stage)
    }
}

impl EmbeddedLab {
    /// Starts the inner half. This is some milliseconds' work: namespaces are made by stages.
    pub(super) async fn start(
        binary: &Path,
        run: &str,
        deny_by: DenyBy,
        mutant: Option<Mutant>,
    ) -> Result<Self, LabError> {
        let (client, curl) = tokio::join!(Client::start(binary), curl_version());
        let (client, curl) = (Arc::new(client?), curl?);
        let capabilities = capabilities(&curl, deny_by, mutant, has_ipv6());
        Ok(Self {
            client,
            run: run.to_owned(),
            deny_by,
            mutant,
            capabilities,
            last_stage: AtomicU64::new(0),
            idle: Arc::default(),
        })
    }

    /// A stage that was used before, as if it were new; or a new one.
    async fn stage_of(&self, spec: &LabSpec, lane: u32) -> Result<EmbeddedStage, LabError> {
        // What a broken enforcer forgets to take back must not meet the next case.
        if self.mutant.is_some() {
            return self.open_stage(spec).await;
        }
        if let Some(id) = self.idle.take(spec, lane) {
            let stage = EmbeddedStage::new(self.client.clone(), id);
            // What cannot be cleaned is closed by its drop.
            if stage.reset().await.is_ok() {
                return Ok(stage.kept_by(&self.idle, spec, lane));
            }
        }
        Ok(self.open_stage(spec).await?.kept_by(&self.idle, spec, lane))
    }

    /// Makes a stage, as its own type.
    pub async fn open_stage(&self, spec: &LabSpec) -> Result<EmbeddedStage, LabError> {
        let id = self.last_stage.fetch_add(1, Ordering::Relaxed) + 1;
        // It exists before it is opened, so that an opening that is given up is closed all the same.
        let stage = EmbeddedStage::new(self.client.clone(), id);
        let (run, spec) = (self.run.clone(), spec.clone());
        let request = Request::Open { stage: id, run, spec, deny_by: self.deny_by, mutant: self.mutant };
        stage.update(self.client.call(request).await?)?;
        Ok(stage)
    }
}

#[async_trait]
impl Lab for EmbeddedLab {
    fn backend(&self) -> &'static str {
        super::BACKEND
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn stage(&self, spec: &LabSpec, lane: u32, cancel: &CancellationToken) -> Result<Arc<dyn Stage>, LabError> {
        tokio::select! {
            stage = self.stage_of(spec, lane) => Ok(Arc::new(stage?)),
            () = cancel.cancelled() => Err(LabError::Cancelled),
        }
    }

    async fn diagnose(&self) -> String {
        let rules = match self.client.call(Request::Diagnose).await {
            Ok(Reply::Text(text)) => text,
            Ok(_) => String::new(),
            Err(error) => format!("{error}\n"),
        };
        format!("{rules}{}", self.client.complaints())
    }

    async fn teardown(&self) -> Vec<LabError> {
        self.client.end().await.err().into_iter().collect()
    }
}

fn capabilities(curl: &str, deny_by: DenyBy, mutant: Option<Mutant>, ipv6: bool) -> Capabilities {
    let no_yet = |what: &str| format!("the embedded lab has no {what} yet");
    let enforcer = match deny_by {
        DenyBy::Drop => "reference (nftables, drops)",
        DenyBy::Reject => "reference (nftables, rejects)",
    };
    let enforcer = mutant.map_or(enforcer.to_owned(), |mutant| format!("{enforcer}, with a planted fault: {mutant}"));
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let fact = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut capabilities = Capabilities {
        has: [
            Need::Metadata,
            Need::NodeMetadata,
            Need::MetadataSettings,
            Need::Relays,
            Need::Dns,
            Need::Outside,
            Need::NodeServer,
            Need::NodeSource,
            Need::Udp,
            Need::HostNetwork,
            Need::FirstPackets,
            Need::Established,
        ]
        .into(),
        why_not: BTreeMap::from([
            (Need::Apiserver, "the embedded lab has no API server".to_owned()),
            (Need::Kubelet, "the embedded lab's nodes have no kubelet".to_owned()),
            (Need::NodeCredential, "the embedded lab's nodes have no kubelet".to_owned()),
            (Need::Services, no_yet("Services")),
            (Need::Sctp, no_yet("SCTP probes")),
            (Need::Restart, "a pod of the embedded lab has no container to restart".to_owned()),
        ]),
        facts: [fact("kernel", release.trim()), fact("curl", curl), fact("cni", &enforcer)].into(),
        converge_limit: CONVERGE_LIMIT,
    };
    if ipv6 {
        capabilities.has.insert(Need::Ipv6);
    } else {
        let why = "this kernel has no IPv6: it was started with `ipv6.disable=1`, or built without";
        capabilities.why_not.insert(Need::Ipv6, why.to_owned());
    }
    capabilities
}

/// How long `curl` may take to say its version.
const CURL_PATIENCE: Duration = Duration::from_secs(5);

/// What the `curl` on `PATH` says of its version; an error of the kind `TimedOut` where it does not end.
pub(crate) async fn curl_says() -> std::io::Result<std::process::Output> {
    let mut command = Command::new("curl");
    command.args(["-q", "--version"]).stdin(std::process::Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(CURL_PATIENCE, command.output()).await;
    output.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

/// The version of the `curl` on `PATH`, if it is new enough.
async fn curl_version() -> Result<String, LabError> {
    let hint = "install curl 7.84 or later: the lab's probes are real curl processes";
    let output = curl_says().await.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => LabError::with_hint("there is no `curl` on PATH", hint),
        std::io::ErrorKind::TimedOut => {
            let message = format!("`curl --version` does not end within {} s", CURL_PATIENCE.as_secs());
            LabError::with_hint(message, "see what the `curl` on PATH is; the lab's probes are real curl processes")
        }
        _ => LabError::with_hint(format!("cannot run curl: {error}"), hint),
    })?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (version, number) = parse_version(&text).ok_or_else(|| anyhow!("`curl --version` says no version"))?;
    if number < OLDEST_CURL {
        return Err(LabError::with_hint(format!("curl {version} is too old"), hint));
    }
    Ok(version.to_owned())
}

/// The version in the first line: `curl 8.5.0 (x86_64-pc-linux-gnu) ...`.
fn parse_version(text: &str) -> Option<(&str, (u32, u32))> {
    let version = text.strip_prefix("curl ")?.split_whitespace().next()?;
    let mut parts = version.split('.').map(str::parse);
    Some((version, (parts.next()?.ok()?, parts.next()?.ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_curl() {
        assert_eq!(parse_version("curl 7.88.1 (x86_64-pc-linux-gnu) libcurl/7.88.1\n"), Some(("7.88.1", (7, 88))));
        assert_eq!(parse_version("curl 8.15.0-DEV (Linux)\n"), Some(("8.15.0-DEV", (8, 15))));
        assert_eq!(parse_version("wget 1.2"), None);
        assert!((7, 9) < OLDEST_CURL && (8, 0) > OLDEST_CURL);
    }

    #[test]
    fn every_need_is_either_met_or_explained() {
        for ipv6 in [true, false] {
            let capabilities = capabilities("8.0.0", DenyBy::Drop, None, ipv6);
            assert!(capabilities.why_not.keys().all(|need| !capabilities.has.contains(need)));
            assert_eq!(capabilities.has.len() + capabilities.why_not.len(), 19);
            assert_eq!(capabilities.has.contains(&Need::Ipv6), ipv6);
        }
    }
}
