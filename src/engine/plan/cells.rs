//! The cells of a step: each source of each expectation, with the request to make.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    PlanError,
    destination::{self, Resolved},
    error::Fault,
    flow::of_family,
    reference::{node_in, outside_in, pod_in, short},
};
use crate::{
    engine::Expectation,
    lab::{ServerId, Source, World},
    policy::ServiceAddress,
    probe::Target,
    scenario::{Destination, Expect, Family, LoadedScenario, Need, NodeName, PodSpec, Protocol, Scenario, Step},
};

/// One source, one destination, one step.
#[derive(Clone, Debug)]
pub struct PlannedCell {
    /// Unique in the step, and the same in every step and every lab: `app1 -> metadata:80/tcp`, then `by name`,
    /// `over ipv6`, `from port`, `established`, `at first`, a path and headers where they are not the target's usual ones.
    pub id: String,
    /// The source.
    pub from: Source,
    /// The source as scenario files write it; pods of `default` by their name alone.
    pub from_text: String,
    /// The destination, as in the id.
    pub to_text: String,
    /// Who must answer.
    pub server: ServerId,
    /// The identity that the answer must carry. The API server's and DNS's, which know nothing of identities, are
    /// placeholders; the API server proves itself by the nonce alone.
    pub identity: String,
    /// What is asked. None where no request can be made: the lab has no such address, or there is no probe for the
    /// protocol. `needs` then says what is missing.
    pub target: Option<Target>,
    /// What must come of it.
    pub expectation: Expectation,
    /// The number of the step's expectation that it is of.
    pub expect: usize,
    /// The address that is asked; none where only a name is known, or the lab has no such address.
    pub address: Option<IpAddr>,
    /// The port that is asked.
    pub port: u16,
    /// The port that the server listens on; another one than `port` only behind a Service or a relay.
    pub server_port: u16,
    /// The pod in between that passes the request on. `address` and `port` are its own then.
    pub via: Option<Source>,
    /// The protocol.
    pub protocol: Protocol,
    /// The address family.
    pub family: Family,
    /// The port of its own that the source asks from, where the scenario names one. No policy knows it.
    pub source_port: Option<u16>,
    /// What it is asked over.
    pub connection: Connection,
    /// Whose first packets it is about, if it is: they are asked for where that pod is made, and not again.
    pub first: Option<NewPod>,
    /// Whether the source has to resolve a name first.
    pub by_name: bool,
    /// The Service in between.
    pub service: Option<ServiceAddress>,
    /// What the lab must be able to do for this cell.
    pub needs: BTreeSet<Need>,
}

/// What a cell is asked over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Connection {
    /// Each request has a connection of its own.
    #[default]
    New,
    /// One that this step makes, and that stays.
    Made,
    /// The one that an earlier step made.
    Kept,
}

/// What the pod does that a step makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewPod {
    /// It asks, from its first instruction on.
    Asks,
    /// It is asked, from when its address is known.
    IsAsked,
}

impl PlannedCell {
    /// The same, once the pod is there that is asked, with the address that it got; none where it has none of the family.
    #[must_use]
    pub(in crate::engine) fn arrived(&self, addresses: &[IpAddr]) -> Option<Self> {
        let address = of_family(addresses, self.family)?;
        Some(Self {
            target: self.target.clone().map(|target| target.at(address)),
            address: Some(address),
            ..self.clone()
        })
    }

    /// Whether it is asked beside all others of its source, and not one after the other, as what has a port or a connection to
    /// itself is.
    #[must_use]
    pub(in crate::engine) fn is_asked_at_once(&self) -> bool {
        self.source_port.is_none() && self.connection == Connection::New
    }
}

#[cfg(test)]
impl PlannedCell {
    /// A cell of the metadata server, for tests that need one.
    pub(in crate::engine) fn to_metadata(from: Source, expectation: Expectation) -> Self {
        Self {
            id: String::new(),
            from,
            from_text: String::new(),
            to_text: String::new(),
            server: ServerId::Metadata,
            identity: String::new(),
            target: None,
            expectation,
            expect: 0,
            address: "10.0.0.1".parse().ok(),
            port: 80,
            server_port: 80,
            via: None,
            protocol: Protocol::Tcp,
            family: Family::Ipv4,
            source_port: None,
            connection: Connection::New,
            first: None,
            by_name: false,
            service: None,
            needs: BTreeSet::new(),
        }
    }
}

