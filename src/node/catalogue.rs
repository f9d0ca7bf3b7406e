//! What is known of each field of a node: what it is for, what it tells an attacker, and how much a change matters.
//!
//! Sources: the `Node` API reference, "Well-Known Labels, Annotations and Taints" and "Node Status" of
//! <https://kubernetes.io/docs/>.

use super::Severity;

/// What is known of a field, or of a family of them.
#[derive(Debug)]
pub struct Known {
    /// Which fields, as [`crate::pattern::matches`] reads it.
    pub pattern: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// What uses it.
    pub used_for: &'static str,
    /// How much a change matters.
    pub severity: Severity,
    /// What it tells somebody who should not know, where it does.
    pub sensitive: Option<&'static str>,
    /// It changes by itself, all the time.
    pub volatile: bool,
    /// Every node has it, or its absence is worth saying.
    pub expected: bool,
}

/// A plain entry; the methods below say what is special.
const fn field(pattern: &'static str, title: &'static str, severity: Severity, used_for: &'static str) -> Known {
    Known { pattern, title, used_for, severity, sensitive: None, volatile: false, expected: false }
}

impl Known {
    const fn sensitive(self, why: &'static str) -> Self {
        Self { sensitive: Some(why), ..self }
    }

    const fn volatile(self) -> Self {
        Self { volatile: true, ..self }
    }

    const fn expected(self) -> Self {
        Self { expected: true, ..self }
    }
}

use Severity::{Critical, Info, Notice, Warning};

