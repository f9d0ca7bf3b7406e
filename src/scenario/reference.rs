//! Names in scenario files, resolved: `app1`, `shop/app1`, `node/worker`, `outside/web`.

use super::{
    DEFAULT_NAMESPACE, Destination, Expect, NodeName, PodSpec, Scenario, ServiceSpec, Step, diagnostic::nearest,
};
use crate::lab::Source;

/// Why a name means nothing, or too much.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ReferenceError {
    /// What is wrong.
    pub message: String,
    /// What may have been meant.
    pub hint: Option<String>,
}

impl ReferenceError {
    fn unknown(kind: &str, name: &str, known: &[String]) -> Self {
        let hint = match nearest(name, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => format!("the scenario has no {kind}"),
            None => format!("known: {}", known.join(", ")),
        };
        Self { message: format!("there is no {kind} `{name}`"), hint: Some(hint) }
    }
}

impl NodeName {
    /// The node of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|node| node.as_str() == name)
    }
}

impl Expect {
    /// The sources, by the list in which they stand.
    #[must_use]
    pub fn lists(&self) -> [(&'static str, &[String]); 6] {
        let status = self.status.as_ref().map(|status| status.from.as_slice()).unwrap_or_default();
        [
            ("allow", &self.allow),
            ("deny", &self.deny),
            ("silent", &self.silent),
            ("refused", &self.refused),
            ("record", &self.record),
            ("status", status),
        ]
    }
}

impl Scenario {
    /// Whether a step has this source ask this destination.
    #[must_use]
    pub fn asks(&self, step: &Step, to: &Destination, from: &Source) -> bool {
        let same = step.expect.iter().filter(|expect| expect.to == *to);
        let mut names = same.flat_map(Expect::lists).flat_map(|(_, names)| names);
        names.any(|name| self.source(name).as_ref() == Ok(from))
    }

    /// All pods: those of the lab, and those that steps create.
    pub fn all_pods(&self) -> impl Iterator<Item = &PodSpec> + Clone {
        self.lab.pods.iter().chain(self.steps.iter().flat_map(|step| &step.create))
    }

    /// The source that an expectation names: `pod`, `namespace/pod`, `node/NODE` or `outside/NAME`.
    pub fn source(&self, name: &str) -> Result<Source, ReferenceError> {
        match name.split_once('/') {
            Some(("node", node)) => {
                let known = NodeName::ALL.map(|node| format!("node/{}", node.as_str()));
                NodeName::parse(node).map(Source::Node).ok_or_else(|| ReferenceError::unknown("node", name, &known))
            }
            Some(("outside", host)) => {
                self.outside_host(host)?;
                Ok(Source::Outside(host.to_owned()))
            }
            _ => match self.pod(name) {
                Ok(pod) => Ok(Source::Pod(pod.namespace.clone(), pod.name.clone())),
                Err(error) if self.all_pods().any(|pod| pod.name == name) => Err(error),
                Err(_) => Err(ReferenceError::unknown("pod", name, &self.source_names(name.contains('/')))),
            },
        }
    }

    /// The pod that a word names: `pod`, or `namespace/pod` where pods of two namespaces have the name.
    pub fn pod(&self, name: &str) -> Result<&PodSpec, ReferenceError> {
        let pods = self.all_pods().map(|pod| (pod.namespace.as_str(), pod.name.as_str(), pod));
        resolve("pod", name, pods)
    }

    /// The Service that a word names, like [`Self::pod`].
    pub fn service(&self, name: &str) -> Result<&ServiceSpec, ReferenceError> {
        let services = self.lab.services.iter();
        resolve("Service", name, services.map(|service| (service.namespace.as_str(), service.name.as_str(), service)))
    }

    /// The outside host of a name.
    pub fn outside_host(&self, name: &str) -> Result<&super::OutsideSpec, ReferenceError> {
        let known: Vec<String> = self.lab.outside.iter().map(|host| host.name.clone()).collect();
        self.lab
            .outside
            .iter()
            .find(|host| host.name == name)
            .ok_or_else(|| ReferenceError::unknown("outside host", name, &known))
    }