/// Plans a step, with the addresses of the world as it is once the step's actions are done. Cells are in the order of the
/// file: by expectation, then `allow`, `deny`, `status`, `silent`, `refused`, `record`. A step that does not exist has no cells.
pub fn cells(loaded: &LoadedScenario, step: usize, world: &World) -> Result<Vec<PlannedCell>, PlanError> {
    let scenario = &loaded.scenario;
    let Some(([earlier @ .., step], _)) = scenario.steps.split_at_checked(step + 1) else { return Ok(Vec::new()) };
    let mut cells = Vec::new();
    let mut seen = BTreeSet::new();
    for (number, expect) in step.expect.iter().enumerate() {
        let broken = |fault: Fault| PlanError { expect: Some(number), ..fault.in_step(&step.name) };
        for cell in expected_cells(scenario, world, expect, earlier).map_err(broken)? {
            let cell = if expect.first_packets { at_first(cell, step) } else { cell };
            if !seen.insert(cell.id.clone()) {
                let fault = Fault::new(format!("`{}` is expected twice", cell.id));
                return Err(broken(fault.hint("name each source once for each destination")));
            }
            cells.push(PlannedCell { expect: number, ..cell });
        }
    }
    Ok(cells)
}

fn expected_cells(
    scenario: &Scenario,
    world: &World,
    expect: &Expect,
    earlier: &[Step],
) -> Result<Vec<PlannedCell>, Fault> {
    let to = destination::resolve(scenario, world, &expect.to)?;
    let status = expect.status.as_ref().map(|status| (&status.from, Expectation::Status { code: status.code }));
    [(&expect.allow, Expectation::Reachable), (&expect.deny, Expectation::Blocked)]
        .into_iter()
        .chain(status)
        .chain([
            (&expect.silent, Expectation::Silent),
            (&expect.refused, Expectation::Refused),
            (&expect.record, Expectation::Recorded),
        ])
        .flat_map(|(sources, expectation)| sources.iter().map(move |from| (from, expectation.clone())))
        .map(|(from, expectation)| cell(scenario, world, &to, from, expectation))
        .map(|cell| {
            let cell = cell?;
            let connection = connection(scenario, &expect.to, &cell.from, earlier);
            Ok(PlannedCell { connection, ..cell })
        })
        .collect()
}

/// What a source asks a destination over.
fn connection(scenario: &Scenario, to: &Destination, from: &Source, earlier: &[Step]) -> Connection {
    match to.established {
        false => Connection::New,
        true if earlier.iter().any(|step| scenario.asks(step, to, from)) => Connection::Kept,
        true => Connection::Made,
    }
}

fn cell(
    scenario: &Scenario,
    world: &World,
    to: &Resolved,
    from: &str,
    expectation: Expectation,
) -> Result<PlannedCell, Fault> {
    let from = scenario.source(from)?;
    let mut needs = to.needs.clone();
    let from_text = match &from {
        Source::Pod(namespace, name) => {
            if pod_in(world, namespace, name)?.spec.host_network {
                needs.insert(Need::HostNetwork);
            }
            short(namespace, name)
        }
        Source::Node(name) => {
            node_in(world, *name)?;
            needs.insert(Need::NodeSource);
            format!("node/{}", name.as_str())
        }
        Source::Outside(name) => {
            outside_in(world, name)?;
            needs.insert(Need::Outside);
            format!("outside/{name}")
        }
    };
    let Resolved { server, mut identity, text, address, port, server_port, via, .. } = to.clone();
    if let (ServerId::Metadata, Some(metadata)) = (&server, &world.metadata) {
        let at = home(world, via.as_ref().unwrap_or(&from));
        identity = at.map_or(identity, |(node, own_network)| metadata.identity_for(node, own_network));
    }
    Ok(PlannedCell {
        id: format!("{from_text} -> {text}"),
        from,
        from_text,
        to_text: text,
        server,
        identity,
        target: to.target.clone(),
        expectation,
        expect: 0,
        address,
        port,
        server_port,
        via,
        protocol: to.protocol,
        family: to.family,
        source_port: to.source_port,
        connection: Connection::New,
        first: None,
        by_name: to.by_name,
        service: to.service,
        needs,
    })
}

/// The same, of the first packets of a pod that the step makes.
fn at_first(mut cell: PlannedCell, step: &Step) -> PlannedCell {
    for text in [&mut cell.id, &mut cell.to_text] {
        text.push_str(" at first");
    }
    cell.needs.insert(Need::FirstPackets);
    let is_asked = |pod: &PodSpec| cell.server == ServerId::Pod(pod.namespace.clone(), pod.name.clone());
    let first = if step.create.iter().any(is_asked) { NewPod::IsAsked } else { NewPod::Asks };
    PlannedCell { first: Some(first), ..cell }
}

/// The node that a source is on, and whether it has a network of its own there.
pub(super) fn home(world: &World, from: &Source) -> Option<(NodeName, bool)> {
    match from {
        Source::Node(name) => Some((*name, false)),
        Source::Pod(namespace, name) => {
            let pod = world.pod(namespace, name)?;
            Some((pod.spec.node, !pod.spec.host_network))
        }
        Source::Outside(_) => None,
    }
}
