//! Faults about label selectors, wherever a policy has them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use super::{super::Cluster, Mutant, rules::each_list};
use crate::scenario::Labels;

pub(super) fn misread(mutant: Mutant, cluster: &mut Cluster) {
    match mutant {
        Mutant::LabelsAreAlternatives => each_alternative(cluster, |selector| {
            let labels = selector.match_labels.clone().unwrap_or_default();
            let one = |label| LabelSelector { match_labels: Some([label].into()), ..selector.clone() };
            labels.into_iter().map(one).collect()
        }),
        Mutant::ExpressionsAreAlternatives => each_alternative(cluster, |selector| {
            let expressions = selector.match_expressions.clone().unwrap_or_default();
            let one = |it| LabelSelector { match_expressions: Some(vec![it]), ..selector.clone() };
            expressions.into_iter().map(one).collect()
        }),
        Mutant::IgnoresExpressionsBesideLabels => each_selector(cluster, |selector| {
            if selector.match_labels.as_ref().is_some_and(|labels| !labels.is_empty()) {
                selector.match_expressions = None;
            }
        }),
        Mutant::FirstValueOfIn | Mutant::FirstValueOfNotIn => {
            let operator = if mutant == Mutant::FirstValueOfIn { "In" } else { "NotIn" };
            each_expression(cluster, |mut it| {
                if it.operator == operator {
                    it.values.iter_mut().for_each(|values| values.truncate(1));
                }
                vec![it]
            });
        }
        Mutant::NotInNeedsLabel => each_expression(cluster, |it| {
            let exists = (it.operator == "NotIn").then(|| expression(&it.key, "Exists", None));
            std::iter::once(it).chain(exists).collect()
        }),
        Mutant::ExistsIsEmptyValue => each_expression(cluster, |it| {
            let is_exists = it.operator == "Exists";
            vec![if is_exists { expression(&it.key, "In", Some(vec![String::new()])) } else { it }]
        }),
        Mutant::IgnoresDoesNotExist => {
            each_expression(cluster, |it| if it.operator == "DoesNotExist" { Vec::new() } else { vec![it] });
        }
        Mutant::EmptyValueMatchesAbsent => empty_where_absent(cluster),
        Mutant::IgnoresKeyPrefix => each_label(cluster, |key, value| {
            let bare = key.rsplit_once('/').map_or(key, |(_, bare)| bare);
            (bare.to_owned(), value.to_owned())
        }),
        Mutant::IgnoresCase => each_label(cluster, |key, value| (key.to_lowercase(), value.to_lowercase())),
        _ => {}
    }
}

/// Whether a selector requires nothing.
pub(super) fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(std::collections::BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
}

/// A selector that requires what two require, also where their labels contradict each other.
pub(super) fn both(one: &LabelSelector, mut other: LabelSelector) -> LabelSelector {
    let labels = one.match_labels.iter().flatten();
    let required = labels.map(|(key, value)| expression(key, "In", Some(vec![value.clone()])));
    let expressions = other.match_expressions.get_or_insert_default();
    expressions.extend(required.chain(one.match_expressions.iter().flatten().cloned()));
    other
}

fn expression(key: &str, operator: &str, values: Option<Vec<String>>) -> LabelSelectorRequirement {
    LabelSelectorRequirement { key: key.to_owned(), operator: operator.to_owned(), values }
}

/// Changes every selector: the policies' own and those of peers.
fn each_selector(cluster: &mut Cluster, mut change: impl FnMut(&mut LabelSelector)) {
    for spec in cluster.policies.iter_mut().filter_map(|policy| policy.spec.as_mut()) {
        spec.pod_selector.iter_mut().for_each(&mut change);
        let ingress = spec.ingress.iter_mut().flatten().flat_map(|rule| rule.from.iter_mut().flatten());
        let egress = spec.egress.iter_mut().flatten().flat_map(|rule| rule.to.iter_mut().flatten());
        for peer in ingress.chain(egress) {
            peer.pod_selector.iter_mut().for_each(&mut change);
            peer.namespace_selector.iter_mut().for_each(&mut change);
        }
    }
}

