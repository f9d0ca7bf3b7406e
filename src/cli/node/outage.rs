//! An outage, as it is made for measuring: the API server of a cluster of kind is started anew, and the history of its nodes is
//! compacted. What a watch makes of it is left to those who measure.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use kube::Client;
use serde_json::{Value, json};

use crate::{
    lab::kind::command::run,
    node::source::{Source, refused},
};

/// How long an API server may take to answer again.
const PATIENCE: Duration = Duration::from_secs(120);
/// A key that no API server looks at, in base64.
const KEY: &str = "cG9saWN5cHJvYmU=";
/// How often it is asked.
const OFTEN: Duration = Duration::from_millis(250);

/// The control plane of a cluster of kind.
pub(super) struct ControlPlane {
    container: String,
}

impl ControlPlane {
    /// Of the cluster that a context is of; none where it is not one of kind.
    pub(super) fn of(context: &str) -> Option<Self> {
        let cluster = context.strip_prefix("kind-")?;
        Some(Self { container: format!("{cluster}-control-plane") })
    }

    async fn on(&self, args: &[&str]) -> anyhow::Result<String> {
        Ok(run("docker", &[&["exec", &self.container][..], args].concat(), None).await?.trim().to_owned())
    }

    /// The container of this name that runs.
    async fn running(&self, name: &str) -> anyhow::Result<String> {
        let filter = format!("labels.\"io.kubernetes.container.name\"=={name}");
        let named = self.on(&["ctr", "-n", "k8s.io", "containers", "ls", "-q", &filter]).await?;
        let tasks = self.on(&["ctr", "-n", "k8s.io", "tasks", "ls"]).await?;
        running(&named, &tasks).with_context(|| format!("no {name} runs on {}", self.container)).map(str::to_owned)
    }

    /// Ends the API server, and waits until the kubelet has started another one that answers. What a watch saw last is then too
    /// old for it.
    pub(super) async fn restart(&self, client: &Client) -> anyhow::Result<()> {
        let before = self.running("kube-apiserver").await?;
        self.on(&["ctr", "-n", "k8s.io", "tasks", "kill", "-s", "SIGKILL", &before]).await?;
        // Nobody writes while there is no API server, and the next one would go on where the last one was.
        self.etcd("put", &json!({"key": KEY, "value": KEY})).await?;
        self.etcd("deleterange", &json!({"key": KEY})).await?;
        let begun = Instant::now();
        let source = Source::new(client.clone());
        loop {
            let another = self.running("kube-apiserver").await.is_ok_and(|now| now != before);
            // It answers before it knows its roles.
            if another && source.version().await.is_ok() {
                return Ok(());
            }
            anyhow::ensure!(begun.elapsed() < PATIENCE, "the API server does not answer again");
            tokio::time::sleep(OFTEN).await;
        }
    }

    /// Drops all history until now.
    pub(super) async fn compact(&self, client: &Client) -> anyhow::Result<()> {
        let version = Source::new(client.clone()).version().await.map_err(|error| refused(&error, "list"))?;
        self.etcd("compaction", &json!({"revision": version, "physical": true})).await
    }

    /// Asks etcd by its gateway: not every image of it has `etcdctl`.
    async fn etcd(&self, what: &str, body: &Value) -> anyhow::Result<()> {
        let identity = ["ca.crt", "server.crt", "server.key"].map(|file| format!("/etc/kubernetes/pki/etcd/{file}"));
        let (url, body) = (format!("https://127.0.0.1:2379/v3/kv/{what}"), body.to_string());
        let ask = ["curl", "-qsS", "--fail-with-body", "--noproxy", "*", "--max-time", "60", "-d", &body, &url];
        let as_server = ["--cacert", &identity[0], "--cert", &identity[1], "--key", &identity[2]];
        self.on(&[&ask[..], &as_server].concat()).await.with_context(|| format!("etcd's {what}")).map(drop)
    }
}

/// Which of the named containers has a task that runs, by what `ctr` lists.
fn running<'a>(named: &'a str, tasks: &str) -> Option<&'a str> {
    let is_running = |name: &str| {
        let mut fields = tasks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        fields.any(|fields| fields.first() == Some(&name) && fields.last() == Some(&"RUNNING"))
    };
    named.lines().map(str::trim).find(|name| is_running(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clusters_of_kind_have_a_control_plane_that_can_be_entered() {
        assert_eq!(ControlPlane::of("kind-a-b").map(|it| it.container), Some("a-b-control-plane".to_owned()));
        assert!(ControlPlane::of("staging").is_none());
    }

    #[test]
    fn a_container_that_has_ended_is_none() {
        let tasks = "TASK    PID    STATUS\nold     7      STOPPED\nnew     8      RUNNING\nother   9      RUNNING\n";
        assert_eq!(running("old\nnew", tasks), Some("new"));
        assert_eq!(running("old\n", tasks), None);
        assert_eq!(running("", tasks), None);
    }
}
