//! The ports of a policy's rule.

use k8s_openapi::{api::networking::v1::NetworkPolicyPort, apimachinery::pkg::util::intstr::IntOrString};

use super::{CompileError, Pod, PortRange};
use crate::scenario::Protocol;

/// One entry of a rule's ports.
pub(super) enum PortEntry {
    /// By number, or the whole protocol.
    Range(PortRange),
    /// By the name of a port of the pod that is connected to.
    Named(Protocol, String),
}

impl PortEntry {
    pub(super) fn parse(port: &NetworkPolicyPort) -> Result<Self, CompileError> {
        let protocol = match port.protocol.as_deref() {
            None | Some("TCP") => Protocol::Tcp,
            Some("UDP") => Protocol::Udp,
            Some("SCTP") => Protocol::Sctp,
            Some(other) => return Err(CompileError::Protocol(other.to_owned())),
        };
        let number = |value: i32| match u16::try_from(value) {
            Ok(port @ 1..) => Ok(port),
            _ => Err(CompileError::Port(value.to_string())),
        };
        match (&port.port, port.end_port) {
            (None, None) => Ok(Self::Range(PortRange { protocol, first: 0, last: u16::MAX })),
            (Some(IntOrString::String(name)), None) => Ok(Self::Named(protocol, name.clone())),
            (Some(IntOrString::Int(first)), end) => {
                let (first, last) = (number(*first)?, number(end.unwrap_or(*first))?);
                if last < first {
                    return Err(CompileError::Port(format!("{first} to {last}")));
                }
                Ok(Self::Range(PortRange { protocol, first, last }))
            }
            (_, Some(end)) => Err(CompileError::Port(format!("endPort {end} without a numerical port"))),
        }
    }

    /// The numbers that are meant when the connection goes to this pod.
    pub(super) fn at(&self, pod: &Pod) -> Vec<PortRange> {
        match self {
            Self::Range(range) => vec![*range],
            Self::Named(protocol, name) => pod
                .ports
                .iter()
                .filter(|port| port.protocol == *protocol && port.name.as_deref() == Some(name))
                .map(|port| PortRange { protocol: *protocol, first: port.port, last: port.port })
                .collect(),
        }
    }
}
