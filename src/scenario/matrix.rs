//! A step's `matrix` as expectations: everybody to everybody, but for what is listed. And the names that stand for several
//! pods: `namespace/*` and `*`.

use std::collections::BTreeSet;

use super::{
    DEFAULT_NAMESPACE, Destination, Diagnostic, Expect, Matrix, MatrixPort, MatrixRule, PodSpec, Protocol,
    ReferenceError, Scenario,
    check::{Context, MOST_NAMED},
    document::{Segment, at_path},
};

/// How many cells a matrix may come near to; how many a scenario may have is counted once it is expanded.
const MOST_CELLS: usize = 4 * MOST_NAMED;

/// Everything a pod is known by here.
type Name = (String, String);

/// Replaces the matrices of all steps by expectations, behind those that are there.
pub(super) fn expand(document: &super::document::Document<'_>, scenario: &mut Scenario, faults: &mut Vec<Diagnostic>) {
    let mut made: BTreeSet<Name> = scenario.lab.pods.iter().filter(|pod| !pod.host_network).map(name).collect();
    let mut shared = Vec::new();
    for index in 0..scenario.steps.len() {
        made.extend(scenario.steps[index].create.iter().filter(|pod| !pod.host_network).map(name));
        let Some(matrix) = scenario.steps[index].matrix.take() else { continue };
        let at = at_path![[]; "steps", index, "matrix"];
        let expects = Expansion { scenario, made: &made, document, at }.expects(&matrix, faults);
        scenario.steps[index].expect.extend(expects);
        if matrix.later {
            shared.push(index);
        }
    }
    for index in shared {
        keep_later(scenario, index);
    }
}

/// Leaves of a step what later steps ask too, of pods, by the same port and protocol. A step that is the last stays whole.
fn keep_later(scenario: &mut Scenario, index: usize) {
    let (steps, later) = scenario.steps.split_at_mut(index + 1);
    let asked: BTreeSet<(Option<&str>, Option<u16>, Protocol, &str)> = later
        .iter()
        .flat_map(|step| &step.expect)
        .flat_map(|expect| {
            let sources = expect.allow.iter().chain(&expect.deny).chain(&expect.record);
            sources.map(|from| (expect.to.pod.as_deref(), expect.to.port, expect.to.protocol, from.as_str()))
        })
        .collect();
    if asked.is_empty() {
        return;
    }
    let Some(step) = steps.last_mut() else { return };
    let mut kept = step.expect.clone();
    for expect in &mut kept {
        let to = expect.to.clone();
        let asks = |from: &String| {
            let (pod, from) = (to.pod.as_deref(), from.as_str());
            // An expectation that names no port means the first that the pod serves.
            asked.contains(&(pod, to.port, to.protocol, from)) || asked.contains(&(pod, None, to.protocol, from))
        };
        expect.allow.retain(asks);
    }
    kept.retain(|expect| !(expect.allow.is_empty() && expect.deny.is_empty() && expect.record.is_empty()));
    kept.shrink_to_fit();
    if !kept.is_empty() {
        step.expect = kept;
    }
}

fn name(pod: &PodSpec) -> Name {
    (pod.namespace.clone(), pod.name.clone())
}

fn text((namespace, name): &Name) -> String {
    if namespace == DEFAULT_NAMESPACE { name.clone() } else { format!("{namespace}/{name}") }
}

struct Expansion<'a> {
    scenario: &'a Scenario,
    made: &'a BTreeSet<Name>,
    document: &'a super::document::Document<'a>,
    at: Vec<Segment>,
}

/// A rule with its names looked up.
struct Exception {
    from: BTreeSet<Name>,
    to: BTreeSet<Name>,
    ports: Vec<MatrixPort>,
}

