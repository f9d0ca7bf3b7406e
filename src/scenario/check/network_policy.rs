//! What the API server refuses in a NetworkPolicy (`pkg/apis/networking/validation/validation.go`), and what it takes
//! although something else was likely meant.

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::{
    api::networking::v1::{IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use super::names;
use crate::scenario::{
    Diagnostic,
    diagnostic::nearest,
    document::{Document, Segment, at_path},
};

/// Adds the faults of a policy.
pub(crate) fn check(document: &Document<'_>, policy: &NetworkPolicy, faults: &mut Vec<Diagnostic>) {
    let mut check = Check { document, faults };
    let spec_path = at_path![[]; "spec"];
    let Some(spec) = &policy.spec else {
        let message = "the policy has no `spec`: it selects every pod of its namespace and allows nothing in";
        return check.faults.push(document.error(&[], message).hint("write at least `spec: {podSelector: {}}`"));
    };
    if let Some(selector) = &spec.pod_selector {
        check.selector(selector, &at_path![spec_path; "podSelector"]);
    }
    for (index, kind) in spec.policy_types.iter().flatten().enumerate() {
        let at = at_path![spec_path; "policyTypes", index];
        if kind != "Ingress" && kind != "Egress" {
            let fault = document.error(&at, format!("`{kind}` is no policy type"));
            let near = nearest(kind, ["Ingress", "Egress"]);
            check.faults.push(fault.hint(near.map_or("it is `Ingress` or `Egress`".to_owned(), did_you_mean)));
        } else if index >= 2 {
            check.error(&at, "there are more than two policy types");
        }
    }
    let types = spec.policy_types.as_deref().unwrap_or_default();
    for (index, rule) in spec.ingress.iter().flatten().enumerate() {
        let at = at_path![spec_path; "ingress", index];
        check.ports(rule.ports.as_deref(), &at);
        check.peers(rule.from.as_deref(), &at, "from");
    }
    for (index, rule) in spec.egress.iter().flatten().enumerate() {
        let at = at_path![spec_path; "egress", index];
        check.ports(rule.ports.as_deref(), &at);
        check.peers(rule.to.as_deref(), &at, "to");
    }
    for (field, kind, used) in
        [("ingress", "Ingress", spec.ingress.is_some()), ("egress", "Egress", spec.egress.is_some())]
    {
        if used && !types.is_empty() && !types.iter().any(|listed| listed == kind) {
            let message = format!("the `{field}` rules have no effect: `policyTypes` does not list `{kind}`");
            check.faults.push(document.warning(&at_path![spec_path; field], message));
        }
    }
}

/// The names of the ports that a policy's rules give by name.
pub(crate) fn named_ports(policy: &NetworkPolicy) -> impl Iterator<Item = &str> {
    let spec = policy.spec.iter();
    let ingress = spec.clone().flat_map(|spec| spec.ingress.iter().flatten()).map(|rule| &rule.ports);
    let egress = spec.flat_map(|spec| spec.egress.iter().flatten()).map(|rule| &rule.ports);
    ingress.chain(egress).flatten().flatten().filter_map(|port| match &port.port {
        Some(IntOrString::String(name)) => Some(name.as_str()),
        _ => None,
    })
}

fn did_you_mean(name: &str) -> String {
    format!("did you mean `{name}`?")
}

struct Check<'a> {
    document: &'a Document<'a>,
    faults: &'a mut Vec<Diagnostic>,
}

impl Check<'_> {
    fn error(&mut self, at: &[Segment], message: impl Into<String>) {
        let fault = self.document.error(at, message);
        self.faults.push(fault);
    }

    fn selector(&mut self, selector: &LabelSelector, at: &[Segment]) {
        for (key, value) in selector.match_labels.iter().flatten() {
            let at = at_path![at; "matchLabels", key.as_str()];
            if let Err(message) = names::label_key(key) {
                self.faults.push(self.document.error_at_key(&at, message));
            }
            if let Err(message) = names::label_value(value) {
                self.error(&at, message);
            }
        }
        for (index, requirement) in selector.match_expressions.iter().flatten().enumerate() {
            let at = at_path![at; "matchExpressions", index];
            if requirement.key.is_empty() {
                self.error(&at_path![at; "key"], "the requirement has no `key`");
            } else if let Err(message) = names::label_key(&requirement.key) {
                self.error(&at_path![at; "key"], message);
            }
            let values = requirement.values.as_deref().unwrap_or_default();
            match requirement.operator.as_str() {
                "In" | "NotIn" if values.is_empty() => {
                    self.error(&at_path![at; "values"], format!("`{}` needs values", requirement.operator));
                }
                "Exists" | "DoesNotExist" if !values.is_empty() => {
                    self.error(&at_path![at; "values"], format!("`{}` takes no values", requirement.operator));
                }
                "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
                other => {
                    let message = match other {
                        "" => "the requirement has no `operator`".to_owned(),
                        other => format!("`{other}` is no operator"),
                    };
                    let fault = self.document.error(&at_path![at; "operator"], message);
                    let near = nearest(other, ["In", "NotIn", "Exists", "DoesNotExist"]);
                    let all = "it is `In`, `NotIn`, `Exists` or `DoesNotExist`".to_owned();
                    self.faults.push(fault.hint(near.map_or(all, did_you_mean)));
                }
            }
            for (index, value) in values.iter().enumerate() {
                if let Err(message) = names::label_value(value) {
                    self.error(&at_path![at; "values", index], message);
                }
            }
        }
    }

    fn ports(&mut self, ports: Option<&[NetworkPolicyPort]>, rule: &[Segment]) {
        for (index, port) in ports.into_iter().flatten().enumerate() {
            let at = at_path![rule; "ports", index];
            if let Some(protocol) = &port.protocol
                && !["TCP", "UDP", "SCTP"].contains(&protocol.as_str())
            {
                let fault = self.document.error(&at_path![at; "protocol"], format!("`{protocol}` is no protocol"));
                let near = nearest(protocol, ["TCP", "UDP", "SCTP"]);
                self.faults.push(fault.hint(near.map_or("it is `TCP`, `UDP` or `SCTP`".to_owned(), did_you_mean)));
            }
            let end_at = at_path![at; "endPort"];
            match (&port.port, port.end_port) {
                (Some(IntOrString::Int(number)), end) => {
                    if !(1..=65535).contains(number) {
                        self.error(&at_path![at; "port"], format!("{number} is no port: it is from 1 to 65535"));
                    } else if let Some(end) = end {
                        if end < *number {
                            self.error(&end_at, format!("`endPort` {end} is below `port` {number}"));
                        } else if end > 65535 {
                            self.error(&end_at, format!("{end} is no port: it is from 1 to 65535"));
                        }
                    }
                }
                (Some(IntOrString::String(name)), end) => {
                    if let Err(message) = names::port_name(name) {
                        let fault = self.document.error(&at_path![at; "port"], message);
                        let number = name.parse::<u16>().is_ok();
                        self.faults.push(if number { fault.hint("write the number without quotes") } else { fault });
                    }
                    if end.is_some() {
                        self.error(&end_at, "`endPort` needs a `port` that is a number, and this one is a name");
                    }
                }
                (None, Some(_)) => self.error(&end_at, "`endPort` needs a `port` from which the range begins"),
                (None, None) => {}
            }
        }
    }

    fn peers(&mut self, peers: Option<&[NetworkPolicyPeer]>, rule: &[Segment], field: &str) {
        for (index, peer) in peers.into_iter().flatten().enumerate() {
            let at = at_path![rule; field, index];
            let selectors =
                [("podSelector", peer.pod_selector.as_ref()), ("namespaceSelector", peer.namespace_selector.as_ref())];
            for (name, selector) in selectors {
                if let Some(selector) = selector {
                    self.selector(selector, &at_path![at; name]);
                }
            }
            let any_selector = selectors.iter().any(|(_, selector)| selector.is_some());
            match &peer.ip_block {
                Some(block) => {
                    if any_selector {
                        let fault =
                            self.document.error(&at_path![at; "ipBlock"], "an `ipBlock` cannot stand with selectors");
                        self.faults.push(fault.hint("make it a list entry of its own: the entries are alternatives"));
                    }
                    self.ip_block(block, &at_path![at; "ipBlock"]);
                }
                None if !any_selector => {
                    let fault = self.document.error(&at, "this peer names nobody");
                    let hint = "write `podSelector`, `namespaceSelector` or `ipBlock`; `podSelector: {}` is every pod";
                    self.faults.push(fault.hint(hint));
                }
                None => {}
            }
        }
    }

    fn ip_block(&mut self, block: &IPBlock, at: &[Segment]) {
        let network = self.cidr(&block.cidr, &at_path![at; "cidr"]);
        for (index, except) in block.except.iter().flatten().enumerate() {
            let at = at_path![at; "except", index];
            if let (Some(inner), Some(outer)) = (self.cidr(except, &at), network)
                && !(outer.contains(&inner.trunc()) && inner.prefix_len() > outer.prefix_len())
            {
                self.error(&at, format!("`{except}` is not a part of `{}`, so it cannot be an exception", block.cidr));
            }
        }
    }

    /// The network that the API server reads, which forgives leading zeros and host bits.
    fn cidr(&mut self, text: &str, at: &[Segment]) -> Option<IpNet> {
        if text.is_empty() {
            self.error(at, "the block has no `cidr`");
            return None;
        }
        let Some(network) = parse_cidr(text) else {
            let fault = self.document.error(at, format!("`{text}` is no CIDR"));
            let bare: Option<IpAddr> = text.parse().ok();
            let hint = match bare {
                Some(IpAddr::V4(_)) => format!("for this one address write `{text}/32`"),
                Some(IpAddr::V6(_)) => format!("for this one address write `{text}/128`"),
                None => "write an address, a slash and a prefix length, as `10.0.0.0/8`".to_owned(),
            };
            self.faults.push(fault.hint(hint));
            return None;
        };
        let meant = network.trunc();
        if let IpNet::V6(v6) = network
            && let Some(v4) = v6.addr().to_ipv4_mapped()
        {
            let message = format!("`{text}` is IPv4 in IPv6 notation, which no packet's address is");
            let length = v6.prefix_len().saturating_sub(96);
            self.faults.push(self.document.warning(at, message).hint(format!("write `{v4}/{length}`")));
        } else if meant.to_string() != text {
            let message = if network == meant {
                format!("`{text}` is an unusual way to write `{meant}`")
            } else {
                format!("`{text}` has host bits: the network that counts is `{meant}`")
            };
            let single = IpNet::from(network.addr());
            let hint = if network == meant {
                format!("write `{meant}`")
            } else {
                format!("write `{meant}`, or `{single}` for the one address")
            };
            self.faults.push(self.document.warning(at, message).hint(hint));
        }
        Some(network)
    }
}

/// Reads a CIDR as Go's `ParseCIDRSloppy` does: decimal numbers may have leading zeros, host bits may be set.
fn parse_cidr(text: &str) -> Option<IpNet> {
    let (address, prefix) = text.split_once('/')?;
    if prefix.is_empty() || prefix.len() > 3 || !prefix.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let address: IpAddr = if address.contains(':') {
        address.parse().ok()?
    } else {
        let parts: Vec<u8> = address
            .split('.')
            .map(|part| {
                let digits = !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit());
                digits.then(|| part.parse().ok()).flatten()
            })
            .collect::<Option<_>>()?;
        IpAddr::from(<[u8; 4]>::try_from(parts).ok()?)
    };
    IpNet::new(address, prefix.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cidrs_as_the_api_reads_them() {
        let read = |text| parse_cidr(text).map(|network| network.trunc().to_string());
        assert_eq!(read("10.0.0.0/8").as_deref(), Some("10.0.0.0/8"));
        assert_eq!(read("010.1.2.3/8").as_deref(), Some("10.0.0.0/8"));
        assert_eq!(read("2001:db8::1/32").as_deref(), Some("2001:db8::/32"));
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0/8", "10.0.0.256/8", "::/129", "10.0.0.0/+8", "a/8", "/8"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
