//! Pure: the next smaller cases. Each leaves out one thing, and is one that the API server would take.

use serde_json::Value;

use super::case::{Case, Change};

/// Lists whose items may be left out, each by itself.
const LISTS: [&str; 7] = ["ingress", "egress", "from", "to", "ports", "except", "matchExpressions"];
/// Fields that may be left out.
const FIELDS: [&str; 6] = ["ingress", "egress", "policyTypes", "ports", "endPort", "protocol"];

/// Every case that is smaller by one thing, the largest steps first.
pub(super) fn smaller(case: &Case) -> Vec<Case> {
    let mut found = Vec::new();
    for index in 0..case.changes.len() {
        let mut less = case.clone();
        less.changes.remove(index);
        found.push(less);
    }
    for index in (0..case.policies.len()).filter(|_| case.policies.len() > 1) {
        let mut less = case.clone();
        less.policies.remove(index);
        less.changes.retain(|change| !matches!(change, Change::Delete(which) if *which == index));
        for change in &mut less.changes {
            if let Change::Delete(which) = change
                && *which > index
            {
                *which -= 1;
            }
        }
        found.push(less);
    }
    found.extend(fewer_pods(case));
    for (index, policy) in case.policies.iter().enumerate() {
        for spec in lesser(&policy.spec) {
            let mut less = case.clone();
            less.policies[index].spec = spec;
            found.push(less);
        }
    }
    found
}

/// Without a pod that nothing names.
fn fewer_pods(case: &Case) -> Vec<Case> {
    let policies: String = case.policies.iter().map(|policy| policy.spec.to_string()).collect();
    let mut found = Vec::new();
    for (index, pod) in case.lab.pods.iter().enumerate().filter(|_| case.lab.pods.len() > 2) {
        let called = format!("{}/{}", pod.namespace, pod.name);
        let labelled =
            |change: &Change| matches!(change, Change::Label(action) if action.pod.as_deref() == Some(&called));
        let is_it = |of: &crate::scenario::AddressOf| *of == crate::scenario::AddressOf::Pod(called.clone());
        let meant = case.addresses.iter().find(|(_, of)| is_it(of)).map(|(address, _)| *address);
        let blocked = meant.is_some_and(|address| policies.contains(&format!("\"{address}/")));
        if !blocked && !case.changes.iter().any(labelled) {
            let mut less = case.clone();
            less.lab.pods.remove(index);
            less.addresses.retain(|_, of| !is_it(of));
            found.push(less);
        }
    }
    found
}

/// A value without one of its parts.
fn lesser(value: &Value) -> Vec<Value> {
    let Value::Object(map) = value else { return Vec::new() };
    let mut found = Vec::new();
    for (key, inner) in map {
        let both = map.contains_key("podSelector") && map.contains_key("namespaceSelector");
        if FIELDS.contains(&key.as_str()) || (both && key == "namespaceSelector") {
            let mut less = map.clone();
            less.remove(key);
            found.push(Value::Object(less));
        }
        let with = |inner: Value| {
            let mut changed = map.clone();
            changed.insert(key.clone(), inner);
            Value::Object(changed)
        };
        match inner {
            Value::Array(items) if LISTS.contains(&key.as_str()) => {
                for (index, item) in items.iter().enumerate() {
                    let mut fewer = items.clone();
                    fewer.remove(index);
                    found.push(with(Value::Array(fewer)));
                    for item in lesser(item) {
                        let mut changed = items.clone();
                        changed[index] = item;
                        found.push(with(Value::Array(changed)));
                    }
                }
            }
            Value::Object(labels) if key == "matchLabels" => {
                for label in labels.keys() {
                    let mut fewer = labels.clone();
                    fewer.remove(label);
                    found.push(with(Value::Object(fewer)));
                }
            }
            Value::Object(_) => found.extend(lesser(inner).into_iter().map(with)),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{super::draw, *};

    #[test]
    fn every_smaller_case_is_a_scenario_and_shrinking_ends() {
        for number in 0..8 {
            let mut case = draw::case(7, number);
            let mut steps = 0;
            loop {
                let smaller = smaller(&case);
                for less in &smaller {
                    less.scenario().unwrap();
                }
                let Some(last) = smaller.into_iter().last() else { break };
                case = last;
                steps += 1;
                assert!(steps < 200, "case {number} does not end");
            }
            assert_eq!(case.policies.len(), 1);
        }
    }
}
