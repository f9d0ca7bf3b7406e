//! Commands in pods, over the API server's websocket.

use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Status};
use kube::{
    Api,
    api::{AttachParams, AttachedProcess},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, SimplexStream},
    time::timeout,
};

use super::{
    objects::CONTAINER,
    shell::{Place, Wire},
};

/// Large enough that a batch's answers never wait for a reader.
const BUFFER: usize = 256 * 1024;

/// How long the API server may take to open a stream to a pod: a node that is stuck never does.
const OPENING: Duration = Duration::from_secs(20);

fn parameters() -> AttachParams {
    AttachParams::default()
        .container(CONTAINER)
        .stdin(true)
        .max_stdin_buf_size(BUFFER)
        .max_stdout_buf_size(BUFFER)
        .max_stderr_buf_size(BUFFER)
}

/// Starts a command in a pod, which errors call by its title.
async fn start(
    pods: &Api<Pod>,
    (pod, title): (&str, &str),
    command: &[&str],
    parameters: &AttachParams,
) -> Result<AttachedProcess, String> {
    let opening = timeout(OPENING, pods.exec(pod, command.iter().copied(), parameters)).await;
    let opened = opening.map_err(|_| format!("no exec in `{title}` opens within {} s", OPENING.as_secs()))?;
    opened.map_err(|error| format!("cannot exec in `{title}`: {error}"))
}

/// Runs a command to its end with this input, and returns its output. Once it is started it has no time limit.
pub(crate) async fn exec(pods: &Api<Pod>, pod: &str, command: &[&str], input: &[u8]) -> Result<String, String> {
    let mut process = start(pods, (pod, pod), command, &parameters()).await?;
    let status = process.take_status().ok_or("the exec has no status")?;
    let (output, errors) = (process.stdout().ok_or("no stdout")?, process.stderr().ok_or("no stderr")?);
    let mut stdin = process.stdin().ok_or("no stdin")?;
    // A missing status ends this although the readers go on: they see no end of file when a connection is cut.
    let status = async { status.await.ok_or_else(|| "the exec ended without a status".to_owned()) };
    let collected = async { tokio::try_join!(read(output), read(errors), status) };
    let feed = async {
        // `shutdown` sends the end of input; dropping the writer does not.
        let _ = stdin.write_all(input).await;
        let _ = stdin.shutdown().await;
        std::future::pending::<std::convert::Infallible>().await
    };
    let (output, errors, status) = tokio::select! {
        collected = collected => collected?,
        never = feed => match never {},
    };
    match exit_code(&status) {
        Some(0) => Ok(output),
        Some(code) => Err(format!("`{}` in `{pod}` ended with {code}: {}", command.join(" "), errors.trim())),
        None => Err(format!("the exec in `{pod}` failed: {}", status.message.unwrap_or_default())),
    }
}

async fn read(mut from: ReadHalf<SimplexStream>) -> Result<String, String> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).await.map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn exit_code(status: &Status) -> Option<i32> {
    if status.status.as_deref() == Some("Success") {
        return Some(0);
    }
    let mut causes = status.details.iter().flat_map(|details| details.causes.iter().flatten());
    causes.find(|cause| cause.reason.as_deref() == Some("ExitCode"))?.message.as_deref()?.parse().ok()
}

/// A pod as a place for commands.
pub(crate) struct PodPlace {
    /// The pods of its namespace.
    pub(crate) pods: Api<Pod>,
    /// The namespace, the pod, and the context by which a person reaches them.
    pub(crate) namespace: String,
    /// The pod's name.
    pub(crate) pod: String,
    /// `kubectl` with what it needs to find the cluster.
    pub(crate) kubectl: String,
}

#[async_trait]
impl Place for PodPlace {
    async fn start(&self, command: &[&str]) -> Result<Wire, String> {
        let title = format!("{}/{}", self.namespace, self.pod);
        let mut process = start(&self.pods, (&self.pod, &title), command, &parameters().stderr(false)).await?;
        let status = process.take_status().ok_or("the exec has no status")?;
        let ended = status.map(|status| match status.as_ref().map(exit_code) {
            Some(Some(code)) => format!("it ended with {code}"),
            _ => "the connection to the pod was cut".to_owned(),
        });
        let (input, output) = (process.stdin().ok_or("no stdin")?, process.stdout().ok_or("no stdout")?);
        Ok(Wire {
            input: Box::new(input),
            output: Box::new(output),
            ended: ended.boxed(),
            holder: Box::new(std::sync::Mutex::new(process)),
        })
    }

    fn prefix(&self) -> String {
        format!("{} exec -n {} {} --", self.kubectl, self.namespace, self.pod)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_in_the_causes() {
        let status = |value| serde_json::from_value::<Status>(value).unwrap_or_default();
        let failed = status(serde_json::json!({
            "status": "Failure", "reason": "NonZeroExitCode",
            "details": { "causes": [{ "reason": "ExitCode", "message": "28" }] },
        }));
        assert_eq!(exit_code(&failed), Some(28));
        assert_eq!(exit_code(&status(serde_json::json!({ "status": "Success" }))), Some(0));
        assert_eq!(exit_code(&status(serde_json::json!({ "status": "Failure" }))), None);
    }
}
