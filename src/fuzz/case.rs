//! A case, and the scenario that it is: what must hold is what the simulator says.

use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use serde_json::{Value, json};
use serde_yaml::{Value as Yaml, with::singleton_map_recursive};

use super::draw::PORTS;
use crate::{
    engine::plan,
    policy::Decision,
    scenario::{
        AddressOf, Destination, Expect, LabSpec, LabelAction, LoadedScenario, Manifest, Places, Scenario, Step, Tier,
    },
};

/// The name of the first step.
const BASELINE: &str = "no policy";

/// A lab, policies, and what changes after them.
#[derive(Clone, Debug)]
pub struct Case {
    /// The scenario's id.
    pub id: String,
    /// Namespaces and pods.
    pub lab: LabSpec,
    /// Whose addresses the policies' blocks mean.
    pub addresses: BTreeMap<IpAddr, AddressOf>,
    /// All applied at once.
    pub policies: Vec<Policy>,
    /// One after the other, each a step.
    pub changes: Vec<Change>,
}

/// A policy; its name is its place.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Its namespace.
    pub namespace: String,
    /// Its spec.
    pub spec: Value,
}

/// What may happen to a case's lab.
#[derive(Clone, Debug)]
pub enum Change {
    /// Labels of a pod or a namespace.
    Label(LabelAction),
    /// A policy is deleted; nothing where it is gone already.
    Delete(usize),
}

impl Case {
    /// As a scenario. An error says why the case makes no sense.
    pub fn scenario(&self) -> anyhow::Result<LoadedScenario> {
        let files: Vec<String> = (0..self.policies.len()).map(file).collect();
        let mut steps = vec![
            Step { name: BASELINE.to_owned(), ..Step::default() },
            Step { name: "the policies".to_owned(), apply: files.clone(), ..Step::default() },
        ];
        let mut gone = Vec::new();
        for (change, number) in self.changes.iter().zip(1..) {
            let name = format!("change {number}");
            match change {
                Change::Label(action) => {
                    steps.push(Step { name, label: vec![action.clone()], ..Step::default() });
                }
                Change::Delete(index) if gone.contains(index) || *index >= files.len() => {}
                Change::Delete(index) => {
                    gone.push(*index);
                    steps.push(Step { name, delete: vec![files[*index].clone()], ..Step::default() });
                }
            }
        }
        let everybody: Vec<String> =
            self.lab.pods.iter().map(|pod| format!("{}/{}", pod.namespace, pod.name)).collect();
        for step in &mut steps {
            step.expect = everybody.iter().flat_map(|to| PORTS.map(|port| all_of(&everybody, to, port))).collect();
        }
        let scenario = Scenario {
            id: self.id.clone(),
            title: "Random policies: the simulator and the lab agree".to_owned(),
            tier: Tier::Required,
            tags: Vec::new(),
            says: None,
            cites: None,
            needs: Vec::new(),
            lab: self.lab.clone(),
            addresses: self.meant(),
            steps,
        };
        let manifests = self
            .policies
            .iter()
            .enumerate()
            .map(|(index, policy)| Ok((file(index), vec![Arc::new(policy.manifest(index)?)])));
        let mut loaded = LoadedScenario {
            path: PathBuf::from(&self.id),
            shipped: false,
            scenario: scenario.into(),
            manifests: manifests.collect::<anyhow::Result<_>>()?,
            warnings: Vec::new(),
            places: Places::default(),
        };
        let oracles = plan::judge(&loaded, &plan::world(&self.lab))?;
        for (step, oracle) in Arc::make_mut(&mut loaded.scenario).steps.iter_mut().zip(oracles) {
            let mut decided = oracle.cells.into_iter();
            for expect in &mut step.expect {
                let sources = std::mem::take(&mut expect.allow);
                for (source, cell) in sources.into_iter().zip(decided.by_ref()) {
                    anyhow::ensure!(cell.cell.from_text == source, "the cells are in another order than the file");
                    match cell.decision.context("a pod without an address")? {
                        Decision::Allow(_) => expect.allow.push(source),
                        Decision::Deny(_) => expect.deny.push(source),
                        Decision::Undefined { .. } => {}
                    }
                }
            }
            step.expect.retain(|expect| !(expect.allow.is_empty() && expect.deny.is_empty()));
        }
        Ok(loaded)
    }
}

