//! A session that makes its requests with real `curl` processes, over whatever can start one in the source.

use async_trait::async_trait;
use tokio::sync::mpsc::UnboundedSender;

/// A place in which `curl` can be started again and again: a pod, a node, a namespace.
#[async_trait]
pub trait CurlHost: Send {
    /// Starts `curl -q --config -` with this configuration on its input, in a cleared environment (`PATH` alone), and
    /// sends each line of its output as it comes. Returns the exit code; an error means that nothing is known about
    /// the process (the stream was cut, the pod is gone), never that it failed. Cancel safe: dropping the future gives
    /// the process up, and the next call must not see its output.
    async fn curl(&mut self, config: &str, lines: UnboundedSender<String>) -> Result<i32, String>;

    /// How a person gets a shell or a command into this source: `kubectl exec -n default app1 --`, empty on the
    /// embedded backend.
    fn prefix(&self) -> String;
}
