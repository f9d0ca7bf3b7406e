//! How far a pod is, by its status.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// How far a pod is.
#[derive(Debug, PartialEq)]
pub(crate) enum Progress {
    /// Not there yet, and why.
    Waiting(String),
    /// It never will be.
    Hopeless(String),
    /// Its container runs, for the nth time.
    Running { addresses: Vec<IpAddr>, restarts: i32 },
}

/// Whether a pod says that it is Ready.
pub(crate) fn is_pod_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// How far a pod is, by its status.
pub(crate) fn progress(pod: &Pod) -> Progress {
    let Some(status) = &pod.status else { return Progress::Waiting("no status".to_owned()) };
    if pod.metadata.deletion_timestamp.is_some() {
        return Progress::Waiting("being deleted".to_owned());
    }
    if status.phase.as_deref() == Some("Failed") {
        let words = [status.reason.as_deref(), status.message.as_deref()];
        return Progress::Hopeless(words.into_iter().flatten().collect::<Vec<_>>().join(": "));
    }
    let container = status.container_statuses.iter().flatten().next();
    if let Some(waiting) = container.and_then(|container| container.state.as_ref()?.waiting.as_ref()) {
        let reason = waiting.reason.clone().unwrap_or_default();
        let why = format!("{reason}: {}", waiting.message.as_deref().unwrap_or("no message"));
        let lost = [
            "ImagePullBackOff",
            "ErrImageNeverPull",
            "InvalidImageName",
            "CreateContainerConfigError",
            "CreateContainerError",
        ];
        return if lost.contains(&reason.as_str()) { Progress::Hopeless(why) } else { Progress::Waiting(why) };
    }
    let addresses: Vec<IpAddr> = status.pod_ips.iter().flatten().filter_map(|ip| ip.ip.parse().ok()).collect();
    match container {
        Some(ContainerStatus { state: Some(state), restart_count, .. })
            if state.running.is_some() && !addresses.is_empty() =>
        {
            Progress::Running { addresses, restarts: *restart_count }
        }
        _ => {
            let conditions = status.conditions.iter().flatten();
            let mut unmet =
                conditions.filter(|condition| condition.status == "False").filter_map(|c| c.message.clone());
            Progress::Waiting(unmet.next_back().unwrap_or_else(|| "the container does not run".to_owned()))
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    fn state(status: &serde_json::Value) -> Progress {
        progress(&serde_json::from_value(json!({ "metadata": { "name": "a" }, "status": status })).unwrap())
    }

    #[test]
    fn an_image_that_cannot_be_pulled_is_hopeless_and_a_first_failure_is_not() {
        let waiting = |reason: &str| {
            state(
                &json!({ "containerStatuses": [{ "name": "probe", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": { "waiting": { "reason": reason, "message": "not found" } } }] }),
            )
        };
        assert_eq!(waiting("ImagePullBackOff"), Progress::Hopeless("ImagePullBackOff: not found".to_owned()));
        assert!(matches!(waiting("ErrImagePull"), Progress::Waiting(_)));
        assert!(matches!(waiting("ContainerCreating"), Progress::Waiting(_)));
    }

    #[test]
    fn a_pod_runs_when_its_container_does_and_it_has_an_address() {
        let container = json!([{ "name": "probe", "image": "", "imageID": "", "ready": true, "restartCount": 2,
            "state": { "running": {} } }]);
        let running = state(&json!({ "containerStatuses": container, "podIPs": [{ "ip": "10.244.1.2" }] }));
        assert_eq!(running, Progress::Running { addresses: vec!["10.244.1.2".parse().unwrap()], restarts: 2 });
        assert!(matches!(state(&json!({ "containerStatuses": container })), Progress::Waiting(_)));
    }
}
