//! No vacuous pass: a scenario holds two cells of opposite expectation that differ in one thing, and denies only what
//! was seen to work.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Context, destination};
use crate::{
    lab::Source,
    scenario::{
        Destination, Diagnostic, Family, PodSpec, Protocol, Scenario, Severity,
        diagnostic::enough,
        document::{Segment, at_path},
    },
};

/// In what two cells can differ.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Cell {
    source: Option<Source>,
    destination: Option<String>,
    /// 0 where the target's own port is asked, which the lab decides.
    port: Option<u16>,
    protocol: Option<Protocol>,
    family: Option<Family>,
    step: Option<usize>,
    first: bool,
}

/// A cell that is judged.
struct Placed {
    cell: Cell,
    /// Whether what is asked for is expected to come.
    allowed: bool,
    at: Vec<Segment>,
    /// A denial that an earlier step could have shown to be possible: it is no server's own, and not about first packets
    /// or about a pod that this step makes.
    could_be_seen: bool,
}

pub(super) fn check(context: &Context<'_>, faults: &mut Vec<Diagnostic>) {
    let cells = cells(context.scenario);
    if cells.is_empty() {
        // Only recorded or refused: nothing that could pass without cause.
        return;
    }
    if cells.iter().all(|placed| placed.allowed) {
        faults.push(without(context, "nothing is denied"));
    } else if !has_contrast(&cells) {
        faults.push(without(context, "no two cells differ in one thing alone and in what is expected"));
    }
    unseen(context, &cells, faults);
}

fn without(context: &Context<'_>, why: &str) -> Diagnostic {
    let fault = context.document.error_at_key(&at_path![[]; "id"], format!("this scenario has no contrast: {why}"));
    let severity = if context.shipped { Severity::Error } else { Severity::Warning };
    Diagnostic { severity, ..fault }.hint(
        "have an `allow` and a `deny` that differ only in source, destination, port, protocol, family or step: without \
         that a network that is broken, or that lets all through, would pass too",
    )
}

/// All cells that are judged.
fn cells(scenario: &Scenario) -> Vec<Placed> {
    let mut cells = Vec::new();
    for (step_index, step) in scenario.steps.iter().enumerate() {
        let is_made = |pod: &PodSpec| step.create.contains(pod);
        for (index, expect) in step.expect.iter().enumerate() {
            let at = at_path![[]; "steps", step_index, "expect", index];
            let status = expect.status.iter().flat_map(|status| &status.from).enumerate();
            let named = |list: &'static str, all: &'static str| (list, all);
            let allow = expect.allow.iter().enumerate().map(|entry| (entry, true, named("allow", "")));
            let deny = expect.deny.iter().enumerate().map(|entry| (entry, false, named("deny", "")));
            // A server that refuses is reached, and does not give what is asked for.
            let given = expect.status.as_ref().is_some_and(|status| status.code < 400);
            let status = status.map(|entry| (entry, given, named("status", "from")));
            for ((number, name), allowed, (list, inner)) in allow.chain(deny).chain(status) {
                let mut at = at_path![at; list];
                if !inner.is_empty() {
                    at.push(inner.into());
                }
                at.push(number.into());
                let ends = [Some(name.as_str()), expect.to.pod.as_deref()];
                let made = ends.into_iter().flatten().filter_map(|end| scenario.pod(end).ok()).any(is_made);
                let cell = Cell {
                    source: scenario.source(name).ok(),
                    destination: Some(identity(scenario, &expect.to)),
                    port: Some(port(scenario, &expect.to)),
                    protocol: Some(expect.to.protocol),
                    family: Some(expect.to.family),
                    step: Some(step_index),
                    first: expect.first_packets,
                };
                let could_be_seen = !(allowed || made || expect.first_packets || list == "status");
                cells.push(Placed { cell, allowed, at, could_be_seen });
            }
        }
    }
    cells
}

/// A destination without port, protocol and family.
fn identity(scenario: &Scenario, to: &Destination) -> String {
    let target = destination::targets(to).first().copied().unwrap_or_default();
    let name = match target {
        "metadata" => {
            let how = to.metadata.as_ref().map(|target| (target.by, target.address, target.spelling, &target.via));
            format!("{how:?}")
        }
        "pod" => {
            let pod = to.pod.as_deref().and_then(|name| scenario.pod(name).ok());
            pod.map(|pod| format!("{}/{}", pod.namespace, pod.name)).unwrap_or_default()
        }
        "service" => {
            let service = to.service.as_deref().and_then(|name| scenario.service(name).ok());
            service.map(|service| format!("{}/{}", service.namespace, service.name)).unwrap_or_default()
        }
        "outside" => to.outside.clone().unwrap_or_default(),
        "node" => to.node.map(|node| node.as_str().to_owned()).unwrap_or_default(),
        "dns" => to.dns.clone().unwrap_or_default(),
        "kubelet" => to.kubelet.as_ref().map(|target| target.node.as_str().to_owned()).unwrap_or_default(),
        _ => String::new(),
    };
    format!("{target} {name}")
}

/// The port that is asked, where the scenario says it: the first that a pod serves by the protocol.
fn port(scenario: &Scenario, to: &Destination) -> u16 {
    let pod = to.pod.as_deref().and_then(|name| scenario.pod(name).ok());
    let outside = to.outside.as_deref().and_then(|name| scenario.outside_host(name).ok());
    let ports = pod.map(|pod| &pod.ports).or(outside.map(|host| &host.ports));
    let first = ports.and_then(|ports| ports.iter().find(|spec| spec.protocol == to.protocol));
    to.port.or(first.map(|spec| spec.port)).unwrap_or(0)
}

/// Whether two cells of opposite expectation differ in one thing alone: with that one thing struck out they are equal.
fn has_contrast(cells: &[Placed]) -> bool {
    let strike: [fn(&mut Cell); 6] = [
        |cell| cell.source = None,
        |cell| cell.destination = None,
        |cell| cell.port = None,
        |cell| cell.protocol = None,
        |cell| cell.family = None,
        |cell| cell.step = None,
    ];
    strike.iter().any(|strike| {
        let mut seen: HashMap<Cell, (bool, bool)> = HashMap::new();
        cells.iter().any(|placed| {
            let mut cell = placed.cell.clone();
            strike(&mut cell);
            let (allow, deny) = seen.entry(cell).or_default();
            *allow |= placed.allowed;
            *deny |= !placed.allowed;
            *allow && *deny
        })
    })
}

/// Warns of denials that no earlier step shows to be possible: their windows cannot be calibrated.
fn unseen(context: &Context<'_>, cells: &[Placed], faults: &mut Vec<Diagnostic>) {
    let mut steps: BTreeMap<Option<usize>, Vec<&Placed>> = BTreeMap::new();
    for entry in cells {
        steps.entry(entry.cell.step).or_default().push(entry);
    }
    let mut reached: HashSet<Cell> = HashSet::new();
    for entries in steps.values() {
        let whenever = |cell: &Cell| Cell { step: None, ..cell.clone() };
        for placed in entries {
            if placed.could_be_seen && !enough(faults) && !reached.contains(&whenever(&placed.cell)) {
                let fault = context.warning(&placed.at, "this denial is never seen to work without the policy");
                faults.push(fault.hint(
                    "add an earlier step in which the same source is allowed to reach the same destination; without it \
                     each attempt takes whole seconds",
                ));
            }
        }
        reached.extend(entries.iter().filter(|placed| placed.allowed).map(|placed| whenever(&placed.cell)));
    }
}
