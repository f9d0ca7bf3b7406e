//! How names are resolved in the lab: by its own DNS alone. Seen by the inner half's processes only.
//!
//! `curl` has no option for the file of name servers, so the files themselves are replaced, in a private mount namespace.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use nix::mount::{MsFlags, mount};

use super::topo;

const NONE: Option<&str> = None;
/// Where the replaced files are kept.
const KEEP: &str = "/run/policyprobe";

/// Replaces the system's name resolution by the lab's.
pub(super) fn isolate() -> anyhow::Result<()> {
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).context("cannot make mounts private")?;
    // Name services behind unix sockets (nscd, systemd-resolved) are not kept out by a network namespace.
    let options = Some("size=256k,mode=755");
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), options).context("cannot mount over /run")?;
    fs::create_dir(KEEP)?;
    let resolv = format!(
        "nameserver {}\nsearch svc.cluster.local cluster.local\noptions ndots:5 timeout:1 attempts:1\n",
        topo::COREDNS
    );
    replace("/etc/resolv.conf", &resolv)?;
    for (file, text) in [("/etc/hosts", "127.0.0.1 localhost\n"), ("/etc/nsswitch.conf", "hosts: files dns\n")] {
        // Without these two files the C library does the same by default.
        if fs::symlink_metadata(file).is_ok() {
            replace(file, text)?;
        }
    }
    Ok(())
}

fn replace(file: &str, text: &str) -> anyhow::Result<()> {
    let ours = Path::new(KEEP).join(Path::new(file).file_name().unwrap_or_default());
    fs::write(&ours, text)?;
    let target = target(Path::new(file)).with_context(|| format!("cannot follow {file}"))?;
    mount(Some(&ours), &target, NONE, MsFlags::MS_BIND, NONE).with_context(|| format!("cannot mount over {file}"))
}

/// The file that a name stands for. A link into /run leads nowhere since /run was replaced: what it means is made.
fn target(file: &Path) -> anyhow::Result<PathBuf> {
    if let Ok(existing) = file.canonicalize() {
        return Ok(existing);
    }
    let link = fs::read_link(file)?;
    let parent = file.parent().unwrap_or(Path::new("/"));
    let meant = parent.join(link);
    let directory = meant.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory)?;
    let meant = directory.canonicalize()?.join(meant.file_name().unwrap_or_default());
    fs::write(&meant, "")?;
    Ok(meant)
}
