//! Which address families the lab can have. Both halves ask here, so that the outer one promises what the inner one builds.

use std::{path::Path, sync::LazyLock};

/// What the kernel's settings of IPv6 are below, in every network namespace. A kernel that was told `ipv6.disable=1`, or was
/// built without, has none; where the settings themselves have it switched off, the lab's namespaces switch it on.
const SETTINGS: &str = "/proc/sys/net/ipv6";

/// Whether the kernel has IPv6.
pub(super) fn has_ipv6() -> bool {
    // Each address of a lab is asked about, and the kernel stays what it is.
    static HAS: LazyLock<bool> = LazyLock::new(|| Path::new(SETTINGS).exists());
    *HAS
}