    /// Whether the lab has a namespace.
    #[must_use]
    pub fn has_namespace(&self, name: &str) -> bool {
        name == DEFAULT_NAMESPACE || self.lab.namespaces.contains_key(name)
    }

    /// The namespaces of the lab.
    #[must_use]
    pub fn namespace_names(&self) -> Vec<&str> {
        let own = self.lab.namespaces.keys().map(String::as_str);
        std::iter::once(DEFAULT_NAMESPACE).chain(own.filter(|name| *name != DEFAULT_NAMESPACE)).collect()
    }

    /// How a pod is named in this scenario: in short where that is clear.
    #[must_use]
    pub fn short_name(&self, namespace: &str, name: &str) -> String {
        let same = self.all_pods().filter(|pod| pod.name == name).count();
        if same > 1 { format!("{namespace}/{name}") } else { name.to_owned() }
    }

    /// The sources that there are, pods with their namespace where it is needed or asked for.
    fn source_names(&self, in_full: bool) -> Vec<String> {
        let pods = self.all_pods().map(|pod| {
            if in_full { format!("{}/{}", pod.namespace, pod.name) } else { self.short_name(&pod.namespace, &pod.name) }
        });
        let nodes = NodeName::ALL.into_iter().map(|node| format!("node/{}", node.as_str()));
        pods.chain(nodes).chain(self.lab.outside.iter().map(|host| format!("outside/{}", host.name))).collect()
    }
}

fn resolve<'a, T>(
    kind: &str,
    word: &str,
    all: impl Iterator<Item = (&'a str, &'a str, T)> + Clone,
) -> Result<T, ReferenceError> {
    let (namespace, name) = match word.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, word),
    };
    let mut matching = all.clone().filter(|(in_namespace, is_named, _)| {
        *is_named == name && namespace.is_none_or(|wanted| wanted == *in_namespace)
    });
    match (matching.next(), matching.next()) {
        (Some((first, ..)), Some((second, ..))) if first != second => Err(ReferenceError {
            message: format!(
                "`{word}` is ambiguous: namespaces `{first}` and `{second}` both have a {kind} of that name"
            ),
            hint: Some(format!("write `{first}/{name}` or `{second}/{name}`")),
        }),
        (Some((.., found)), _) => Ok(found),
        (None, _) => {
            let mut known: Vec<String> = all
                .map(
                    |(in_namespace, name, _)| {
                        if namespace.is_some() { format!("{in_namespace}/{name}") } else { name.to_owned() }
                    },
                )
                .collect();
            known.sort();
            known.dedup();
            Err(ReferenceError::unknown(kind, word, &known))
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn scenario() -> Scenario {
        serde_json::from_value(serde_json::json!({
            "id": "x", "title": "X",
            "lab": {
                "namespaces": {"shop": {}},
                "pods": [
                    {"name": "app1"}, {"name": "app1", "namespace": "shop"}, {"name": "web", "namespace": "shop"},
                ],
                "outside": [{"name": "bank"}],
            },
            "steps": [{"name": "later", "create": [{"name": "late"}]}],
        }))
        .unwrap()
    }

    #[test]
    fn sources_resolve() {
        let scenario = scenario();
        assert_eq!(scenario.source("web").unwrap(), Source::Pod("shop".into(), "web".into()));
        assert_eq!(scenario.source("default/app1").unwrap(), Source::Pod("default".into(), "app1".into()));
        assert_eq!(scenario.source("late").unwrap(), Source::Pod("default".into(), "late".into()));
        assert_eq!(scenario.source("node/master").unwrap(), Source::Node(NodeName::Master));
        assert_eq!(scenario.source("outside/bank").unwrap(), Source::Outside("bank".into()));
    }

    #[test]
    fn what_does_not_resolve_gets_a_hint() {
        let scenario = scenario();
        let hint = |name: &str| scenario.source(name).unwrap_err().hint.unwrap();
        assert_eq!(hint("app1"), "write `default/app1` or `shop/app1`");
        assert_eq!(hint("wbe"), "did you mean `web`?");
        assert_eq!(hint("shop/wbe"), "did you mean `shop/web`?");
        assert_eq!(hint("node/wroker"), "did you mean `node/worker`?");
        assert_eq!(hint("outside/bnak"), "did you mean `bank`?");
    }
}
