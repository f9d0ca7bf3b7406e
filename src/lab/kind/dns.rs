//! The metadata server's name in the cluster's DNS, in clusters of our own. When it starts is `hold`'s business.

use std::fmt::Write;

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;

use crate::{
    lab::{
        LabError,
        cluster::{Access, is_gone},
    },
    metadata::LINK_LOCAL,
};

pub(super) const NAMESPACE: &str = "kube-system";
pub(super) const SERVERS: &str = "k8s-app=kube-dns";

/// Lets CoreDNS answer the name. Servers that may have read the old configuration are replaced.
pub(crate) async fn name(access: &Access, name: &str) -> Result<(), LabError> {
    edit(access, name)
        .await
        .map_err(|error| LabError::from(error.context("cannot name the metadata server in CoreDNS")))
}

async fn edit(access: &Access, name: &str) -> anyhow::Result<()> {
    let maps = Api::<ConfigMap>::namespaced(access.client.clone(), NAMESPACE);
    let Some(map) = maps.get_opt("coredns").await? else {
        anyhow::bail!("there is no ConfigMap {NAMESPACE}/coredns");
    };
    let old = map.data.as_ref().and_then(|data| data.get("Corefile")).cloned().unwrap_or_default();
    let Some(new) = with_host(&old, name) else { return Ok(()) };
    let change = json!({ "data": { "Corefile": new } });
    maps.patch("coredns", &PatchParams::default(), &Patch::Merge(&change)).await?;
    replace(access).await
}

/// Deletes the servers that run, or are about to, so that others take their place.
async fn replace(access: &Access) -> anyhow::Result<()> {
    let pods = Api::<Pod>::namespaced(access.client.clone(), NAMESPACE);
    for pod in pods.list(&ListParams::default().labels(SERVERS)).await? {
        if pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()) {
            match pods.delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await {
                Err(error) if !is_gone(&error) => return Err(error.into()),
                _ => {}
            }
        }
    }
    Ok(())
}

/// The configuration with the name in it; none where it is there already.
fn with_host(corefile: &str, name: &str) -> Option<String> {
    if corefile.contains(name) {
        return None;
    }
    let mut new = String::new();
    let mut is_placed = false;
    for line in corefile.lines() {
        if !is_placed && line.trim_start().starts_with("kubernetes ") {
            // Writing to a string cannot fail.
            let _ = write!(new, "    hosts {{\n        {LINK_LOCAL} {name}\n        fallthrough\n    }}\n");
            is_placed = true;
        }
        new.push_str(line);
        new.push('\n');
    }
    is_placed.then_some(new)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_placed_once_before_the_cluster_s_own() {
        let old = ".:53 {\n    errors\n    kubernetes cluster.local {\n    }\n}\n";
        let new = with_host(old, "metadata.google.internal").unwrap();
        assert_eq!(
            new,
            ".:53 {\n    errors\n    hosts {\n        169.254.169.254 metadata.google.internal\n        fallthrough\n    }\n    \
             kubernetes cluster.local {\n    }\n}\n"
        );
        assert_eq!(with_host(&new, "metadata.google.internal"), None);
    }
}
