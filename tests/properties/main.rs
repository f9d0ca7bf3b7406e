//! The simulator's properties, over random small worlds, and the enforcer's agreement with it.
//!
//! `PROPTEST_CASES` sets the number of cases of every property.

#![expect(clippy::unwrap_used, reason = "tests")]
#![expect(unreachable_pub, reason = "the modules of a test target are read by nobody else")]

mod enforcer;
#[cfg(target_os = "linux")]
mod gallery;
#[cfg(target_os = "linux")]
mod lab;
mod naive;
mod worlds;

use std::{net::IpAddr, sync::Arc};

use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicySpec,
};
use naive::{Connection, Kind, Universe};
use policyprobe::{
    policy::{Cluster, Decision, End, Flow, decide},
    scenario::Protocol,
};
use proptest::{prelude::*, sample::Index, test_runner::FileFailurePersistence};
use worlds::{RandomWorld, addresses, blocks, policy, selectors, specs, worlds};

fn config(cases: u32) -> ProptestConfig {
    // The default has what the environment says, which a number given here would override.
    let default = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { default.cases } else { cases };
    ProptestConfig {
        cases,
        // Failures are kept beside the test, never at the top of the repository.
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..default
    }
}

fn outside(world: &RandomWorld) -> Vec<IpAddr> {
    world.world().outside.iter().map(|host| host.address).chain(["2001:db8::9".parse().unwrap()]).collect()
}

fn passes(decision: &Decision) -> Option<bool> {
    match decision {
        Decision::Allow(_) => Some(true),
        Decision::Deny(_) => Some(false),
        Decision::Undefined { .. } => None,
    }
}

/// Every connection of a world with the simulator's decision.
fn decisions(cluster: &Cluster, outside: &[IpAddr]) -> Vec<(Connection, Decision)> {
    let universe = Universe::new(cluster, outside);
    let connections = universe.connections();
    connections.into_iter().map(|connection| (connection, decide(cluster, &universe.flow(&connection)))).collect()
}

