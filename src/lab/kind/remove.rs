//! Removing what a run made in Docker: its cluster, its containers, its images, its network. Nothing else is touched.

use std::path::Path;

use super::command::run;
use crate::lab::{LabError, state::RUN_LABEL};

/// The label of kind's own containers, with the cluster's name.
const KIND_LABEL: &str = "io.x-k8s.kind.cluster";

/// Deletes a cluster; one that does not exist is deleted.
pub(crate) async fn cluster(name: &str, kubeconfig: &Path) -> Result<(), LabError> {
    let kubeconfig = kubeconfig.display().to_string();
    let deleted = run("kind", &["delete", "cluster", "--name", name, "--kubeconfig", &kubeconfig], None).await;
    // A `kind create` that was killed may have asked for one more container just before.
    containers(&format!("{KIND_LABEL}={name}")).await?;
    deleted.map(drop)
}

/// Removes a run's own containers and images.
pub(crate) async fn labelled(of: &str) -> Result<(), LabError> {
    containers(&format!("{RUN_LABEL}={of}")).await?;
    let filter = format!("label={RUN_LABEL}={of}");
    let images = run("docker", &["images", "-q", "--filter", &filter], None).await?;
    let mut arguments = vec!["image", "rm", "-f"];
    arguments.extend(images.lines());
    if arguments.len() > 3 {
        run("docker", &arguments, None).await?;
    }
    Ok(())
}

async fn containers(label: &str) -> Result<(), LabError> {
    let filter = format!("label={label}");
    let ids = run("docker", &["ps", "-aq", "--filter", &filter], None).await?;
    let mut arguments = vec!["rm", "-f", "-v"];
    arguments.extend(ids.lines());
    if arguments.len() > 3 {
        run("docker", &arguments, None).await?;
    }
    Ok(())
}

/// Removes the network that `kind` made for the run. Docker refuses while another cluster is on it, and that is right.
pub(crate) async fn network(name: &str) -> Result<(), LabError> {
    match run("docker", &["network", "rm", name], None).await {
        Err(LabError::Broken { message, .. })
            if message.contains("active endpoints")
                || message.contains("not found")
                || message.contains("No such network") =>
        {
            Ok(())
        }
        other => other.map(drop),
    }
}