impl Case {
    /// The addresses that a policy names.
    fn meant(&self) -> BTreeMap<IpAddr, AddressOf> {
        let policies: String = self.policies.iter().map(|policy| policy.spec.to_string()).collect();
        let named = |address: &IpAddr| policies.contains(&format!("\"{address}/"));
        self.addresses.iter().filter(|(address, _)| named(address)).map(|(a, of)| (*a, of.clone())).collect()
    }
}

/// Every other pod to one port of a pod.
fn all_of(everybody: &[String], to: &str, port: u16) -> Expect {
    let pod = Destination { pod: Some(to.to_owned()), port: Some(port), ..Destination::default() };
    Expect { to: pod, allow: everybody.iter().filter(|from| *from != to).cloned().collect(), ..Expect::default() }
}

fn file(index: usize) -> String {
    format!("policy-{index}.yaml")
}

impl Policy {
    fn manifest(&self, index: usize) -> anyhow::Result<Manifest> {
        let name = format!("policy-{index}");
        Ok(Manifest::network_policy(file(index), (&self.namespace, &name), &json!(self.spec))?)
    }
}

/// Writes a scenario and its manifests to a folder of its id; the scenario's file.
pub fn write(loaded: &LoadedScenario, below: &Path) -> anyhow::Result<PathBuf> {
    let folder = below.join(&loaded.scenario.id);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (name, text) in files(loaded)? {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(folder.join(SCENARIO))
}

/// The file of the scenario itself.
const SCENARIO: &str = "scenario.yaml";

/// The files of a scenario, by their names, with their text.
pub fn files(loaded: &LoadedScenario) -> anyhow::Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    for (name, documents) in &loaded.manifests {
        for document in documents {
            files.push((name.clone(), serde_yaml::to_string(&document.raw).context("a policy as YAML")?));
        }
    }
    // Enums as people write them, and not as tags.
    let scenario = singleton_map_recursive::serialize(&loaded.scenario, serde_yaml::value::Serializer);
    let scenario = without_defaults(scenario.context("a scenario as YAML")?);
    files.push((SCENARIO.to_owned(), serde_yaml::to_string(&scenario).context("a scenario as YAML")?));
    Ok(files)
}

/// Maps that say nothing where they are empty.
const MAPS: [&str; 6] = ["labels", "set", "headers", "addresses", "namespaces", "metadataServer"];

/// What a person would write: no empty lists and maps, and no field that says what holds anyway.
fn without_defaults(value: Yaml) -> Yaml {
    match value {
        Yaml::Mapping(fields) => {
            let says_something = |(key, value): &(Yaml, Yaml)| match value {
                Yaml::Null => false,
                Yaml::Sequence(items) => !items.is_empty(),
                // A namespace without labels is one all the same.
                Yaml::Mapping(fields) => !fields.is_empty() || !key.as_str().is_some_and(|key| MAPS.contains(&key)),
                Yaml::Bool(on) => *on,
                Yaml::String(text) => match key.as_str() {
                    Some("tier") => text != "required",
                    Some("protocol") => text != "TCP",
                    Some("family") => text != "ipv4",
                    _ => true,
                },
                _ => true,
            };
            let fields = fields.into_iter().map(|(key, value)| (key, without_defaults(value)));
            Yaml::Mapping(fields.filter(says_something).collect())
        }
        Yaml::Sequence(items) => Yaml::Sequence(items.into_iter().map(without_defaults).collect()),
        value => value,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{super::draw, *};
    use crate::scenario;

    #[test]
    fn what_is_written_is_read_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..8 {
            let drawn = draw::case(7, number).scenario().unwrap();
            let file = write(&drawn, folder.path()).unwrap();
            let read = scenario::load_path(&file).unwrap_or_else(|faults| panic!("{faults}"));
            let [read] = &read[..] else { panic!("{} scenarios", read.len()) };
            let (read, drawn) = (serde_json::to_value(&read.scenario), serde_json::to_value(&drawn.scenario));
            assert_eq!(read.unwrap(), drawn.unwrap(), "case {number}");
        }
    }

    #[test]
    fn cases_are_the_same_each_time_and_hold_denials() {
        let denials = |seed| -> Vec<usize> {
            let cases = (0..20).map(|number| draw::case(seed, number).scenario().unwrap());
            cases
                .map(|case| case.scenario.steps.iter().flat_map(|step| &step.expect).map(|it| it.deny.len()).sum())
                .collect()
        };
        assert_eq!(denials(1), denials(1));
        assert_ne!(denials(1), denials(2));
        assert!(denials(1).iter().filter(|count| **count > 0).count() > 10);
    }
}
