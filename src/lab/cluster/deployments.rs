//! Deployments that own a pod: their removal, and why they can make none.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, api::DeleteParams, runtime::wait};

use super::apply::{broken, is_gone};
use crate::lab::LabError;

/// How long the garbage collector may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Deletes a Deployment and waits until it is gone. In the foreground its pods go first, and none comes after them.
pub(crate) async fn remove(deployments: &Api<Deployment>, name: &str) -> Result<(), LabError> {
    match deployments.delete(name, &DeleteParams::foreground()).await {
        Err(error) if is_gone(&error) => return Ok(()),
        Err(error) => return Err(broken(&format!("cannot delete the Deployment `{name}`"), &error)),
        Ok(_) => {}
    }
    let gone = |deployment: Option<&Deployment>| deployment.is_none();
    let gone = wait::await_condition(deployments.clone(), name, gone);
    match tokio::time::timeout(PATIENCE, gone).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(anyhow::Error::new(error).context(format!("waiting for the end of `{name}`")).into()),
        Err(_) => Err(LabError::with_hint(
            format!("the Deployment `{name}` is not gone after {} s", PATIENCE.as_secs()),
            "see whether the cluster's kube-controller-manager runs: it removes the pods of what is deleted",
        )),
    }
}

/// Why the API server takes no pod from a Deployment, in its own words.
pub(crate) fn refusal(deployment: &Deployment) -> Option<String> {
    let mut conditions = deployment.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let failure = conditions.find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True")?;
    Some(failure.message.clone().unwrap_or_default())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refusal_is_the_condition_that_says_so() {
        let why = |kind: &str, status: &str| {
            let condition = json!({ "type": kind, "status": status, "message": "exceeded quota: q" });
            let status = json!({ "status": { "conditions": [condition] }, "metadata": { "name": "a" } });
            refusal(&serde_json::from_value(status).unwrap())
        };
        assert_eq!(why("ReplicaFailure", "True").as_deref(), Some("exceeded quota: q"));
        assert_eq!(why("ReplicaFailure", "False"), None);
        assert_eq!(why("Progressing", "True"), None);
    }
}
