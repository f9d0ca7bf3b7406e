//! Whose rights are asked for, and which: on nodes, and on what leads to them by another way.

use serde_json::{Value, json};

/// Whose rights.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A service account: namespace and name.
    ServiceAccount(String, String),
    /// A user.
    User(String),
    /// A group, as any member of it.
    Group(String),
}

impl Subject {
    /// From `NAMESPACE/NAME`.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn service_account(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self::ServiceAccount(namespace.to_owned(), name.to_owned()))
            }
            _ => Err("a service account is NAMESPACE/NAME".to_owned()),
        }
    }

    /// In reports.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::ServiceAccount(namespace, name) => format!("{namespace}/{name}"),
            Self::User(name) => format!("user {name}"),
            Self::Group(name) => format!("group {name}"),
        }
    }

    /// The user and the groups that a review is about. A token puts a service account into three groups.
    #[must_use]
    pub fn identity(&self) -> (String, Vec<String>) {
        match self {
            Self::ServiceAccount(namespace, name) => (
                format!("system:serviceaccount:{namespace}:{name}"),
                vec![
                    "system:serviceaccounts".to_owned(),
                    format!("system:serviceaccounts:{namespace}"),
                    "system:authenticated".to_owned(),
                ],
            ),
            Self::User(name) if name == "system:anonymous" => (name.clone(), vec!["system:unauthenticated".to_owned()]),
            Self::User(name) => (name.clone(), vec!["system:authenticated".to_owned()]),
            // Somebody with no rights of their own.
            Self::Group(name) => (String::new(), vec![name.clone()]),
        }
    }
}

/// One right that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// The verb.
    pub verb: &'static str,
    /// The API group.
    pub group: &'static str,
    /// The resource.
    pub resource: &'static str,
    /// The subresource.
    pub subresource: &'static str,
    /// The namespace; empty for all, and for what has none.
    pub namespace: &'static str,
    /// The name; empty for all.
    pub name: &'static str,
    /// What somebody can do with it.
    pub matters: &'static str,
}

const fn on(verb: &'static str, group: &'static str, resource: &'static str, matters: &'static str) -> Question {
    Question { verb, group, resource, subresource: "", namespace: "", name: "", matters }
}

impl Question {
    const fn sub(self, subresource: &'static str) -> Self {
        Self { subresource, ..self }
    }

    const fn within(self, namespace: &'static str) -> Self {
        Self { namespace, ..self }
    }

    const fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    /// In words, as `kubectl auth can-i` takes it.
    #[must_use]
    pub fn words(&self) -> String {
        let mut text = format!("{} {}", self.verb, self.resource);
        if !self.subresource.is_empty() {
            text = format!("{text}/{}", self.subresource);
        }
        if !self.name.is_empty() {
            text = format!("{text} {}", self.name);
        }
        if !self.namespace.is_empty() {
            text = format!("{text} in {}", self.namespace);
        }
        text
    }

    /// The `SubjectAccessReview` that asks it.
    #[must_use]
    pub fn review(&self, subject: &Subject) -> Value {
        let (user, groups) = subject.identity();
        let mut attributes = json!({"verb": self.verb, "group": self.group, "resource": self.resource});
        let more = [("subresource", self.subresource), ("namespace", self.namespace), ("name", self.name)];
        for (key, value) in more.into_iter().filter(|(_, value)| !value.is_empty()) {
            attributes[key] = json!(value);
        }
        let mut spec = json!({"groups": groups, "resourceAttributes": attributes});
        if !user.is_empty() {
            spec["user"] = json!(user);
        }
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {}, "spec": spec})
    }
}

const READS: &str = "reads kernel, runtime and kubelet versions, addresses and provider IDs: what to attack, and where";
const STEERS: &str = "changes labels and taints, and with them where workloads run";
const FAKES: &str =
    "fakes conditions, capacity and addresses: workloads are evicted, or API requests go to another host";
const KUBELET: &str = "is the kubelet's API with the API server's rights: run commands in every pod, read every log";
const BECOMES: &str = "acts as somebody who may";

/// The rights that are asked for.
pub static QUESTIONS: &[Question] = &[
    on("get", "", "nodes", READS),
    on("list", "", "nodes", READS),
    on("watch", "", "nodes", READS),
    on("create", "", "nodes", "adds a node of one's own, which is then given pods and their secrets"),
    on("update", "", "nodes", STEERS),
    on("patch", "", "nodes", STEERS),
    on("delete", "", "nodes", "removes nodes, and with them the record of their pods"),
    on("deletecollection", "", "nodes", "removes all nodes"),
    on("update", "", "nodes", FAKES).sub("status"),
    on("patch", "", "nodes", FAKES).sub("status"),
    on("get", "", "nodes", KUBELET).sub("proxy"),
    on("create", "", "nodes", KUBELET).sub("proxy"),
    on("impersonate", "", "users", BECOMES),
    on("impersonate", "", "groups", BECOMES).named("system:nodes"),
    on("impersonate", "", "groups", BECOMES).named("system:masters"),
    on("impersonate", "", "serviceaccounts", BECOMES).within("kube-system"),
    on("get", "", "secrets", "reads tokens and bootstrap tokens, with which one becomes a node").within("kube-system"),
    on("list", "", "secrets", "reads tokens and bootstrap tokens, with which one becomes a node").within("kube-system"),
    on("create", "", "pods", "enters privileged pods, from where a node's credential is in reach")
        .sub("exec")
        .within("kube-system"),
    on("get", "", "pods", "enters privileged pods by websocket, which is a GET").sub("exec").within("kube-system"),
    on("update", "", "pods", "adds a container to a privileged pod").sub("ephemeralcontainers").within("kube-system"),
    on("create", "", "pods", "runs as any service account of kube-system, and on the host").within("kube-system"),
    on("create", "", "serviceaccounts", "makes tokens of controllers that may change nodes")
        .sub("token")
        .within("kube-system"),
    on("update", "certificates.k8s.io", "certificatesigningrequests", "approves a node certificate of one's own")
        .sub("approval"),
    on("approve", "certificates.k8s.io", "signers", "approves a node certificate of one's own")
        .named("kubernetes.io/kube-apiserver-client-kubelet"),
    on("bind", "rbac.authorization.k8s.io", "clusterroles", "gives oneself any role").named("cluster-admin"),
    on("escalate", "rbac.authorization.k8s.io", "clusterroles", "adds any right to a role that one has"),
];

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_review_has_the_groups_that_a_token_gives() {
        let subject = Subject::service_account("shop/web").unwrap();
        let review = QUESTIONS[9].review(&subject);
        assert_eq!(review["spec"]["user"], "system:serviceaccount:shop:web");
        assert_eq!(review["spec"]["groups"][1], "system:serviceaccounts:shop");
        assert_eq!(review["spec"]["resourceAttributes"]["subresource"], "status");
        assert!(review["spec"]["resourceAttributes"].get("namespace").is_none());
        assert!(Subject::Group("g".into()).identity().0.is_empty());
    }

    #[test]
    fn questions_are_said_as_kubectl_takes_them() {
        let words: Vec<_> = QUESTIONS.iter().map(Question::words).collect();
        assert!(
            words.contains(&"patch nodes/status".to_owned())
                && words.contains(&"list secrets in kube-system".to_owned())
        );
        let different: std::collections::BTreeSet<_> = words.iter().collect();
        assert_eq!(different.len(), words.len());
    }

    #[test]
    fn service_accounts_have_a_namespace() {
        assert!(["web", "/web", "a/", "a/b/c", ""].iter().all(|text| Subject::service_account(text).is_err()));
    }
}
