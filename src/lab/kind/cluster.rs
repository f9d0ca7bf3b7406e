//! Making a kind cluster, and waiting for its nodes.

use std::{collections::BTreeSet, io::Write, path::Path, pin::pin, time::Duration};

use anyhow::Context;
use futures::TryStreamExt;
use include_dir::{Dir, include_dir};
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use serde_json::{Value, json};

use super::{
    builder::{Cni, KindBuilder},
    command::{run, run_recorded},
};
use crate::{
    input,
    lab::{
        LabError,
        cluster::{Access, is_ready},
        state::RunState,
    },
};

/// The kind configurations, as they are in the package.
static CONFIGURATIONS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/kind-config");

/// How long nodes may take to be Ready; longer where a person installs the CNI by hand.
pub(super) const PATIENCE: Duration = Duration::from_secs(180);
const PATIENCE_BY_HAND: Duration = Duration::from_secs(600);

/// The names of the kind configurations in the package.
pub(crate) fn shipped_configurations() -> Vec<&'static str> {
    // Whoever mounts files of the host, or has no CNI, is for `kind` itself, in that folder.
    let alone = ["hostPath: ./", "disableDefaultCNI: true"];
    let stands_alone = |text: &str| text.contains("kind: Cluster\n") && !alone.iter().any(|part| text.contains(part));
    let own = CONFIGURATIONS.files().filter(|file| file.contents_utf8().is_some_and(stands_alone));
    own.filter_map(|file| file.path().file_stem()?.to_str()).collect()
}

/// A configuration of the package, by its name.
pub(crate) fn shipped_configuration(name: &str) -> Option<&'static str> {
    CONFIGURATIONS.get_file(format!("{name}.yaml"))?.contents_utf8()
}

/// The text of a configuration, without kind's own CNI, where another one is wanted.
fn with_cni(text: &str, cni: &Cni) -> Result<String, LabError> {
    if matches!(cni, Cni::Default) {
        return Ok(text.to_owned());
    }
    let parsed = serde_yaml::from_str(text).ok().filter(Value::is_object);
    let mut value = parsed.ok_or_else(|| {
        let hint = "https://kind.sigs.k8s.io/docs/user/configuration/ says how one is written";
        LabError::with_hint("the kind configuration is no `kind: Cluster`", hint)
    })?;
    value["networking"]["disableDefaultCNI"] = json!(true);
    Ok(value.to_string())
}

fn configuration(options: &KindBuilder) -> anyhow::Result<&str> {
    options.config.as_deref().or_else(|| shipped_configuration("lab")).context("kind-config/lab.yaml")
}

/// How many nodes the cluster is to have.
pub(crate) fn size(options: &KindBuilder) -> anyhow::Result<usize> {
    let parsed: Value = serde_yaml::from_str(configuration(options)?).unwrap_or_default();
    Ok(parsed["nodes"].as_array().map_or(1, Vec::len))
}

/// Runs `kind create cluster`, with a kubeconfig of the run's own.
pub(crate) async fn create(state: &RunState, name: &str, options: &KindBuilder) -> Result<(), LabError> {
    let text = with_cni(configuration(options)?, &options.cni)?;
    let mut file = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
    file.write_all(text.as_bytes()).context("cannot write a temporary file")?;
    let (config, kubeconfig) = (file.path().display().to_string(), state.kubeconfig().display().to_string());
    let mut arguments = vec!["create", "cluster", "--name", name, "--config", &config, "--kubeconfig", &kubeconfig];
    arguments.extend(options.node_image.iter().flat_map(|image| ["--image", image]));
    run_recorded(state, "kind", &arguments).await.map(drop).map_err(|error| {
        let message = error.to_string();
        let hint = if message.contains("pull") || message.contains("No such image") {
            "the node image cannot be pulled: name one that is there with `--node-image` or POLICYPROBE_NODE_IMAGE"
        } else {
            "kind's known issues: https://kind.sigs.k8s.io/docs/user/known-issues/"
        };
        LabError::with_hint(message, hint)
    })
}

/// Fails where a cluster of this name exists.
pub(crate) async fn check_free(name: &str) -> Result<(), LabError> {
    let clusters = run("kind", &["get", "clusters"], None).await?;
    if clusters.lines().any(|known| known == name) {
        let hint =
            format!("`policyprobe cleanup` removes what an earlier run left; `--cluster {name}` uses a kept one");
        return Err(LabError::with_hint(format!("there is a kind cluster `{name}` already"), hint));
    }
    Ok(())
}

