//! The documents that can be applied here.

use anyhow::Context;
use k8s_openapi::api::networking::v1::NetworkPolicy;

use crate::lab::{LabError, embedded::protocol::Document};

/// What a document is, as far as the lab knows kinds.
pub(super) enum Kind {
    NetworkPolicy,
    Namespace,
    Other(String),
}

pub(super) fn kind(document: &Document) -> Kind {
    let field = |name: &str| document.raw.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
    match (field("apiVersion"), field("kind")) {
        ("networking.k8s.io/v1", "NetworkPolicy") => Kind::NetworkPolicy,
        ("v1", "Namespace") => Kind::Namespace,
        (_, kind) => Kind::Other(kind.to_owned()),
    }
}

/// A policy, and the namespace and name by which it is known.
pub(super) fn policy(document: &Document) -> anyhow::Result<((String, String), NetworkPolicy)> {
    let mut policy: NetworkPolicy = serde_json::from_value(document.raw.clone())
        .with_context(|| format!("{} is not a NetworkPolicy", document.label))?;
    policy.metadata.namespace = Some(document.namespace.clone());
    Ok(((document.namespace.clone(), text(document, "/metadata/name")?), policy))
}

/// A text field of a document.
pub(super) fn text(document: &Document, pointer: &str) -> anyhow::Result<String> {
    let value = document.raw.pointer(pointer).and_then(serde_json::Value::as_str);
    value.map(ToOwned::to_owned).with_context(|| format!("{} has no {pointer}", document.label))
}

/// The answer to a document of a kind that only an API server knows.
pub(super) fn no_api_server(document: &Document, kind: &str) -> anyhow::Error {
    LabError::with_hint(
        format!("cannot apply {}: it is a {kind}", document.label),
        "the embedded lab has no API server: it knows NetworkPolicy and the labels of Namespace; `--backend kind` knows \
         every kind",
    )
    .into()
}
