//! The way to the API server of these commands: a kubeconfig, or the pod's own service account.

use std::path::Path;

use kube::{Client, Config};

use crate::lab::{
    LabError,
    cluster::{Access, ClusterMark},
};

/// A client for the cluster that the flags mean: without any, in a pod, the cluster of that pod.
pub async fn connect(context: Option<&str>, kubeconfig: Option<&Path>) -> Result<(Client, ClusterMark), LabError> {
    let chosen = context.is_some() || kubeconfig.is_some() || std::env::var_os("KUBECONFIG").is_some();
    if !chosen && std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        let config = Config::incluster().map_err(|error| {
            LabError::with_hint(
                format!("this looks like a pod, and has no service account token: {error}"),
                "set `automountServiceAccountToken: true`, or give `--kubeconfig`",
            )
        })?;
        let mark = ClusterMark::of(&config);
        let client = Client::try_from(config).map_err(|error| LabError::from(anyhow::Error::new(error)))?;
        return Ok((client, mark));
    }
    let Access { client, mark, .. } = access(context, kubeconfig).await?;
    Ok((client, mark))
}

/// The way to the cluster that the flags mean, by a kubeconfig.
pub(crate) async fn access(context: Option<&str>, kubeconfig: Option<&Path>) -> Result<Access, LabError> {
    Access::user(context, kubeconfig).await.map_err(explained)
}

/// The same error with a hint that fits commands that have no other backend to offer.
fn explained(error: LabError) -> LabError {
    let LabError::Broken { message, hint } = error else { return error };
    let hint = if hint.as_deref().is_some_and(|hint| hint.contains("--backend")) {
        "give another file with `--kubeconfig` or KUBECONFIG; `kubectl config view` shows what is in it".to_owned()
    } else {
        hint.unwrap_or_else(|| "see that `kubectl get nodes` works".to_owned())
    };
    LabError::with_hint(message, hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_offer_no_backend() {
        let broken = LabError::with_hint("the kubeconfig is broken", "or use `--backend kind`");
        assert!(explained(broken).hint().is_some_and(|hint| hint.contains("--kubeconfig")));
        let context = LabError::with_hint("no context `a`", "contexts: b");
        assert_eq!(explained(context).hint(), Some("contexts: b"));
    }
}