/// The containers of a cluster's nodes.
pub(crate) async fn nodes(name: &str) -> Result<Vec<String>, LabError> {
    Ok(run("kind", &["get", "nodes", "--name", name], None).await?.lines().map(str::to_owned).collect())
}

/// The largest manifest of a CNI that is read, in bytes; Calico's and Cilium's have less than one MiB.
const LARGEST: u64 = 64 << 20;

/// Applies a CNI's manifests with the control plane's own `kubectl`. Resources of kinds that the same file defines are
/// refused until those are served, so that a second try is made after `kubectl` has waited for them.
pub(crate) async fn install(control_plane: &str, manifest: &Path) -> Result<(), LabError> {
    let bytes = input::bytes(manifest, LARGEST).map_err(|error| {
        let message = format!("cannot read {}: {error}", manifest.display());
        LabError::with_hint(message, "`--cni` takes `default`, `none` or a file")
    })?;
    let kubectl = ["exec", "-i", control_plane, "kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf"];
    let apply = [&kubectl[..], &["apply", "--server-side", "--force-conflicts", "-f", "-"]].concat();
    if run("docker", &apply, Some(bytes.clone())).await.is_ok() {
        return Ok(());
    }
    let wait = ["wait", "--for=condition=Established", "--timeout=20s", "crd", "--all"];
    // Where there are no such kinds this fails, and the second try says what is wrong.
    let _ = run("docker", &[&kubectl[..], &wait].concat(), None).await;
    run("docker", &apply, Some(bytes)).await.map(drop).map_err(|error| {
        LabError::with_hint(
            format!("cannot install the CNI: {error}"),
            format!("see that {} is for this Kubernetes", manifest.display()),
        )
    })
}

/// Waits until these many nodes have joined, Ready or not.
pub(crate) async fn joined(access: &Access, count: usize) -> Result<(), LabError> {
    match tokio::time::timeout(PATIENCE, watch(access, count, |_| true)).await {
        Ok(joined) => Ok(joined?),
        Err(_) => Err(anyhow::anyhow!("{count} nodes have not joined after {} s", PATIENCE.as_secs()).into()),
    }
}

/// Waits until these many nodes are Ready.
pub(crate) async fn ready(access: &Access, count: usize, cni: &Cni) -> Result<(), LabError> {
    let patience = if matches!(cni, Cni::None) { PATIENCE_BY_HAND } else { PATIENCE };
    match tokio::time::timeout(patience, watch(access, count, is_ready)).await {
        Ok(ready) => Ok(ready?),
        Err(_) => Err(LabError::with_hint(
            format!("the nodes are not Ready after {} s", patience.as_secs()),
            "a CNI that does not start is the usual reason; `--keep` is of no help here, `kubectl get pods -A` while it waits is",
        )),
    }
}

/// Watches the nodes until these many are as wanted.
async fn watch(access: &Access, count: usize, is_wanted: impl Fn(&Node) -> bool) -> anyhow::Result<()> {
    let nodes = Api::<Node>::all(access.client.clone());
    let mut changes = pin!(watcher(nodes, watcher::Config::default()).applied_objects());
    let mut found = BTreeSet::new();
    while found.len() < count {
        let node = changes.try_next().await.context("watching nodes")?.context("the watch of nodes ended")?;
        if is_wanted(&node) {
            found.insert(node.name_any());
        } else {
            found.remove(&node.name_any());
        }
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn another_cni_takes_the_place_of_kind_s_own() {
        for shipped in shipped_configurations() {
            let with = |cni| with_cni(shipped_configuration(shipped).unwrap(), cni).unwrap();
            let own: Value = serde_yaml::from_str(&with(&Cni::Default)).unwrap();
            assert_eq!(own["networking"].get("disableDefaultCNI"), None);
            assert_eq!(own["nodes"].as_array().unwrap().len(), 2);
            let other: Value = serde_yaml::from_str(&with(&Cni::None)).unwrap();
            assert_eq!(other["networking"]["disableDefaultCNI"], true);
            assert_eq!(other["networking"]["ipFamily"], own["networking"]["ipFamily"]);
            assert_eq!(other["nodes"], own["nodes"]);
        }
    }

    #[test]
    fn what_is_no_configuration_gets_no_cni() {
        assert!(with_cni("- 1", &Cni::None).is_err());
        assert!(with_cni("{", &Cni::None).is_err());
    }
}
