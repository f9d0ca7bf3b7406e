//! Server-side apply of JSON as it stands, and what the API server's refusals mean.

use kube::{
    Api, Client, Resource,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams},
    discovery::{self, Scope},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::access::chain;
use crate::lab::LabError;

pub(super) const MANAGER: &str = "policyprobe";

/// An object that was applied, to be deleted again.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ObjectRef {
    resource: ApiResource,
    /// Its namespace; none where its kind has none.
    pub(crate) namespace: Option<String>,
    name: String,
}

impl ObjectRef {
    /// What a document describes, by the kinds that the API server knows.
    pub(crate) async fn of(client: &Client, title: &str, document: &Value) -> Result<Self, LabError> {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let (version, kind) = (text(document.get("apiVersion")), text(document.get("kind")));
        let (resource, namespaced) = if (version.as_str(), kind.as_str()) == ("networking.k8s.io/v1", "NetworkPolicy") {
            (ApiResource::erase::<k8s_openapi::api::networking::v1::NetworkPolicy>(&()), true)
        } else {
            let (group, version) = version.split_once('/').unwrap_or(("", &version));
            let kind = GroupVersionKind::gvk(group, version, &kind);
            let (resource, capabilities) =
                discovery::pinned_kind(client, &kind).await.map_err(|error| refused(title, &error))?;
            (resource, capabilities.scope == Scope::Namespaced)
        };
        let metadata = document.get("metadata");
        let namespace = text(metadata.and_then(|metadata| metadata.get("namespace")));
        let namespace = if namespace.is_empty() { "default".to_owned() } else { namespace };
        let name = text(metadata.and_then(|metadata| metadata.get("name")));
        Ok(Self { resource, namespace: namespaced.then_some(namespace), name })
    }

    fn api(&self, client: &Client) -> Api<DynamicObject> {
        match &self.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &self.resource),
            None => Api::all_with(client.clone(), &self.resource),
        }
    }

    /// Applies the document that this was made from.
    pub(crate) async fn apply(&self, client: &Client, title: &str, document: &Value) -> Result<(), LabError> {
        let applied = self.api(client).patch(&self.name, &parameters(), &Patch::Apply(document)).await;
        applied.map(drop).map_err(|error| refused(title, &error))
    }

    /// Deletes the object; one that is gone is deleted.
    pub(crate) async fn delete(&self, client: &Client) -> Result<(), LabError> {
        match self.api(client).delete(&self.name, &DeleteParams::default()).await {
            Err(error) if !is_gone(&error) => {
                Err(broken(&format!("cannot delete {} `{}`", self.resource.kind, self.name), &error))
            }
            _ => Ok(()),
        }
    }
}

fn parameters() -> PatchParams {
    PatchParams::apply(MANAGER).force().validation_strict()
}

/// Applies an object of the lab's own.
pub(crate) async fn apply<K>(api: &Api<K>, body: &Value) -> kube::Result<K>
where
    K: Resource + Clone + std::fmt::Debug + DeserializeOwned,
{
    let name = body["metadata"]["name"].as_str().unwrap_or_default();
    api.patch(name, &parameters(), &Patch::Apply(body)).await
}

/// Whether some run has applied an object.
pub(crate) fn is_ours(object: &impl kube::ResourceExt) -> bool {
    object.managed_fields().iter().any(|fields| fields.manager.as_deref() == Some(MANAGER))
}

/// Whether the object does not exist (any more).
pub(crate) fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// What the API server says of a manifest that it does not take. A field that it does not know is an internal error by
/// its own account (500) under server-side apply.
fn refused(title: &str, error: &kube::Error) -> LabError {
    let manifest = title.to_owned();
    match error {
        kube::Error::Api(status)
            if (400..500).contains(&status.code) || status.message.contains("field not declared in schema") =>
        {
            LabError::Rejected { manifest, message: status.message.clone() }
        }
        kube::Error::Discovery(unknown) => LabError::Rejected { manifest, message: unknown.to_string() },
        other => broken(&format!("cannot apply {title}"), other),
    }
}

/// A failure of the lab's own request, with what helps against the usual ones.
pub(crate) fn broken(what: &str, error: &kube::Error) -> LabError {
    let message = format!(
        "{what}: {}",
        match error {
            kube::Error::Api(status) => status.message.clone(),
            other => chain(other),
        }
    );
    let hint = hint(&message);
    LabError::Broken { message, hint }
}

/// What helps against the usual refusals.
pub(crate) fn hint(message: &str) -> Option<String> {
    let hints = [
        ("PodSecurity", "the namespace's pod security level does not admit the lab's pods; they pass `restricted`"),
        ("exceeded quota", "raise the quota, or use another cluster"),
        (
            "is forbidden",
            "the lab needs the right to create namespaces, pods, deployments and policies, and to exec in its pods",
        ),
    ];
    hints.into_iter().find(|(word, _)| message.contains(word)).map(|(_, hint)| hint.to_owned())
}
