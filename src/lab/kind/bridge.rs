//! Bridges of a CNI on the nodes whose address nobody has set.
//!
//! Such a bridge has the lowest address of its ports (`br_stp_recalculate_bridge_id` in the kernel's `net/bridge/br_stp_if.c`),
//! so a new pod may change it. The pods that are there send to the old one for up to a minute, and all that they send
//! beyond their bridge is lost. kube-router's is sometimes like that, and sometimes systemd has set its address before.

use super::command::run;
use crate::lab::LabError;

/// Gives each such bridge the address that it has, for good; says which they are.
const PIN: &str = "for bridge in /sys/class/net/*/bridge; do
  [ -d \"$bridge\" ] || continue
  at=${bridge%/bridge}; name=${at##*/}; address=$(cat \"$at/address\")
  # 3: somebody has set it.
  [ \"$(cat \"$at/addr_assign_type\")\" = 3 ] && continue
  # Without ports it has none yet.
  [ \"$address\" = 00:00:00:00:00:00 ] && address=02:00:00:00:00:01
  ip link set dev \"$name\" address \"$address\" && echo \"$name\"
done";

/// Pins the addresses of a node's bridges; the names of those for which that was necessary.
pub(super) async fn pin(node: &str) -> Result<Vec<String>, LabError> {
    let said = run("docker", &["exec", node, "sh", "-c", PIN], None).await?;
    Ok(said.split_whitespace().map(str::to_owned).collect())
}
