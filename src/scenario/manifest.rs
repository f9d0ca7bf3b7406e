//! Kubernetes manifests beside the scenarios: read, and checked as strictly as an API server does and more.

use std::sync::Arc;

use k8s_openapi::api::networking::v1 as networking;
use k8s_openapi::api::{apps::v1 as apps, batch::v1 as batch, core::v1 as core, discovery::v1 as discovery};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    DEFAULT_NAMESPACE, Diagnostic, Manifest,
    check::{names, network_policy},
    decode::decode,
    diagnostic::{enough, nearest},
    document::{Document, SourceFile, at_path, parse},
    yaml11,
};

/// Whether a manifest has to be one that an API server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// It is applied or deleted: every fault is an error.
    Valid,
    /// It is only there to be refused: it needs no more than an identity.
    ToBeRefused,
}

/// Reads all objects of a manifest file.
pub(crate) fn read(file: &SourceFile, strictness: Strictness, faults: &mut Vec<Diagnostic>) -> Vec<Manifest> {
    let documents = match parse(file) {
        Ok(documents) => documents,
        Err(found) => {
            faults.extend(found);
            return Vec::new();
        }
    };
    if documents.is_empty() {
        faults.push(Diagnostic::error(&file.path, "the manifest is empty").hint("write a Kubernetes object into it"));
    }
    let mut manifests: Vec<Manifest> = Vec::new();
    for document in &documents {
        if enough(faults) {
            break;
        }
        let Some(manifest) = read_one(document, strictness, faults) else { continue };
        let same = |other: &&Manifest| {
            (&other.kind, &other.namespace, &other.name) == (&manifest.kind, &manifest.namespace, &manifest.name)
        };
        if manifests.iter().any(|other| same(&other)) {
            let message = format!("{} `{}` is in this file already", manifest.kind, manifest.name);
            let fault = document.warning(&at_path![[]; "metadata", "name"], message);
            faults.push(fault.hint("the last one of a name is what counts; remove the other, or give it another name"));
        }
        manifests.push(manifest);
    }
    manifests
}

/// Reads one object.
pub(crate) fn read_one(
    document: &Document<'_>,
    strictness: Strictness,
    faults: &mut Vec<Diagnostic>,
) -> Option<Manifest> {
    let before = faults.len();
    if document.value.get("kind").and_then(Value::as_str) == Some("List") {
        let fault = document.error_at_key(&at_path![[]; "kind"], "lists of objects are not supported");
        faults.push(fault.hint("write each object as a document of its own, with `---` between them"));
        return None;
    }
    let api_version = text(document, &["apiVersion"], faults);
    let kind = text(document, &["kind"], faults);
    let name = text(document, &["metadata", "name"], faults);
    let namespace = match document.value.pointer("/metadata/namespace") {
        None => DEFAULT_NAMESPACE.to_owned(),
        Some(Value::String(namespace)) => namespace.clone(),
        Some(_) => {
            faults.push(document.error(&at_path![[]; "metadata", "namespace"], "the namespace must be a text"));
            return None;
        }
    };
    let (api_version, kind, name) = (api_version?, kind?, name?);
    let mut policy = None;
    match strictness {
        Strictness::Valid => {
            if let Err(message) = names::dns_subdomain(&name) {
                faults.push(document.error(&at_path![[]; "metadata", "name"], message));
            }
            yaml11::check(document, faults);
            check_labels(document, faults);
            check_group(document, &api_version, &kind, faults);
            policy = check_type(document, &api_version, &kind, faults);
        }
        Strictness::ToBeRefused => {
            if (api_version.as_str(), kind.as_str()) == ("networking.k8s.io/v1", "NetworkPolicy") {
                policy = serde_json::from_value(document.value.clone()).ok();
            }
        }
    }
    let failed = faults[before..].iter().any(|fault| fault.severity == super::Severity::Error);
    (!failed).then(|| Manifest {
        path: document.file.path.clone(),
        raw: document.value.clone(),
        api_version,
        kind,
        name,
        namespace,
        policy: policy.map(Arc::new),
    })
}

