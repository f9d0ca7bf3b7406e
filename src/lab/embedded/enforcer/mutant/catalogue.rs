//! The list of mutants: what each does wrong, and who did so. How they do it is in the other files of this folder.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::scenario::nearest;

/// Declares the mutants, so that the sentence in the documentation is the one that reports show.
macro_rules! mutants {
    ($($(#[doc = $sentence:literal])+ $mutant:ident = $name:literal,)+) => {
        /// A fault of the reference enforcer, planted on purpose: a suite that does not notice it is no suite.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
        pub enum Mutant {
            $($(#[doc = $sentence])+ #[serde(rename = $name)] $mutant,)+
        }

        impl Mutant {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$mutant),+];

            /// The name, as `--mutant` takes it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$mutant => $name),+ }
            }

            /// What it does wrong, in a sentence, with the plugins that did so in brackets.
            #[must_use]
            pub fn fault(self) -> &'static str {
                match self { $(Self::$mutant => concat!($($sentence),+)),+ }.trim()
            }
        }
    };
}

mutants! {
    // Which policies count, and for whom.
    /// Egress rules have no effect.
    IgnoresEgress = "ignores-egress",
    /// Ingress rules have no effect.
    IgnoresIngress = "ignores-ingress",
    /// A policy without `policyTypes` is about ingress alone, also where it has egress rules.
    AbsentTypesAreIngress = "absent-types-are-ingress",
    /// A policy without `policyTypes` is about both directions, also where it has no egress rules.
    AbsentTypesAreBoth = "absent-types-are-both",
    /// `policyTypes` is not read: what a policy is about follows from its rules.
    IgnoresTypes = "ignores-types",
    /// An empty `podSelector` of a policy selects nobody.
    EmptyTargetIsNobody = "empty-target-is-nobody",
    /// A policy applies in every namespace.
    PolicyInEveryNamespace = "policy-in-every-namespace",
    /// A policy without rules wins over the others of its namespace: no rule allows anything.
    DenyAllWins = "deny-all-wins",
    /// Only the newest policy of a namespace is in force, not the union of all.
    NewestPolicyOnly = "newest-policy-only",
    /// Only the first pod of a node that policies select is isolated.
    FirstPodOnly = "first-pod-only",

    // Rules.
    /// Only the first rule of each direction counts.
    FirstRuleOnly = "first-rule-only",
    /// Only the last rule of each direction counts.
    LastRuleOnly = "last-rule-only",
    /// Each peer of a policy's rules is allowed on the ports of every rule.
    CrossMultipliesRules = "cross-multiplies-rules",
    /// A rule without `from` or `to` allows nobody.
    AbsentPeersAreNobody = "absent-peers-are-nobody",
    /// A rule whose `from` or `to` is an empty list allows nobody.
    EmptyPeersAreNobody = "empty-peers-are-nobody",

    // Peers.
    /// Only the first peer of a rule counts.
    FirstPeerOnly = "first-peer-only",
    /// A pod must match all peers of a rule, not one of them.
    AndsPeers = "ands-peers",
    /// A peer with both selectors allows who matches either.
    OrsSelectors = "ors-selectors",
    /// An empty `podSelector` of a peer selects nobody.
    EmptyPeerIsNobody = "empty-peer-is-nobody",
    /// An empty `namespaceSelector` of a peer selects the policy's own namespace alone.
    EmptyNamespaceSelectorIsOwn = "empty-namespace-selector-is-own",
    /// `namespaceSelector` is not read: peers are in the policy's own namespace.
    IgnoresNamespaceSelector = "ignores-namespace-selector",
    /// `podSelector` is not read beside a `namespaceSelector`.
    IgnoresPodSelectorInNamespace = "ignores-pod-selector-in-namespace",
    /// A `podSelector` alone selects pods of every namespace.
    PodSelectorInEveryNamespace = "pod-selector-in-every-namespace",
    /// A `namespaceSelector`'s values are compared with the namespace's name, not with its labels.
    NamespaceByName = "namespace-by-name",
    /// Of a namespace's labels only `kubernetes.io/metadata.name` is known.
    NamespaceLabelsUnknown = "namespace-labels-unknown",

    // Address blocks.
    /// A rule with an `ipBlock` that has `except` is dropped (the SDN of `OpenShift`).
    DropsRulesWithExcept = "drops-rules-with-except",
    /// `except` is not read (AWS before 1.0.4: the metadata server; Azure NPM Lite on Windows).
    IgnoresExcept = "ignores-except",
    /// Only the first of several exceptions counts.
    FirstExceptOnly = "first-except-only",
    /// What is in the `except` of one rule is denied by all rules of the namespace (AWS: aws-network-policy-agent#180).
    ExceptDenies = "except-denies",
    /// An `ipBlock` never holds pods (Cilium).
    IpBlockWithoutPods = "ip-block-without-pods",
    /// Of an `ipBlock` only its first address is allowed.
    IpBlockIsOneAddress = "ip-block-is-one-address",

    // Ports.
    /// Only the first port of a rule counts.
    FirstPortOnly = "first-port-only",
    /// A rule's ports are not read.
    IgnoresPorts = "ignores-ports",
    /// A rule's ports are not read where it has peers.
    IgnoresPortsOfPeers = "ignores-ports-of-peers",
    /// A rule's peers are not read where it has ports.
    IgnoresPeersOfPorts = "ignores-peers-of-ports",
    /// `endPort` is not read: a range is its first port (Cilium before 1.15).
    IgnoresEndPort = "ignores-end-port",
    /// A range is its first and its last port.
    EndPortIsSecondPort = "end-port-is-second-port",
    /// A range ends one port early.
    EndPortExcluded = "end-port-excluded",
    /// A range ends one port late.
    EndPortTooFar = "end-port-too-far",
    /// A port is allowed for every protocol.
    IgnoresProtocol = "ignores-protocol",
    /// A port without a protocol is allowed for every protocol, not for TCP alone.
    ProtocolDefaultsToAny = "protocol-defaults-to-any",
    /// A port entry with a protocol and no number allows nothing (Cilium 1.9: any port).
    ProtocolWithoutPortIsNothing = "protocol-without-port-is-nothing",
    /// Named ports match nothing (OVN-Kubernetes in 2021).
    IgnoresNamedPorts = "ignores-named-ports",
    /// A named port is looked up at the end that connects (AWS).
    NamedPortOfSource = "named-port-of-source",
    /// A port's name means one number in the whole cluster, that of the first pod that has it (Cilium).
    NamedPortOfAnyPod = "named-port-of-any-pod",

    // Selectors.
    /// The requirements of `matchLabels` are alternatives.
    LabelsAreAlternatives = "labels-are-alternatives",
    /// The requirements of `matchExpressions` are alternatives.
    ExpressionsAreAlternatives = "expressions-are-alternatives",
    /// `matchExpressions` is not read where there is `matchLabels`.
    IgnoresExpressionsBesideLabels = "ignores-expressions-beside-labels",
    /// Only the first value of `In` counts.
    FirstValueOfIn = "first-value-of-in",
    /// Only the first value of `NotIn` counts.
    FirstValueOfNotIn = "first-value-of-not-in",
    /// `NotIn` selects nobody who lacks the label.
    NotInNeedsLabel = "not-in-needs-label",
    /// `Exists` holds for a label without a value alone: it is taken for `In` without values.
    ExistsIsEmptyValue = "exists-is-empty-value",
    /// `DoesNotExist` is not read.
    IgnoresDoesNotExist = "ignores-does-not-exist",
    /// A requirement of an empty value also holds where the label is absent.
    EmptyValueMatchesAbsent = "empty-value-matches-absent",
    /// Labels' keys are compared without their prefixes.
    IgnoresKeyPrefix = "ignores-key-prefix",
    /// Labels are compared without regard to case.
    IgnoresCase = "ignores-case",

    // Where packets are judged.
    /// Replies are judged as if they were connections of their own: there is no connection tracking.
    JudgesReplies = "judges-replies",
    /// A node's own traffic to its pods is judged, though it is always allowed.
    JudgesOwnNode = "judges-own-node",
    /// Traffic between two pods of one node is not judged.
    SameNodeOpen = "same-node-open",
    /// Traffic from another node is not judged: ingress is enforced on the source's node alone.
    OtherNodeOpen = "other-node-open",
    /// Traffic with what is no pod is not judged (Azure: the metadata server).
    OutsideOpen = "outside-open",
    /// DNS passes whatever the policies say.
    DnsOpen = "dns-open",
    /// DNS is stopped for whoever is isolated for egress, also where a rule allows it.
    DnsBlocked = "dns-blocked",
    /// UDP is not judged.
    UdpOpen = "udp-open",
    /// A rule's ports are compared with a packet's source port too: there is no state that would tell a reply.
    SourcePortCounts = "source-port-counts",
    /// UDP from port 53 passes: it is taken for an answer of DNS.
    FromPort53Open = "from-port-53-open",
    /// Whenever the rules are written anew, the connections that are there end, also those that stay allowed.
    EndsConnections = "ends-connections",

    // Changes over time.
    /// A deleted policy stays in force.
    ForgetsDeletion = "forgets-deletion",
    /// A policy that is applied again stays as it was (Azure NPM: edited exceptions).
    ForgetsUpdate = "forgets-update",
    /// When one of two equal policies is deleted, the other is gone too: references are counted wrongly.
    EqualPoliciesGoTogether = "equal-policies-go-together",
    /// Of two policies of one name in different namespaces the later replaces the earlier.
    SameNameReplaces = "same-name-replaces",
    /// A pod's labels are those that it had at first.
    IgnoresPodRelabelling = "ignores-pod-relabelling",
    /// A namespace's labels are those that it had at first.
    IgnoresNamespaceRelabelling = "ignores-namespace-relabelling",
    /// A label that is taken away from a pod still counts.
    KeepsRemovedLabels = "keeps-removed-labels",
    /// A pod that is made later is neither isolated nor a peer.
    LaterPodsUnknown = "later-pods-unknown",
    /// A pod that is made later is a peer, but not isolated (for a while: AWS in standard mode, kube-router).
    LaterPodsOpen = "later-pods-open",
    /// A pod that is made later is open until it serves: its rules come after its first process (AWS in standard mode).
    LaterPodsLag = "later-pods-lag",
    /// A pod that is made again is a peer at its old address.
    KeepsOldAddress = "keeps-old-address",
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// There is no mutant of that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no such mutant{}; `policyprobe mutants --list` shows them", .0.map(|near| format!(": did you mean `{near}`?")).unwrap_or_default())]
pub struct UnknownMutant(Option<&'static str>);

impl FromStr for Mutant {
    type Err = UnknownMutant;

    fn from_str(text: &str) -> Result<Self, UnknownMutant> {
        Self::ALL
            .iter()
            .copied()
            .find(|mutant| mutant.name() == text)
            .ok_or_else(|| UnknownMutant(nearest(text, Self::ALL.iter().map(|mutant| mutant.name()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_theirs_alone_and_can_be_read_back() {
        for mutant in Mutant::ALL {
            assert_eq!(mutant.name().parse(), Ok(*mutant));
            assert_eq!(serde_json::to_value(mutant).ok(), Some(mutant.name().into()));
            assert!(mutant.fault().ends_with('.'), "{mutant}: {}", mutant.fault());
        }
        assert_eq!("no-such".parse::<Mutant>(), Err(UnknownMutant(None)));
        assert_eq!("ignore-except".parse::<Mutant>(), Err(UnknownMutant(Some("ignores-except"))));
    }
}
