//! Pure: random cases from tiny alphabets, so that rules match often and miss often. The API server would take all of them.

use std::net::{IpAddr, Ipv4Addr};

use fastrand::Rng;
use serde_json::{Map, Value, json};

use super::case::{Case, Change, Policy};
use crate::scenario::{AddressOf, LabSpec, LabelAction, Labels, NamespaceSpec, NodeName, PodSpec, PortSpec, Protocol};

/// The ports that are asked; policies name these and their neighbours.
pub(super) const PORTS: [u16; 2] = [80, 8080];
const NAMESPACES: [&str; 2] = ["red", "blue"];
const KEYS: [&str; 2] = ["app", "role"];
const VALUES: [&str; 2] = ["a", "b"];
const PORT_NAMES: [&str; 2] = ["web", "alt"];
const NUMBERS: [u16; 7] = [1, 79, 80, 81, 8079, 8080, 65535];
/// The share of policies' ports that are for another protocol than the one that is asked.
const ELSEWHERE: f64 = 0.15;

/// The case of a number, the same whenever it is drawn with the same seed.
pub(super) fn case(seed: u64, number: usize) -> Case {
    let mut rng = Rng::with_seed(seed ^ (number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    Draw(&mut rng).case(format!("fuzz-{seed:x}-{number}"))
}

struct Draw<'a>(&'a mut Rng);

impl Draw<'_> {
    fn case(&mut self, id: String) -> Case {
        let namespaces = NAMESPACES.map(|name| (name.to_owned(), NamespaceSpec { labels: self.labels() }));
        let pods: Vec<PodSpec> = (0..self.0.usize(2..=4)).map(|number| self.pod(number)).collect();
        // Addresses for documentation stand for those that only the lab knows.
        let addresses = pods.iter().zip(1..).map(|(pod, last)| {
            (IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)), AddressOf::Pod(format!("{}/{}", pod.namespace, pod.name)))
        });
        let addresses = addresses.collect();
        let lab = LabSpec { namespaces: namespaces.into(), pods, ..LabSpec::default() };
        let policies = (0..self.0.usize(1..=3))
            .map(|_| Policy { namespace: self.one(&NAMESPACES).to_owned(), spec: self.spec(lab.pods.len()) });
        let policies: Vec<Policy> = policies.collect();
        let changes = (0..self.0.usize(0..=2)).map(|_| self.change(&lab, policies.len())).collect();
        Case { id, lab, addresses, policies, changes }
    }

    fn pod(&mut self, number: usize) -> PodSpec {
        // One name means different ports on different pods.
        let mut ports = PORTS;
        self.0.shuffle(&mut ports);
        let named = PORT_NAMES.iter().zip(ports).map(|(name, port)| PortSpec {
            name: Some((*name).to_owned()),
            port,
            protocol: Protocol::Tcp,
        });
        PodSpec {
            name: format!("p{number}"),
            namespace: self.one(&NAMESPACES).to_owned(),
            labels: self.labels(),
            node: if self.0.bool() { NodeName::Master } else { NodeName::Worker },
            ports: named.collect(),
            host_network: false,
            relay: None,
            owner: None,
            service_account: None,
        }
    }

    fn change(&mut self, lab: &LabSpec, policies: usize) -> Change {
        if self.0.bool() {
            return Change::Delete(self.0.usize(..policies));
        }
        let labels = self.labels();
        let remove = KEYS.iter().map(|key| (*key).to_owned()).filter(|key| !labels.contains_key(key)).collect();
        let (pod, namespace) = if self.0.bool() {
            let pod = &lab.pods[self.0.usize(..lab.pods.len())];
            (Some(format!("{}/{}", pod.namespace, pod.name)), None)
        } else {
            (None, Some(self.one(&NAMESPACES).to_owned()))
        };
        Change::Label(LabelAction { pod, namespace, set: labels, remove })
    }

    fn spec(&mut self, pods: usize) -> Value {
        let mut spec = Map::from_iter([("podSelector".to_owned(), self.selector())]);
        if self.likely(0.8) {
            let types = [&["Ingress"][..], &["Egress"], &["Ingress", "Egress"]];
            spec.insert("policyTypes".to_owned(), json!(types[self.0.usize(..types.len())]));
        }
        for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
            if self.likely(0.7) {
                let rules: Vec<Value> = (0..self.0.usize(0..=2)).map(|_| self.rule(peers, pods)).collect();
                spec.insert(direction.to_owned(), json!(rules));
            }
        }
        Value::Object(spec)
    }

    fn rule(&mut self, peers: &str, pods: usize) -> Value {
        let mut rule = Map::new();
        if self.likely(0.9) {
            let list: Vec<Value> = (0..self.0.usize(0..=2)).map(|_| self.peer(pods)).collect();
            rule.insert(peers.to_owned(), json!(list));
        }
        if self.likely(0.6) {
            let list: Vec<Value> = (0..self.0.usize(0..=2)).map(|_| self.port()).collect();
            rule.insert("ports".to_owned(), json!(list));
        }
        Value::Object(rule)
    }

    fn peer(&mut self, pods: usize) -> Value {
        match self.0.usize(..4) {
            0 => json!({"podSelector": self.selector()}),
            1 => json!({"namespaceSelector": self.selector()}),
            2 => json!({"podSelector": self.selector(), "namespaceSelector": self.selector()}),
            // Blocks of other lengths would depend on which addresses a lab has.
            _ if self.0.bool() => json!({"ipBlock": {"cidr": self.address(pods)}}),
            _ => {
                let mut except: Vec<String> = (0..self.0.usize(0..=2)).map(|_| self.address(pods)).collect();
                except.dedup();
                json!({"ipBlock": {"cidr": "0.0.0.0/0", "except": except}})
            }
        }
    }

    fn address(&mut self, pods: usize) -> String {
        format!("192.0.2.{}/32", self.0.usize(1..=pods))
    }

    fn port(&mut self) -> Value {
        let mut port = Map::new();
        match self.0.usize(..4) {
            0 => {}
            1 => drop(port.insert("port".to_owned(), json!(self.one(&PORT_NAMES)))),
            2 => drop(port.insert("port".to_owned(), json!(NUMBERS[self.0.usize(..NUMBERS.len())]))),
            _ => {
                let (one, two) = (NUMBERS[self.0.usize(..NUMBERS.len())], NUMBERS[self.0.usize(..NUMBERS.len())]);
                port.insert("port".to_owned(), json!(one.min(two)));
                port.insert("endPort".to_owned(), json!(one.max(two)));
            }
        }
        if self.likely(ELSEWHERE) {
            port.insert("protocol".to_owned(), json!("UDP"));
        } else if self.0.bool() {
            port.insert("protocol".to_owned(), json!("TCP"));
        }
        Value::Object(port)
    }

    fn selector(&mut self) -> Value {
        match self.0.usize(..5) {
            0 => json!({}),
            1 | 2 => json!({"matchLabels": self.labels()}),
            _ => {
                let expressions: Vec<Value> = (0..self.0.usize(1..=2)).map(|_| self.expression()).collect();
                json!({"matchExpressions": expressions})
            }
        }
    }

    fn expression(&mut self) -> Value {
        let (key, operator) = (self.one(&KEYS), self.one(&["In", "NotIn", "Exists", "DoesNotExist"]));
        if operator.ends_with("In") {
            let values = if self.likely(0.3) { VALUES.to_vec() } else { vec![self.one(&VALUES)] };
            return json!({"key": key, "operator": operator, "values": values});
        }
        json!({"key": key, "operator": operator})
    }

    fn labels(&mut self) -> Labels {
        let keys = KEYS.iter().filter(|_| self.0.bool()).collect::<Vec<_>>();
        keys.into_iter().map(|key| ((*key).to_owned(), self.one(&VALUES).to_owned())).collect()
    }

    fn one(&mut self, of: &[&'static str]) -> &'static str {
        of[self.0.usize(..of.len())]
    }

    fn likely(&mut self, probability: f64) -> bool {
        self.0.f64() < probability
    }
}