/// All that is known; of several entries for a field the first counts, and the last takes every field.
pub static CATALOGUE: &[Known] = &[
    field("metadata.name", "name", Critical, "scheduling (nodeName), the kubelet's identity, pods' spec").expected(),
    field("metadata.uid", "UID", Critical, "tells a node from one made again under its name").expected(),
    field("metadata.creationTimestamp", "created", Notice, "age").expected(),
    field("metadata.deletionTimestamp", "being deleted", Warning, "the node goes when its finalizers are done"),
    field("metadata.deletionGracePeriodSeconds", "deletion grace", Info, "deletion").volatile(),
    field("metadata.generation", "generation", Info, "counts changes of the spec").volatile(),
    field("metadata.resourceVersion", "resource version", Info, "watches, conflicts of writes").volatile(),
    field("metadata.finalizers*", "finalizers", Warning, "hold up the node's deletion"),
    field("metadata.ownerReferences*", "owners", Warning, "garbage collection: the node goes when its owner does"),
    field(
        "metadata.labels[node-role.kubernetes.io/*",
        "role label",
        Critical,
        "nodeSelector, affinity; what tools call control plane",
    ),
    field(
        "metadata.labels[node-restriction.kubernetes.io/*",
        "restricted label",
        Critical,
        "isolation: the only labels that a kubelet cannot set on itself",
    ),
    field(
        "metadata.labels[node.kubernetes.io/exclude-from-external-load-balancers]",
        "load balancer label",
        Critical,
        "takes the node out of load balancers",
    ),
    field(
        "metadata.labels[topology.kubernetes.io/*",
        "topology label",
        Critical,
        "topology spread, volume zones, affinity",
    )
    .sensitive("where the machine stands"),
    field(
        "metadata.labels[failure-domain.beta.kubernetes.io/*",
        "topology label (old)",
        Critical,
        "topology spread, volume zones",
    )
    .sensitive("where the machine stands"),
    field(
        "metadata.labels[region]",
        "region label",
        Critical,
        "nodeSelector, affinity; a kubelet may set it on itself",
    )
    .sensitive("where the machine stands"),
    field("metadata.labels[kubernetes.io/hostname]", "host name label", Critical, "affinity and spread by node"),
    field("metadata.labels[kubernetes.io/arch]", "architecture label", Warning, "nodeSelector for images' platform"),
    field("metadata.labels[kubernetes.io/os]", "OS label", Warning, "nodeSelector for images' platform"),
    field("metadata.labels[node.kubernetes.io/instance-type]", "instance type label", Warning, "nodeSelector, billing")
        .sensitive("the size of the machine"),
    field("metadata.labels*", "label", Warning, "nodeSelector, node affinity, topology spread, DaemonSets"),
    field("metadata.annotations[node.alpha.kubernetes.io/ttl]", "TTL annotation", Info, "kubelet's cache of secrets"),
    field(
        "metadata.annotations[volumes.kubernetes.io/controller-managed-attach-detach]",
        "attach annotation",
        Warning,
        "who attaches volumes",
    ),
    field(
        "metadata.annotations[kubeadm.alpha.kubernetes.io/cri-socket]",
        "CRI socket annotation",
        Warning,
        "kubeadm's upgrades",
    )
    .sensitive("the path to the container runtime"),
    field("metadata.annotations[flannel*", "flannel annotation", Critical, "where flannel sends pods' packets")
        .sensitive("the node's address and MAC in the overlay"),
    field("metadata.annotations[cluster.x-k8s.io/*", "Cluster API annotation", Warning, "the machine behind the node"),
    field(
        "metadata.annotations[kube-router.io/*",
        "kube-router annotation",
        Critical,
        "where kube-router sends packets",
    ),
    field("metadata.annotations[projectcalico.org/*", "Calico annotation", Critical, "where Calico sends packets")
        .sensitive("the node's address in the overlay"),
    field("metadata.annotations*", "annotation", Warning, "tools, CNIs, operators"),
    field("spec.podCIDR", "pod CIDR", Critical, "routes to pods; the CNI's address pool").expected(),
    field("spec.podCIDRs", "pod CIDRs", Critical, "routes to pods; the CNI's address pool"),
    field(
        "spec.providerID",
        "provider ID",
        Critical,
        "cloud identity: load balancers, volumes, autoscaler, CSR approval",
    )
    .sensitive("the cloud, account or project, zone and instance")
    .expected(),
    field("spec.unschedulable", "unschedulable", Warning, "`kubectl cordon`: no new pods"),
    field("spec.taints*.timeAdded", "taint's time", Info, "eviction after tolerationSeconds").volatile(),
    field("spec.taints*", "taint", Critical, "keeps pods away that do not tolerate it"),
    field("spec*", "spec", Warning, "scheduling, operations"),
    field("status.nodeInfo.architecture", "architecture", Critical, "images' platform").expected(),
    field("status.nodeInfo.machineID", "machine ID", Critical, "inventory, licences; cloned machines share it")
        .sensitive("identifies the machine")
        .expected(),
    field("status.nodeInfo.systemUUID", "system UUID", Critical, "cloud controllers find the instance by it")
        .sensitive("identifies the machine; on some clouds the instance ID")
        .expected(),
    field("status.nodeInfo.bootID", "boot ID", Notice, "tells a reboot").expected(),
    field("status.nodeInfo.kernelVersion", "kernel version", Notice, "operations, feature checks")
        .sensitive("which kernel exploits work, and since when nobody has patched")
        .expected(),
    field("status.nodeInfo.osImage", "OS image", Notice, "operations")
        .sensitive("which packages are there to attack")
        .expected(),
    field("status.nodeInfo.operatingSystem", "operating system", Critical, "images' platform").expected(),
    field("status.nodeInfo.containerRuntimeVersion", "container runtime", Notice, "operations, image formats")
        .sensitive("which escapes from containers work")
        .expected(),
    field("status.nodeInfo.kubeletVersion", "kubelet version", Notice, "version skew, upgrades")
        .sensitive("which flaws the kubelet still has")
        .expected(),
    field("status.nodeInfo.kubeProxyVersion", "kube-proxy version", Info, "nothing: no longer filled since 1.33")
        .expected(),
    field("status.nodeInfo.swap*", "swap", Notice, "scheduling of memory"),
    field("status.addresses[InternalIP]", "internal address", Critical, "API server to kubelet, CNI, NodePorts")
        .sensitive("where to knock: kubelet, node ports, SSH")
        .expected(),
    field("status.addresses[ExternalIP]", "external address", Critical, "NodePorts, SSH")
        .sensitive("where to knock from the internet"),
    field("status.addresses*", "address", Warning, "API server to kubelet, certificates")
        .sensitive("the network's naming"),
    field("status.daemonEndpoints*", "kubelet port", Critical, "exec, logs and metrics go to this port")
        .sensitive("where the kubelet listens")
        .expected(),
    field("status.conditions*.lastHeartbeatTime", "heartbeat", Info, "whether the kubelet lives").volatile(),
    field("status.conditions*.lastTransitionTime", "condition's time", Info, "eviction delays").volatile(),
    field("status.conditions*.message", "condition's message", Info, "for people").volatile(),
    field("status.conditions*.reason", "condition's reason", Info, "for people").volatile(),
    field("status.conditions[Ready].status", "condition Ready", Notice, "scheduling, eviction, load balancers")
        .expected(),
    field("status.conditions*.status", "condition", Notice, "taints by condition, eviction"),
    field("status.capacity*", "capacity", Notice, "what the node has").sensitive("the size of the machine"),
    field("status.allocatable*", "allocatable", Notice, "the scheduler's arithmetic"),
    field("status.images*", "images", Info, "the scheduler prefers nodes that have a pod's image")
        .sensitive("what runs here, by version")
        .volatile(),
    field("status.volumesInUse*", "volumes in use", Info, "safe detaching of volumes").volatile(),
    field("status.volumesAttached*", "volumes attached", Info, "attaching of volumes")
        .sensitive("device paths and volume IDs")
        .volatile(),
    field("status.phase", "phase", Info, "nothing: no longer filled"),
    field("status.config*", "kubelet configuration", Warning, "nothing: dynamic configuration is gone"),
    field("status.runtimeHandlers*", "runtime handlers", Notice, "RuntimeClass, user namespaces"),
    field("status.features*", "features", Notice, "scheduling of pods that need them"),
    field("status*", "status", Notice, "operations"),
    field("*", "other", Warning, "unknown to this version of policyprobe"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern;

    #[test]
    fn no_entry_is_hidden_by_an_earlier_one() {
        for (at, entry) in CATALOGUE.iter().enumerate() {
            let example = entry.pattern.replace('*', "x");
            let first = CATALOGUE.iter().position(|known| pattern::matches(known.pattern, &example));
            assert_eq!(first, Some(at), "{}", entry.pattern);
        }
    }
}
