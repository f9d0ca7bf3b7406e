//! Whether the backend `kind` works here.

use super::command::run;
use crate::lab::{Check, LabError, agent};

/// Looks at Docker, kind, the node image and the agent, and makes nothing.
pub async fn doctor(node_image: Option<&str>) -> Vec<Check> {
    let docker = run("docker", &["version", "--format", "{{.Server.Version}}"], None).await;
    let start = "start Docker Engine and see that you may use its socket (DOCKER_HOST)";
    let has_docker = docker.is_ok();
    let mut checks = vec![
        check("Docker", docker, start),
        check("kind", run("kind", &["version"], None).await, "see https://kind.sigs.k8s.io"),
    ];
    if let Some(image) = node_image.filter(|_| has_docker) {
        let format = ["image", "inspect", "--format", "{{.Id}}", image];
        let pull = "it is pulled when it is needed; where nothing can be pulled, load it with `docker load`";
        checks.push(check("node image", run("docker", &format, None).await.map(|_| image.to_owned()), pull));
    }
    checks.push(match agent::binary() {
        Some(bytes) => Check::good("agent", format!("{} KiB, for {}", bytes.len() / 1024, agent::arch())),
        None => Check::bad(
            "agent",
            format!("{}: no metadata server, and pods serve by netexec", agent::missing().unwrap_or_default()),
            "build policyprobe again, or set POLICYPROBE_AGENT",
        ),
    });
    checks
}

fn check(name: &str, result: Result<String, LabError>, hint: &str) -> Check {
    match result {
        Ok(text) => Check::good(name, text.trim()),
        Err(error) => Check::bad(name, error.to_string(), error.hint().unwrap_or(hint)),
    }
}
