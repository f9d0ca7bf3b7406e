//! Addresses in policies that stand for those of the run: a scenario's `addresses`, put in their place in its manifests.

use std::{borrow::Cow, collections::BTreeMap, net::IpAddr};

use serde_json::Value;

use super::{
    error::Fault,
    reference::{node_in, outside_in, pod_in},
};
use crate::{
    lab::World,
    scenario::{AddressOf, Manifest, Scenario},
};

/// A manifest with the addresses of this world in place of those that the scenario's `addresses` name. An error says
/// which of them the world does not have.
pub(in crate::engine) fn addressed<'m>(
    scenario: &Scenario,
    manifest: &'m Manifest,
    world: &World,
) -> Result<Cow<'m, Manifest>, Fault> {
    if scenario.addresses.is_empty() || manifest.policy.is_none() {
        return Ok(Cow::Borrowed(manifest));
    }
    let mut real = BTreeMap::new();
    for (stand_in, of) in &scenario.addresses {
        let known = match of {
            AddressOf::Pod(named) => {
                let pod = scenario.pod(named)?;
                pod_in(world, &pod.namespace, &pod.name).map(|pod| pod.addresses.clone())
            }
            AddressOf::Node(node) => node_in(world, *node).map(|node| node.addresses.clone()),
            AddressOf::Outside(name) => outside_in(world, name).map(|host| vec![host.address]),
        };
        // A pod that a later step creates has no address yet, and no policy before that step needs it.
        let address = known.ok().and_then(|all| all.into_iter().find(|it| it.is_ipv4() == stand_in.is_ipv4()));
        real.extend(address.map(|address| (*stand_in, address)));
    }
    let mut raw = manifest.raw.clone();
    replace(&mut raw, &real);
    let policy = serde_json::from_value(raw.clone()).ok().map(std::sync::Arc::new);
    Ok(Cow::Owned(Manifest { raw, policy, ..manifest.clone() }))
}

/// Replaces blocks wherever a text is one. The length stays, and with it how much around the address is meant.
fn replace(value: &mut Value, real: &BTreeMap<IpAddr, IpAddr>) {
    match value {
        Value::String(text) => {
            let Some((address, length)) = text.split_once('/') else { return };
            let Some(real) = address.parse().ok().and_then(|address: IpAddr| real.get(&address)) else { return };
            let Ok(length) = length.parse() else { return };
            if let Ok(block) = ipnet::IpNet::new(*real, length) {
                *text = block.trunc().to_string();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, real)),
        Value::Object(fields) => fields.values_mut().for_each(|field| replace(field, real)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_length_of_a_block_stays_and_other_blocks_do_too() {
        let real = BTreeMap::from([(IpAddr::from([192, 0, 2, 1]), IpAddr::from([10, 244, 1, 77]))]);
        let mut policy =
            json!({"to": [{"ipBlock": {"cidr": "192.0.2.1/24", "except": ["192.0.2.1/32", "192.0.2.9/32"]}}]});
        replace(&mut policy, &real);
        assert_eq!(
            policy,
            json!({"to": [{"ipBlock": {"cidr": "10.244.1.0/24", "except": ["10.244.1.77/32", "192.0.2.9/32"]}}]})
        );
    }
}
