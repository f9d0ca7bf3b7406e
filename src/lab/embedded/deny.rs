//! What a denied packet's sender gets to know.

use serde::{Deserialize, Serialize};

/// How the enforcer stops traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DenyBy {
    /// Silently, as Calico and Cilium do: the client times out.
    #[default]
    Drop,
    /// With a TCP reset or an ICMP port unreachable, as kube-router does: the client is refused.
    Reject,
}
