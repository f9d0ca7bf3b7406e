//! A kind node as a place for commands: `docker exec`.

use std::process::Stdio;

use async_trait::async_trait;

use crate::lab::cluster::{Place, Wire};

/// A node's container.
pub(crate) struct NodePlace {
    /// Its name.
    pub(crate) container: String,
}

#[async_trait]
impl Place for NodePlace {
    async fn start(&self, command: &[&str]) -> Result<Wire, String> {
        let mut child = tokio::process::Command::new("docker")
            .args(["exec", "-i", &self.container])
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // A terminal's interrupt is for the run, which ends its probes in its own order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("cannot start `docker exec`: {error}"))?;
        let (input, output) = (child.stdin.take().ok_or("no stdin")?, child.stdout.take().ok_or("no stdout")?);
        // Its output ends with the process: there is no connection that could be cut beside it.
        let ended = Box::pin(std::future::pending());
        Ok(Wire { input: Box::new(input), output: Box::new(output), ended, holder: Box::new(child) })
    }

    fn prefix(&self) -> String {
        format!("docker exec {}", self.container)
    }
}
