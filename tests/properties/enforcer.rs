//! The enforcer's compiler against the simulator: the two share no code, so a fault of either is a difference.

use policyprobe::{
    lab::embedded::enforcer::{self, Direction, PodRules, Ruleset, compile},
    mutants::known,
    policy::{Cluster, Flow, decide},
    scenario::NodeName,
};
use proptest::prelude::*;

use crate::{
    config,
    naive::{Kind, Universe},
    outside, passes,
    worlds::worlds,
};

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn the_simulator_is_the_enforcers_compiler(world in worlds()) {
        let (cluster, outside) = (world.cluster(), outside(&world));
        let known = known(&cluster);
        let rulesets = NodeName::ALL.map(|node| compile(&known, node).unwrap());
        let universe = Universe::new(&cluster, &outside);
        for connection in universe.connections() {
            let flow = universe.flow(&connection);
            let decision = decide(&cluster, &flow);
            // What the API leaves open the enforcer may do as it likes.
            let Some(passes) = passes(&decision) else { continue };
            let ends = [connection.from, connection.to].map(|party| universe.parties[party].0);
            prop_assert_eq!(lets_through(&rulesets, &cluster, ends, &flow), passes, "{:?}: {}", connection, decision);
        }
    }
}

/// What a kernel makes of the rules: it judges what its node forwards, by address.
fn lets_through(rulesets: &[Ruleset], cluster: &Cluster, ends: [Kind; 2], flow: &Flow<'_>) -> bool {
    let is_local = match ends {
        [Kind::Pod(from), Kind::Pod(to)] => from == to,
        [Kind::Node(node), Kind::Pod(pod)] | [Kind::Pod(pod), Kind::Node(node)] => {
            cluster.pods[pod].node == cluster.nodes[node].name
        }
        _ => false,
    };
    let rules = |address| -> Option<&PodRules> {
        rulesets.iter().flat_map(|ruleset| &ruleset.pods).find(|pod| pod.addresses.contains(&address))
    };
    let open = |direction: &Direction, peer| match direction {
        Direction::Open => true,
        Direction::Isolated(accepts) => accepts.iter().any(|accept| {
            let on_port =
                |ports: &Vec<enforcer::PortRange>| ports.iter().any(|range| range.contains(flow.protocol, flow.port));
            accept.peers.contains(peer) && accept.ports.as_ref().is_none_or(on_port)
        }),
    };
    is_local
        || (rules(flow.from_address).is_none_or(|pod| open(&pod.egress, flow.to_address))
            && rules(flow.to_address).is_none_or(|pod| open(&pod.ingress, flow.from_address)))
}