/// A field that every object needs.
fn text(document: &Document<'_>, keys: &[&str], faults: &mut Vec<Diagnostic>) -> Option<String> {
    let path: Vec<_> = keys.iter().map(|key| (*key).into()).collect();
    let fault = match document.get(&path) {
        Some(Value::String(text)) if !text.is_empty() => return Some(text.clone()),
        Some(Value::String(_) | Value::Null) => document.error(&path, format!("`{}` is empty", keys.join("."))),
        None => document.error(&path, format!("the manifest has no `{}`", keys.join("."))),
        Some(_) => {
            document.error(&path, format!("`{}` must be a text", keys.join("."))).hint("put the value in quotes")
        }
    };
    faults.push(fault);
    None
}

fn check_labels(document: &Document<'_>, faults: &mut Vec<Diagnostic>) {
    let Some(Value::Object(labels)) = document.value.pointer("/metadata/labels") else { return };
    for (key, value) in labels {
        let at = at_path![[]; "metadata", "labels", key.as_str()];
        if let Err(message) = names::label_key(key) {
            faults.push(document.error_at_key(&at, message));
        }
        if let Some(Err(message)) = value.as_str().map(names::label_value) {
            faults.push(document.error(&at, message));
        }
    }
}

/// The kinds of `networking.k8s.io/v1`.
const NETWORKING: [&str; 5] = ["NetworkPolicy", "Ingress", "IngressClass", "IPAddress", "ServiceCIDR"];

/// Typing errors in `apiVersion` and `kind` that would make a policy one that nobody serves.
fn check_group(document: &Document<'_>, api_version: &str, kind: &str, faults: &mut Vec<Diagnostic>) {
    if api_version == "networking.k8s.io/v1" && !NETWORKING.contains(&kind) {
        let fault = document.error(&at_path![[]; "kind"], format!("`{api_version}` has no kind `{kind}`"));
        let near = nearest(kind, NETWORKING).unwrap_or("NetworkPolicy");
        faults.push(fault.hint(format!("did you mean `{near}`?")));
    }
    // Calico and others have a kind of the same name in groups of their own.
    let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
    let near = group.is_empty() || group == "extensions" || nearest(group, ["networking.k8s.io"]).is_some();
    if kind == "NetworkPolicy" && api_version != "networking.k8s.io/v1" && near {
        let fault =
            document.error(&at_path![[]; "apiVersion"], format!("no API server has NetworkPolicy in `{api_version}`"));
        faults.push(fault.hint("write `networking.k8s.io/v1`"));
    }
}

/// Decodes the kinds that are known, for unknown fields and wrong types; returns a policy that has no fault.
fn check_type(
    document: &Document<'_>,
    api_version: &str,
    kind: &str,
    faults: &mut Vec<Diagnostic>,
) -> Option<networking::NetworkPolicy> {
    match (api_version, kind) {
        ("networking.k8s.io/v1", "NetworkPolicy") => {
            let before = faults.len();
            let policy: networking::NetworkPolicy = decode(document, schema::<networking::NetworkPolicy>, faults)?;
            // What was taken out for its fault would be missed by the checks of meaning.
            if faults.len() == before {
                network_policy::check(document, &policy, faults);
            }
            return Some(policy);
        }
        ("networking.k8s.io/v1", "Ingress") => known::<networking::Ingress>(document, faults),
        ("v1", "Namespace") => known::<core::Namespace>(document, faults),
        ("v1", "Pod") => known::<core::Pod>(document, faults),
        ("v1", "Service") => known::<core::Service>(document, faults),
        ("v1", "ConfigMap") => known::<core::ConfigMap>(document, faults),
        ("v1", "Secret") => known::<core::Secret>(document, faults),
        ("v1", "ServiceAccount") => known::<core::ServiceAccount>(document, faults),
        ("v1", "Endpoints") => known::<core::Endpoints>(document, faults),
        ("discovery.k8s.io/v1", "EndpointSlice") => known::<discovery::EndpointSlice>(document, faults),
        ("apps/v1", "Deployment") => known::<apps::Deployment>(document, faults),
        ("apps/v1", "DaemonSet") => known::<apps::DaemonSet>(document, faults),
        ("apps/v1", "StatefulSet") => known::<apps::StatefulSet>(document, faults),
        ("batch/v1", "Job") => known::<batch::Job>(document, faults),
        _ => {}
    }
    None
}

fn known<T: DeserializeOwned + schemars::JsonSchema>(document: &Document<'_>, faults: &mut Vec<Diagnostic>) {
    let _: Option<T> = decode(document, schema::<T>, faults);
}

fn schema<T: schemars::JsonSchema>() -> Value {
    schemars::SchemaGenerator::default().into_root_schema_for::<T>().into()
}