proptest! {
    #![proptest_config(config(64))]

    #[test]
    fn the_simulator_is_the_naive_evaluator(world in worlds()) {
        let (cluster, outside) = (world.cluster(), outside(&world));
        let universe = Universe::new(&cluster, &outside);
        for connection in universe.connections() {
            let decision = decide(&cluster, &universe.flow(&connection));
            prop_assert_eq!(passes(&decision), universe.passes(&connection), "{:?}: {}", connection, decision);
        }
    }

    #[test]
    fn another_rule_never_takes_anything_away(world in worlds(), policy in any::<Index>(), extra in worlds()) {
        prop_assume!(!world.policies.is_empty());
        let mut more = world.clone();
        let index = policy.index(more.policies.len());
        let spec = more.policies[index].spec.as_mut().unwrap();
        // Pinned, so that an added egress rule does not make the policy one about egress.
        let types = if spec.egress.iter().flatten().next().is_some() { vec!["Ingress", "Egress"] } else { vec!["Ingress"] };
        spec.policy_types.get_or_insert_with(|| types.into_iter().map(str::to_owned).collect());
        let extra = extra.policies.into_iter().filter_map(|policy| policy.spec);
        for other in extra {
            spec.ingress.get_or_insert_default().extend(other.ingress.unwrap_or_default());
            spec.egress.get_or_insert_default().extend(other.egress.unwrap_or_default());
        }
        let outside = outside(&world);
        let (before, after) = (world.cluster(), more.cluster());
        for ((connection, before), (_, after)) in decisions(&before, &outside).iter().zip(decisions(&after, &outside)) {
            if passes(before) == Some(true) {
                prop_assert_eq!(passes(&after), Some(true), "{:?}", connection);
            }
        }
    }

    #[test]
    fn order_means_nothing(world in worlds(), turn in any::<Index>()) {
        let (cluster, outside) = (world.cluster(), outside(&world));
        let mut turned = cluster.clone();
        turned.policies.reverse();
        if !turned.policies.is_empty() {
            let middle = turn.index(turned.policies.len());
            turned.policies.rotate_left(middle);
        }
        // The deciding rule too: reports of two runs can be compared.
        prop_assert_eq!(decisions(&cluster, &outside), decisions(&turned, &outside));
    }

    #[test]
    fn two_policies_are_one_with_all_their_rules(
        world in worlds(),
        selector in selectors(),
        (one, two) in (specs(&[[10, 244, 0, 2].into()]), specs(&[[203, 0, 113, 10].into()])),
    ) {
        let both = || Some(vec!["Ingress".to_owned(), "Egress".to_owned()]);
        let pinned = |spec: NetworkPolicySpec| {
            NetworkPolicySpec { pod_selector: Some(selector.clone()), policy_types: both(), ..spec }
        };
        let (one, two) = (pinned(one), pinned(two));
        let ingress: Vec<NetworkPolicyIngressRule> = [&one, &two].into_iter().filter_map(|spec| spec.ingress.clone()).flatten().collect();
        let egress: Vec<NetworkPolicyEgressRule> = [&one, &two].into_iter().filter_map(|spec| spec.egress.clone()).flatten().collect();
        let joined = NetworkPolicySpec { ingress: Some(ingress), egress: Some(egress), ..one.clone() };
        let with = |specs: Vec<NetworkPolicySpec>| {
            let mut cluster = world.cluster();
            let policies = specs.into_iter().enumerate().map(|(index, spec)| Arc::new(policy("default", 10 + index, spec)));
            cluster.policies.extend(policies);
            cluster
        };
        let (apart, together) = (with(vec![one, two]), with(vec![joined]));
        let outside = outside(&world);
        for ((connection, apart), (_, together)) in decisions(&apart, &outside).iter().zip(decisions(&together, &outside)) {
            prop_assert_eq!(passes(apart), passes(&together), "{:?}", connection);
        }
    }

    #[test]
    fn a_block_with_excepts_is_a_difference_of_sets(
        (world, block) in worlds().prop_flat_map(|world| {
            let addresses = addresses(&world.world());
            (Just(world), blocks(addresses))
        }),
        sampled in any::<[u8; 4]>(),
    ) {
        let to = |block: IPBlock| {
            let peer = NetworkPolicyPeer { ip_block: Some(block), ..NetworkPolicyPeer::default() };
            let rule = NetworkPolicyEgressRule { to: Some(vec![peer]), ports: None };
            let mut cluster = world.cluster();
            let spec = NetworkPolicySpec {
                pod_selector: Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector::default()),
                policy_types: Some(vec!["Egress".to_owned()]),
                egress: Some(vec![rule]),
                ingress: None,
            };
            cluster.policies = worlds::NAMESPACES.iter().map(|name| Arc::new(policy(name, 0, spec.clone()))).collect();
            cluster
        };
        let plain = |cidr: &String| to(IPBlock { cidr: cidr.clone(), except: None });
        let whole = plain(&block.cidr);
        let holes: Vec<Cluster> = block.except.iter().flatten().map(plain).collect();
        let cluster = to(block);
        let outside = [addresses(&world.world()), outside(&world), vec![IpAddr::from(sampled)]].concat();
        let universe = Universe::new(&cluster, &outside);
        for connection in universe.connections().into_iter().filter(|connection| connection.port == 80) {
            let (from, to) = (universe.parties[connection.from].0, universe.parties[connection.to].0);
            // The DNS server is in a namespace of its own, without policies.
            let isolated = matches!(from, Kind::Pod(pod) if cluster.pods[pod].namespace != "kube-system");
            if !isolated || to != Kind::Outside {
                continue;
            }
            let flow = universe.flow(&connection);
            let open = |cluster: &Cluster| passes(&decide(cluster, &flow)) == Some(true);
            prop_assert_eq!(open(&cluster), open(&whole) && !holes.iter().any(open), "{:?}", connection);
        }
    }

    #[test]
    fn an_empty_policy_isolates(world in worlds(), selector in selectors(), ingress in any::<bool>()) {
        let name = if ingress { "Ingress" } else { "Egress" };
        let mut cluster = world.cluster();
        let spec = NetworkPolicySpec {
            pod_selector: Some(selector),
            policy_types: Some(vec![name.to_owned()]),
            ..NetworkPolicySpec::default()
        };
        cluster.policies = vec![Arc::new(policy("default", 0, spec.clone()))];
        let outside = outside(&world);
        let universe = Universe::new(&cluster, &outside);
        let selected = |kind: Kind| match kind {
            Kind::Pod(index) => {
                let pod = &cluster.pods[index];
                pod.namespace == "default" && naive::agree(spec.pod_selector.as_ref().unwrap(), &pod.labels)
            }
            Kind::Node(_) | Kind::Outside => false,
        };
        for (connection, decision) in decisions(&cluster, &outside) {
            let (from, to) = (universe.parties[connection.from].0, universe.parties[connection.to].0);
            let isolated = selected(if ingress { to } else { from });
            let excepted = from == to || matches!((from, to), (Kind::Node(_), _) | (_, Kind::Node(_)));
            if !excepted {
                prop_assert_eq!(passes(&decision), Some(!isolated), "{:?}", connection);
            }
        }
    }

    #[test]
    fn nothing_that_is_said_makes_it_panic(cidr in ".{0,12}", port in any::<i32>(), end in any::<Option<i32>>(), word in ".{0,6}") {
        let spec = serde_json::json!({
            "podSelector": {},
            "policyTypes": ["Egress", word],
            "egress": [{
                "to": [{"ipBlock": {"cidr": cidr, "except": [cidr, word]}},
                       {"podSelector": {"matchExpressions": [{"key": word, "operator": word}]}}],
                "ports": [{"port": port, "endPort": end, "protocol": word}, {"port": word, "endPort": end}],
            }],
        });
        let lab: policyprobe::scenario::LabSpec =
            serde_json::from_value(serde_json::json!({"pods": [{"name": "a"}, {"name": "b"}]})).unwrap();
        let world = RandomWorld { lab, policies: vec![policy("default", 0, serde_json::from_value(spec).unwrap())] };
        let cluster = world.cluster();
        let [one, two] = [&cluster.pods[0], &cluster.pods[1]];
        let flow = Flow {
            from: End::Pod(one),
            from_address: one.addresses[0],
            to: End::Pod(two),
            to_address: two.addresses[0],
            port: 80,
            protocol: Protocol::Tcp,
            service: None,
        };
        prop_assert!(passes(&decide(&cluster, &flow)).is_some());
    }
}