/// Changes each expression, into several or none.
fn each_expression(cluster: &mut Cluster, change: impl Fn(LabelSelectorRequirement) -> Vec<LabelSelectorRequirement>) {
    each_selector(cluster, |selector| {
        if let Some(expressions) = selector.match_expressions.take() {
            selector.match_expressions = Some(expressions.into_iter().flat_map(&change).collect());
        }
    });
}

/// Puts alternatives in the place of selectors: peers become several, and so do policies. None means as it is.
fn each_alternative(cluster: &mut Cluster, split: impl Fn(&LabelSelector) -> Vec<LabelSelector>) {
    let alternatives = |selector: Option<&LabelSelector>| -> Vec<Option<LabelSelector>> {
        let several = selector.map(&split).unwrap_or_default();
        if several.is_empty() { vec![selector.cloned()] } else { several.into_iter().map(Some).collect() }
    };
    each_list(cluster, |_, mut rules| {
        for rule in &mut rules {
            let Some(peers) = &mut rule.peers else { continue };
            let all = std::mem::take(peers).into_iter().flat_map(|peer| {
                let pods = alternatives(peer.pod_selector.as_ref());
                let namespaces = alternatives(peer.namespace_selector.as_ref());
                let pairs = pods.into_iter().flat_map(move |pod| {
                    let pair = move |namespace| (pod.clone(), namespace);
                    namespaces.clone().into_iter().map(pair).collect::<Vec<_>>()
                });
                pairs.map(move |(pod_selector, namespace_selector)| {
                    k8s_openapi::api::networking::v1::NetworkPolicyPeer {
                        pod_selector,
                        namespace_selector,
                        ip_block: peer.ip_block.clone(),
                    }
                })
            });
            *peers = all.collect();
        }
        rules
    });
    let policies = std::mem::take(&mut cluster.policies).into_iter().flat_map(|policy| {
        let selectors = alternatives(policy.spec.as_ref().and_then(|spec| spec.pod_selector.as_ref()));
        selectors.into_iter().map(move |selector| {
            let mut policy = policy.clone();
            policy.spec.iter_mut().for_each(|spec| spec.pod_selector.clone_from(&selector));
            policy
        })
    });
    cluster.policies = policies.collect();
}

/// Gives everything that lacks it each label that some selector wants to be empty.
fn empty_where_absent(cluster: &mut Cluster) {
    let mut wanted = Vec::new();
    each_selector(cluster, |selector| {
        let labels = selector.match_labels.iter().flatten();
        wanted.extend(labels.filter(|(_, value)| value.is_empty()).map(|(key, _)| key.clone()));
        let expressions = selector.match_expressions.iter().flatten();
        let empty = expressions.filter(|it| it.operator == "In" && it.values.iter().flatten().any(String::is_empty));
        wanted.extend(empty.map(|it| it.key.clone()));
    });
    let pods = cluster.pods.iter_mut().map(|pod| &mut pod.labels);
    for labels in pods.chain(cluster.namespaces.values_mut()) {
        for key in &wanted {
            labels.entry(key.clone()).or_default();
        }
    }
}

/// Changes every label and every requirement alike.
fn each_label(cluster: &mut Cluster, change: impl Fn(&str, &str) -> (String, String)) {
    let relabel = |labels: &Labels| labels.iter().map(|(key, value)| change(key, value)).collect::<Labels>();
    cluster.pods.iter_mut().for_each(|pod| pod.labels = relabel(&pod.labels));
    cluster.namespaces.values_mut().for_each(|labels| *labels = relabel(labels));
    each_selector(cluster, |selector| {
        selector.match_labels.iter_mut().for_each(|labels| *labels = relabel(labels));
        for it in selector.match_expressions.iter_mut().flatten() {
            for value in it.values.iter_mut().flatten() {
                *value = change(&it.key, value).1;
            }
            it.key = change(&it.key, "").0;
        }
    });
}
