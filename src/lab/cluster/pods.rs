//! Making pods, with their owners, and waiting until they serve.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{BuildHasher, RandomState},
    net::{IpAddr, SocketAddr},
    pin::pin,
    time::Duration,
};

use futures::{AsyncBufReadExt, StreamExt, TryStreamExt, future::try_join_all, stream, stream::FuturesUnordered};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Event, Pod, ServiceAccount},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, LogParams, Patch, PatchParams},
    runtime::{WatchStreamExt, wait, watcher},
};
use tokio::sync::mpsc::UnboundedSender;

use super::{
    apply::{apply, broken, hint, is_gone},
    deployments::{self, refusal},
    exec::exec,
    objects::{
        AWAIT_AGENT, AWAIT_NETEXEC, CARRY_IN, CONTAINER, DEFAULT_ACCOUNT, FIRST_CONTAINER, POD_LABEL, Recipe, Server,
        deployment, pod, relabelling, service_account, tcp_ports,
    },
    progress::{Progress, progress},
};
use crate::{
    lab::{LabError, state::RUN_LABEL},
    probe::netexec,
    scenario::{Labels, NodeName, Owner, PodSpec},
};

/// How long pods may take to serve, images included.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a log may take to show what was said before it was asked for.
const LOG_PATIENCE: Duration = Duration::from_secs(10);

/// A pod that serves.
#[derive(Clone, Debug)]
pub(crate) struct LivePod {
    /// As it is now.
    pub(crate) spec: PodSpec,
    /// Its namespace in the cluster.
    pub(crate) namespace: String,
    /// Its name in the cluster: the specification's, or what its owner made of it.
    pub(crate) name: String,
    /// The labels that it was made with, and that an owner makes its successor with.
    pub(crate) template: Labels,
    /// What tells it from an earlier pod of its name.
    pub(crate) uid: String,
    /// Its addresses.
    pub(crate) addresses: Vec<IpAddr>,
    /// Where it passes connections on to, if it does.
    pub(crate) relays_to: Option<SocketAddr>,
}

/// Makes the pods of a run.
#[derive(Clone)]
pub(crate) struct PodMaker {
    /// The cluster.
    pub(crate) client: Client,
    /// What every pod is made with.
    pub(crate) recipe: Recipe,
    /// The hostname label of each node.
    pub(crate) hostnames: BTreeMap<NodeName, String>,
    /// Who is told the addresses of pods that do not serve yet.
    pub(crate) told: Option<UnboundedSender<Vec<IpAddr>>>,
}

impl PodMaker {
    /// The same for pods that pass connections on to this place.
    pub(crate) fn relaying_to(&self, relays_to: Option<SocketAddr>) -> Self {
        Self { recipe: Recipe { relays_to, ..self.recipe.clone() }, ..self.clone() }
    }

