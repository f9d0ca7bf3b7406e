//! Ports of a rule: by number, range, name and protocol.

use k8s_openapi::{api::networking::v1::NetworkPolicyPort, apimachinery::pkg::util::intstr::IntOrString};

use super::Pod;
use crate::scenario::Protocol;

/// Whether a rule's port entry covers a destination port. `destination` is the pod that is connected to, whose port
/// names count; names mean nothing on anything else. An entry that the API would refuse covers nothing.
pub(super) fn covers(entry: &NetworkPolicyPort, protocol: Protocol, port: u16, destination: Option<&Pod>) -> bool {
    if parse_protocol(entry.protocol.as_deref()) != Some(protocol) {
        return false;
    }
    match (&entry.port, entry.end_port) {
        (None, None) => true,
        (Some(IntOrString::Int(first)), end) => {
            let last = end.unwrap_or(*first);
            let valid = 1..=i32::from(u16::MAX);
            valid.contains(first) && valid.contains(&last) && (*first..=last).contains(&i32::from(port))
        }
        (Some(IntOrString::String(name)), None) => destination.is_some_and(|pod| {
            pod.ports
                .iter()
                .any(|served| served.name.as_ref() == Some(name) && served.protocol == protocol && served.port == port)
        }),
        (None | Some(IntOrString::String(_)), Some(_)) => false,
    }
}

/// The protocol that a manifest means; TCP where it says nothing.
fn parse_protocol(text: Option<&str>) -> Option<Protocol> {
    match text {
        None | Some("TCP") => Some(Protocol::Tcp),
        Some("UDP") => Some(Protocol::Udp),
        Some("SCTP") => Some(Protocol::Sctp),
        Some(_) => None,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::policy::tests::fixtures::pod;
    use crate::scenario::PortSpec;

    fn check(entry: Value, protocol: Protocol, port: u16) -> bool {
        let mut pod = pod("default/a", 1, &[]);
        pod.ports = [("web", 8080, Protocol::Tcp), ("dns", 53, Protocol::Udp)]
            .map(|(name, port, protocol)| PortSpec { name: Some(name.to_owned()), port, protocol })
            .to_vec();
        covers(&serde_json::from_value(entry).unwrap(), protocol, port, Some(&pod))
    }

    #[test]
    fn entries_follow_the_api() {
        use Protocol::{Sctp, Tcp, Udp};
        for (entry, protocol, port, expected) in [
            (json!({"port": 80}), Tcp, 80, true),
            (json!({"port": 80}), Tcp, 81, false),
            // A missing protocol is TCP alone.
            (json!({"port": 80}), Udp, 80, false),
            (json!({"protocol": "UDP", "port": 80}), Udp, 80, true),
            (json!({"protocol": "SCTP", "port": 80}), Sctp, 80, true),
            (json!({"protocol": "SCTP", "port": 80}), Tcp, 80, false),
            // A protocol alone is all its ports; nothing at all is all of TCP.
            (json!({"protocol": "UDP"}), Udp, 65535, true),
            (json!({"protocol": "UDP"}), Tcp, 1, false),
            (json!({}), Tcp, 1, true),
            (json!({}), Udp, 1, false),
            (json!({"port": 1}), Tcp, 1, true),
            (json!({"port": 65535}), Tcp, 65535, true),
            // Ranges include both ends.
            (json!({"port": 53, "endPort": 84}), Tcp, 52, false),
            (json!({"port": 53, "endPort": 84}), Tcp, 53, true),
            (json!({"port": 53, "endPort": 84}), Tcp, 70, true),
            (json!({"port": 53, "endPort": 84}), Tcp, 84, true),
            (json!({"port": 53, "endPort": 84}), Tcp, 85, false),
            (json!({"port": 53, "endPort": 84}), Udp, 70, false),
            (json!({"port": 80, "endPort": 80}), Tcp, 80, true),
            (json!({"port": 1, "endPort": 65535}), Tcp, 65535, true),
            // Names are the destination's, with their protocol.
            (json!({"port": "web"}), Tcp, 8080, true),
            (json!({"port": "web"}), Tcp, 80, false),
            (json!({"port": "web", "protocol": "UDP"}), Udp, 8080, false),
            (json!({"port": "dns", "protocol": "UDP"}), Udp, 53, true),
            (json!({"port": "dns"}), Tcp, 53, false),
            (json!({"port": "other"}), Tcp, 8080, false),
            // The API refuses these: they cover nothing.
            (json!({"endPort": 90}), Tcp, 80, false),
            (json!({"port": "web", "endPort": 9000}), Tcp, 8080, false),
            (json!({"port": 80, "endPort": 79}), Tcp, 80, false),
            (json!({"port": 0, "endPort": 100}), Tcp, 80, false),
            (json!({"port": 80, "endPort": 70000}), Tcp, 80, false),
            (json!({"port": -1}), Tcp, 65535, false),
            (json!({"port": 65616}), Tcp, 80, false),
            (json!({"protocol": "ICMP"}), Tcp, 80, false),
            (json!({"protocol": "tcp", "port": 80}), Tcp, 80, false),
        ] {
            assert_eq!(check(entry.clone(), protocol, port), expected, "{entry} on {port}/{protocol:?}");
        }
    }

    #[test]
    fn names_mean_nothing_off_pods() {
        let entry = serde_json::from_value(json!({"port": "web"})).unwrap();
        assert!(!covers(&entry, Protocol::Tcp, 8080, None));
    }
}