impl Expansion<'_> {
    fn expects(&self, matrix: &Matrix, faults: &mut Vec<Diagnostic>) -> Vec<Expect> {
        let among = self.pods(matrix.among.as_deref(), &at_path![self.at; "among"], faults);
        let rules = |list: &[MatrixRule], key: &str, faults: &mut Vec<Diagnostic>| -> Vec<Exception> {
            let rule = |(number, rule): (usize, &MatrixRule)| Exception {
                from: self.pods(rule.from.as_deref(), &at_path![self.at; key, number, "from"], faults),
                to: self.pods(rule.to.as_deref(), &at_path![self.at; key, number, "to"], faults),
                ports: rule.ports.clone(),
            };
            list.iter().enumerate().map(rule).collect()
        };
        let (deny, allow, record) = (
            rules(&matrix.deny, "deny", faults),
            rules(&matrix.allow, "allow", faults),
            rules(&matrix.record, "record", faults),
        );
        let mut expects = Vec::new();
        let ports = self.scenario.all_pods().map(|pod| pod.ports.len()).max().unwrap_or(0);
        if among.len() * among.len() * ports > MOST_CELLS {
            let message = format!("a matrix of {} pods and up to {ports} ports is too large", among.len());
            let fault = self.document.error_at_key(&self.at, message);
            faults.push(fault.hint("name fewer of them in `among`, or split the scenario"));
            return expects;
        }
        for to in &among {
            let Some(spec) = self.scenario.all_pods().find(|pod| name(pod) == *to) else { continue };
            let served = spec.ports.iter().map(|port| MatrixPort { port: port.port, protocol: port.protocol });
            let wanted = |port: &MatrixPort| matrix.ports.is_empty() || matrix.ports.contains(port);
            for port in served.filter(wanted) {
                let applies = |rules: &[Exception], from: &Name| {
                    let fits = |rule: &Exception| {
                        rule.from.contains(from)
                            && rule.to.contains(to)
                            && (rule.ports.is_empty() || rule.ports.contains(&port))
                    };
                    rules.iter().any(fits)
                };
                let mut expect = Expect {
                    to: Destination {
                        pod: Some(text(to)),
                        port: Some(port.port),
                        protocol: port.protocol,
                        ..Destination::default()
                    },
                    allow: Vec::new(),
                    deny: Vec::new(),
                    status: None,
                    silent: Vec::new(),
                    refused: Vec::new(),
                    record: Vec::new(),
                    first_packets: false,
                };
                for from in among.iter().filter(|from| *from != to) {
                    let list = if applies(&record, from) {
                        &mut expect.record
                    } else if applies(&deny, from) && !applies(&allow, from) {
                        &mut expect.deny
                    } else {
                        &mut expect.allow
                    };
                    list.push(text(from));
                }
                if !(expect.allow.is_empty() && expect.deny.is_empty() && expect.record.is_empty()) {
                    expects.push(expect);
                }
            }
        }
        for (list, rules) in [("deny", &deny), ("allow", &allow), ("record", &record)] {
            for (number, rule) in rules.iter().enumerate() {
                let meant = |expect: &&Expect| {
                    let port = MatrixPort { port: expect.to.port.unwrap_or(0), protocol: expect.to.protocol };
                    rule.ports.contains(&port)
                };
                if !rule.ports.is_empty() && !expects.iter().any(|expect| meant(&expect)) {
                    let fault = self
                        .document
                        .error(&at_path![self.at; list, number, "ports"], "no pod of the matrix serves these ports");
                    faults.push(fault.hint("a matrix asks the ports that `lab.pods` serve"));
                }
            }
        }
        expects
    }

    /// The pods that a list of names means; all of the lab where there is none.
    fn pods(&self, names: Option<&[String]>, at: &[Segment], faults: &mut Vec<Diagnostic>) -> BTreeSet<Name> {
        let Some(names) = names else { return self.made.clone() };
        let mut found = BTreeSet::new();
        for (number, name) in names.iter().enumerate() {
            match self.scenario.pods_named(name) {
                Ok(pods) => found.extend(pods.into_iter().filter(|pod| self.made.contains(pod))),
                Err(error) => faults.push(Context::reference_in(self.document, &at_path![at; number], error)),
            }
        }
        found
    }
}

impl Scenario {
    /// The pods that a word means: `pod`, `namespace/pod`, `namespace/*`, or `*` for all that have a network of their own.
    fn pods_named(&self, word: &str) -> Result<Vec<Name>, ReferenceError> {
        let own = || self.all_pods().filter(|pod| !pod.host_network);
        match word.strip_suffix('*') {
            Some("") => Ok(own().map(name).collect()),
            Some(prefix) if prefix.ends_with('/') => {
                let namespace = prefix.trim_end_matches('/');
                let found: Vec<Name> = own().filter(|pod| pod.namespace == namespace).map(name).collect();
                match found.is_empty() {
                    false => Ok(found),
                    true if self.has_namespace(namespace) => Err(ReferenceError {
                        message: format!("no pod of namespace `{namespace}` has a network of its own"),
                        hint: Some("`/*` stands for the pods of a namespace without `hostNetwork`".to_owned()),
                    }),
                    true => self.pod(&format!("{namespace}/*")).map(|pod| vec![name(pod)]),
                }
            }
            _ => self.pod(word).map(|pod| vec![name(pod)]),
        }
    }

    /// Replaces names that stand for several pods in the lists of sources.
    pub(super) fn expand_sources(&mut self) {
        let scenario = self.clone();
        for expect in self.steps.iter_mut().flat_map(|step| &mut step.expect) {
            let own = expect.to.pod.as_deref().and_then(|pod| scenario.pod(pod).ok()).map(name);
            let lists =
                [&mut expect.allow, &mut expect.deny, &mut expect.silent, &mut expect.refused, &mut expect.record];
            for list in lists {
                let words = std::mem::take(list);
                for word in words {
                    match scenario.pods_named(&word) {
                        Ok(pods) if word.ends_with('*') => {
                            list.extend(pods.iter().filter(|pod| Some(*pod) != own.as_ref()).map(text));
                        }
                        _ => list.push(word),
                    }
                }
            }
        }
    }
}

impl MatrixPort {
    /// A port over TCP.
    #[must_use]
    pub fn tcp(port: u16) -> Self {
        Self { port, protocol: Protocol::Tcp }
    }
}