    /// The pods of a namespace.
    pub(crate) fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace)
    }

    fn deployments(&self, namespace: &str) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Creates a pod, or the owner that will.
    async fn apply(&self, namespace: &str, spec: &PodSpec) -> Result<(), LabError> {
        if let Some(name) = spec.service_account.as_deref().filter(|name| *name != DEFAULT_ACCOUNT) {
            let accounts = Api::<ServiceAccount>::namespaced(self.client.clone(), namespace);
            let made = apply(&accounts, &service_account(name, namespace, &self.recipe.run)).await;
            made.map_err(|error| broken(&format!("cannot make the service account `{namespace}/{name}`"), &error))?;
        }
        let hostname = self.hostnames.get(&spec.node).map(String::as_str).unwrap_or_default();
        let applied = match spec.owner {
            None => {
                let body = pod(spec, namespace, hostname, &self.recipe);
                apply(&self.pods(namespace), &body).await.map(drop)
            }
            Some(Owner::Deployment) => {
                let body = deployment(spec, namespace, hostname, &self.recipe);
                apply(&self.deployments(namespace), &body).await.map(drop)
            }
        };
        applied.map_err(|error| broken(&format!("cannot make the pod `{namespace}/{}`", spec.name), &error))
    }

    /// Gives a live pod these labels in place of its own.
    pub(crate) async fn relabel(&self, live: &mut LivePod, labels: &Labels) -> Result<(), LabError> {
        let change = Patch::Merge(relabelling(&live.spec.labels, labels));
        let changed = self.pods(&live.namespace).patch(&live.name, &PatchParams::default(), &change).await;
        changed.map_err(|error| broken(&format!("cannot label the pod `{}/{}`", live.namespace, live.name), &error))?;
        live.spec.labels.clone_from(labels);
        Ok(())
    }

    /// Creates a pod without waiting for it, in a namespace that may be new.
    pub(crate) async fn create(&self, namespace: &str, spec: &PodSpec) -> Result<(), LabError> {
        self.service_account(namespace).await?;
        self.apply(namespace, spec).await
    }

    /// Creates pods (by literal namespace) and waits until each of them serves.
    pub(crate) async fn make(&self, wanted: &[(String, PodSpec)]) -> Result<Vec<LivePod>, LabError> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let mut waiting: BTreeMap<(String, String), String> = wanted
            .iter()
            .map(|(namespace, spec)| ((namespace.clone(), spec.name.clone()), "not scheduled".to_owned()))
            .collect();
        let making = async {
            // Admission refuses pods of a namespace that is so new that it has no service account.
            let namespaces: BTreeSet<_> = wanted.iter().map(|(namespace, _)| namespace).collect();
            try_join_all(namespaces.into_iter().map(|namespace| self.service_account(namespace))).await?;
            try_join_all(wanted.iter().map(|(namespace, spec)| self.apply(namespace, spec))).await?;
            self.serving(wanted, &mut waiting).await
        };
        if let Ok(made) = tokio::time::timeout(PATIENCE, making).await {
            return made;
        }
        let states: Vec<_> = waiting.iter().map(|((space, name), why)| format!("{space}/{name}: {why}")).collect();
        Err(LabError::with_hint(
            format!("pods do not serve after {} s: {}", PATIENCE.as_secs(), states.join("; ")),
            "`kubectl describe pod` says more; `--probe-image` names another image",
        ))
    }

    /// Creates a pod, and tells its addresses when they are known. It may run a script before it serves; the pod, and what the
    /// script wrote.
    pub(crate) async fn make_told(
        &self,
        namespace: String,
        spec: PodSpec,
        script: Option<&str>,
        told: UnboundedSender<Vec<IpAddr>>,
    ) -> Result<(Vec<LivePod>, Vec<String>), LabError> {
        let recipe = Recipe { first: script.map(str::to_owned), ..self.recipe.clone() };
        let made = Self { recipe, told: Some(told), ..self.clone() }.make(&[(namespace, spec)]).await?;
        let mut lines = Vec::new();
        for live in made.iter().filter(|_| script.is_some()) {
            let what = format!("cannot read what ran first in `{}/{}`", live.namespace, live.name);
            let log = LogParams { container: Some(FIRST_CONTAINER.to_owned()), ..LogParams::default() };
            let text =
                self.pods(&live.namespace).logs(&live.name, &log).await.map_err(|error| broken(&what, &error))?;
            lines.extend(text.lines().map(str::to_owned));
        }
        Ok((made, lines))
    }

    async fn service_account(&self, namespace: &str) -> Result<(), LabError> {
        let accounts = Api::<ServiceAccount>::namespaced(self.client.clone(), namespace);
        let there = |account: Option<&ServiceAccount>| account.is_some();
        let waited = tokio::time::timeout(PATIENCE, wait::await_condition(accounts, "default", there)).await;
        let late = || anyhow::anyhow!("`{namespace}` has no service account after {} s", PATIENCE.as_secs());
        waited
            .map_err(|_| LabError::from(late()))?
            .map(drop)
            .map_err(|error| LabError::from(anyhow::Error::new(error).context("waiting for a service account")))
    }

    /// Sees to it that each pod serves, as soon as its container runs.
    async fn serving(
        &self,
        wanted: &[(String, PodSpec)],
        waiting: &mut BTreeMap<(String, String), String>,
    ) -> Result<Vec<LivePod>, LabError> {
        let selector = watcher::Config::default().labels(&format!("{RUN_LABEL}={}", self.recipe.run));
        let mut changes = pin!(watcher(Api::<Pod>::all(self.client.clone()), selector.clone()).applied_objects());
        let failures = watcher::Config::default().fields("reason=FailedCreatePodSandBox");
        let failures = watcher(Api::<Event>::all(self.client.clone()), failures).default_backoff();
        let mut failures = pin!(failures.applied_objects());
        let mut owners = if wanted.iter().any(|(_, spec)| spec.owner.is_some()) {
            let owners = watcher(Api::<Deployment>::all(self.client.clone()), selector);
            owners.default_backoff().applied_objects().boxed()
        } else {
            stream::pending().boxed()
        };
        let (mut carrying, mut replacing) = (FuturesUnordered::new(), FuturesUnordered::new());
        let (mut failed, mut handled) = (BTreeSet::new(), BTreeSet::new());
        let mut young = BTreeMap::new();
        let mut live: Vec<LivePod> = Vec::new();
        while live.len() < wanted.len() {
            tokio::select! {
                change = changes.try_next() => {
                    let change =
                        change.map_err(|error| LabError::from(anyhow::Error::new(error).context("watching pods")))?;
                    let Some(change) = change else { return Err(anyhow::anyhow!("the watch of pods ended").into()) };
                    let name = change.name_any();
                    let key = (change.namespace().unwrap_or_default(), change.labels().get(POD_LABEL).unwrap_or(&name).clone());
                    let is_wanted = |(space, spec): &&(String, PodSpec)| (space, &spec.name) == (&key.0, &key.1);
                    let Some((_, spec)) = wanted.iter().find(is_wanted) else { continue };
                    let uid = change.uid().unwrap_or_default();
                    match progress(&change) {
                        Progress::Waiting(why) => {
                            waiting.insert(key, why);
                            young.insert(uid, (change.namespace().unwrap_or_default(), name, spec));
                        }
                        Progress::Hopeless(why) => return Err(hopeless(&key, &why)),
                        Progress::Running { addresses, .. } => {
                            if handled.insert(uid.clone()) {
                                waiting.insert(key.clone(), "its server does not listen".to_owned());
                                self.told.iter().for_each(|told| drop(told.send(addresses.clone())));
                                let template = spec.labels.clone();
                                let relays_to = self.recipe.relays_to.filter(|_| spec.relay.is_some());
                                let (spec, namespace) = (spec.clone(), key.0);
                                let live = LivePod { spec, namespace, name, template, uid, addresses, relays_to };
                                carrying.push(self.carry(live));
                            }
                        }
                    }
                }
                // Where these cannot be watched, the kubelet's own next try is waited for.
                Some(Ok(event)) = failures.next() => { failed.extend(event.involved_object.uid); }
                // Nor can these be everywhere; a pod that never comes is late then, without a reason.
                Some(Ok(owner)) = owners.next() => {
                    let key = (owner.namespace().unwrap_or_default(), owner.name_any());
                    if let Some(why) = refusal(&owner).filter(|_| waiting.contains_key(&key)) {
                        return Err(LabError::Broken {
                            message: format!("cannot make the pod `{}/{}`: {why}", key.0, key.1),
                            hint: hint(&why),
                        });
                    }
                }
                Some(replaced) = replacing.next() => { let () = replaced?; }
                Some((pod, carried)) = carrying.next() => {
                    let key = (pod.namespace.clone(), pod.spec.name.clone());
                    match carried {
                        Ok(()) => {
                            waiting.remove(&key);
                            live.push(pod);
                        }
                        // A young CNI may have the kubelet make a sandbox twice: the container is gone again.
                        Err(why) => {
                            let spec = wanted.iter().find(|(space, spec)| (space, &spec.name) == (&key.0, &key.1));
                            replacing.extend(spec.map(|(space, spec)| self.replace(space.clone(), pod.name, spec)));
                            waiting.insert(key, format!("its server does not start: {why}"));
                        }
                    }
                }
            }
            for (uid, (namespace, name, spec)) in &young {
                if failed.contains(uid) && handled.insert(uid.clone()) {
                    replacing.push(self.replace(namespace.clone(), name.clone(), spec));
                }
            }
        }
        Ok(live)
    }

    async fn carry(&self, pod: LivePod) -> (LivePod, Result<(), String>) {
        let started = match self.recipe.server {
            Server::Agent(agent) => {
                let pods = self.pods(&pod.namespace);
                exec(&pods, &pod.name, &["sh", "-c", CARRY_IN], agent).await.map(drop)
            }
            Server::Netexec => self.listening(&pod).await,
        };
        (pod, started)
    }

    /// Waits until the server of a container that has what it needs listens.
    async fn listening(&self, pod: &LivePod) -> Result<(), String> {
        let ports: Vec<_> = tcp_ports(&pod.spec).map(|port| port.to_string()).collect();
        let mut command = match self.recipe.server {
            Server::Agent(_) => vec!["sh", "-c", AWAIT_AGENT],
            Server::Netexec => vec!["sh", "-c", AWAIT_NETEXEC, "sh"],
        };
        if self.recipe.server == Server::Netexec {
            command.extend(ports.iter().map(String::as_str));
        }
        exec(&self.pods(&pod.namespace), &pod.name, &command, b"").await.map(drop)
    }

    /// The nonces of the requests that a pod's `netexec` has got, by its container's log. A request from the pod itself
    /// marks the log's end: whatever arrived before it stands before it.
    pub(crate) async fn logged(&self, pod: &LivePod) -> Result<BTreeSet<String>, LabError> {
        let Some(port) = tcp_ports(&pod.spec).next() else { return Ok(BTreeSet::new()) };
        let (pods, what) =
            (self.pods(&pod.namespace), format!("cannot read the log of `{}/{}`", pod.namespace, pod.name));
        let reading = async {
            let mark = format!("mark-{:016x}", RandomState::new().hash_one(&pod.uid));
            let url = format!("http://127.0.0.1:{port}{}", netexec::path(Some(&mark)));
            let ask = ["curl", "-q", "-s", "-S", "-f", "--noproxy", "*", "-o", "/dev/null", &url];
            exec(&pods, &pod.name, &ask, b"").await.map_err(|error| anyhow::anyhow!("{what}: {error}"))?;
            let log = LogParams { container: Some(CONTAINER.to_owned()), follow: true, ..LogParams::default() };
            let log = pods.log_stream(&pod.name, &log).await.map_err(|error| broken(&what, &error))?;
            let (mut lines, mut nonces) = (pin!(log.lines()), BTreeSet::new());
            while let Some(line) = lines.try_next().await.map_err(|error| anyhow::anyhow!("{what}: {error}"))? {
                match netexec::nonce(&line) {
                    Some(nonce) if nonce == mark => return Ok(nonces),
                    nonce => nonces.extend(nonce.map(str::to_owned)),
                }
            }
            Err(anyhow::anyhow!("{what}: it ended before its end").into())
        };
        let late = || Err(anyhow::anyhow!("{what}: its end did not come within {} s", LOG_PATIENCE.as_secs()).into());
        tokio::time::timeout(LOG_PATIENCE, reading).await.unwrap_or_else(|_| late())
    }

    /// A new pod in place of one whose network could not be made, as happens on nodes that are Ready a moment before
    /// their CNI is: the kubelet would try the old one again only after up to half a minute.
    pub(super) async fn replace(&self, namespace: String, name: String, spec: &PodSpec) -> Result<(), LabError> {
        self.end(&namespace, &name).await?;
        match spec.owner {
            None => self.apply(&namespace, spec).await,
            Some(Owner::Deployment) => Ok(()),
        }
    }

    /// Deletes a pod and waits until its successor serves: with the labels that the pod had, or those of its owner's
    /// template.
    pub(crate) async fn recreate(&self, live: &LivePod) -> Result<Vec<LivePod>, LabError> {
        self.end(&live.namespace, &live.name).await?;
        let labels = match live.spec.owner {
            None => &live.spec.labels,
            Some(Owner::Deployment) => &live.template,
        };
        let spec = PodSpec { labels: labels.clone(), ..live.spec.clone() };
        self.make(&[(live.namespace.clone(), spec)]).await
    }

    /// Deletes a pod, with its owner, and waits until it is gone.
    pub(crate) async fn remove(&self, namespace: &str, spec: &PodSpec) -> Result<(), LabError> {
        match spec.owner {
            None => self.end(namespace, &spec.name).await,
            Some(Owner::Deployment) => deployments::remove(&self.deployments(namespace), &spec.name).await,
        }
    }

    /// Deletes a pod at once and waits until it is gone. Its owner makes another.
    async fn end(&self, namespace: &str, name: &str) -> Result<(), LabError> {
        let pods = self.pods(namespace);
        match pods.delete(name, &DeleteParams::default().grace_period(0)).await {
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => return Err(broken(&format!("cannot delete the pod `{namespace}/{name}`"), &error)),
            Ok(_) => {}
        }
        let gone = wait::await_condition(pods, name, |pod: Option<&Pod>| pod.is_none());
        match tokio::time::timeout(PATIENCE, gone).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(anyhow::Error::new(error).context(format!("waiting for the end of `{name}`")).into()),
            Err(_) => {
                Err(anyhow::anyhow!("the pod `{namespace}/{name}` is not gone after {} s", PATIENCE.as_secs()).into())
            }
        }
    }

    /// Ends a pod's container and waits until the next one serves.
    pub(crate) async fn restart(&self, pod: &LivePod) -> Result<(), LabError> {
        let (pods, name) = (self.pods(&pod.namespace), pod.name.as_str());
        let what = format!("cannot restart `{}/{name}`", pod.namespace);
        let before = pods.get(name).await.map_err(|error| broken(&what, &error))?;
        let Progress::Running { restarts: before, .. } = progress(&before) else {
            return Err(anyhow::anyhow!("{what}: it does not run").into());
        };
        let restarting = async {
            // The shell may die with the container before it says that it did as it was told.
            let _ = exec(&pods, name, &["kill", "1"], b"").await;
            let again = |pod: Option<&Pod>| {
                pod.is_some_and(|pod| matches!(progress(pod), Progress::Running { restarts, .. } if restarts > before))
            };
            let waited = wait::await_condition(pods.clone(), name, again).await;
            waited.map_err(|error| LabError::from(anyhow::Error::new(error).context(what.clone())))?;
            self.listening(pod).await.map_err(|error| anyhow::anyhow!("{what}: {error}"))?;
            Ok(())
        };
        tokio::time::timeout(PATIENCE, restarting)
            .await
            .unwrap_or_else(|_| Err(anyhow::anyhow!("{what}: it does not serve after {} s", PATIENCE.as_secs()).into()))
    }
}

fn hopeless((namespace, name): &(String, String), why: &str) -> LabError {
    LabError::with_hint(
        format!("the pod `{namespace}/{name}` cannot start: {why}"),
        "`--probe-image` names an image that the nodes can pull, or that is loaded on them",
    )
}
