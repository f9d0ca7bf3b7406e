//! A node's credential that is made for the audit: a `CertificateSigningRequest` in the node's name, its approval, and
//! the certificate that the cluster signs. It is as good as the kubelet's own, and lasts ten minutes.
//!
//! Source: "Certificate Signing Requests" of <https://kubernetes.io/docs/reference/>, signer
//! `kubernetes.io/kube-apiserver-client-kubelet`.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    config::AuthInfo,
    runtime::wait::await_condition,
};
use serde_json::json;

use super::request::CertificateRequest;
use crate::{
    lab::{
        LabError,
        state::{RUN_LABEL, RequestRecord, RunState},
    },
    node::source::said,
};

const SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// The shortest life that a certificate may be asked to have, in seconds.
const LIFE: u32 = 600;
/// How long the cluster may take to sign. Clusters whose signer is another one may never do it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Has a credential made for `system:node:NODE`; the request is removed again, whatever comes of it. `record` is written
/// down first, and names it.
///
/// # Errors
/// Where it may not be made, approved or read, and where the cluster does not sign it.
pub async fn make(client: &Client, state: &RunState, record: RequestRecord, node: &str) -> Result<AuthInfo, LabError> {
    let asked = CertificateRequest::for_node(node)?;
    let name = record.name.clone();
    state.update(|all| all.requests.push(record.clone()))?;
    let signed = signed(client, &name, state.run(), &asked.request).await;
    remove(client, &name).await?;
    state.update(|all| all.requests.retain(|other| *other != record))?;
    let data = |pem: &[u8]| BASE64_STANDARD.encode(pem);
    let own = json!({"client-certificate-data": data(&signed?), "client-key-data": data(asked.key.as_bytes())});
    serde_json::from_value(own).map_err(|error| LabError::from(anyhow::Error::new(error)))
}

async fn signed(client: &Client, name: &str, run: &str, request: &str) -> Result<Vec<u8>, LabError> {
    let requests: Api<CertificateSigningRequest> = Api::all(client.clone());
    let refused = |what: &str, error: &kube::Error| {
        LabError::with_hint(
            format!("a node's credential cannot be {what}: {}", said(error)),
            format!(
                "it needs the verb `create` on `certificatesigningrequests`, and `approve` on the signer `{SIGNER}`"
            ),
        )
    };
    requests
        .create(&PostParams::default(), &object(name, run, request)?)
        .await
        .map_err(|error| refused("asked for", &error))?;
    let approval = Patch::Merge(json!({"status": {"conditions": [{
        "type": "Approved", "status": "True", "reason": "PolicyprobeAudit",
        "message": "policyprobe node audit tries what a node may do",
    }]}}));
    if let Err(error) = requests.patch_approval(name, &PatchParams::default(), &approval).await {
        // Where whoever asks is an administrator, the cluster itself may have approved it in the meantime.
        let now = requests.get(name).await.map_err(|error| refused("read", &error))?;
        if !has(&now, "Approved") {
            return Err(refused("approved", &error));
        }
    }
    let decided = |request: Option<&CertificateSigningRequest>| {
        request
            .is_some_and(|request| certificate(request).is_some() || has(request, "Denied") || has(request, "Failed"))
    };
    let waited = tokio::time::timeout(PATIENCE, await_condition(requests, name, decided)).await;
    let unsigned = |why: &str| {
        LabError::with_hint(
            format!("the cluster signs no node's credential: {why}"),
            format!("see that a controller signs for `{SIGNER}`: `kubectl describe csr`"),
        )
    };
    let request = waited
        .map_err(|_| unsigned(&format!("nothing came within {} s", PATIENCE.as_secs())))?
        .map_err(|error| unsigned(&error.to_string()))?;
    request.as_ref().and_then(certificate).ok_or_else(|| unsigned("it was denied, or it failed"))
}

fn object(name: &str, run: &str, request: &str) -> anyhow::Result<CertificateSigningRequest> {
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {RUN_LABEL: run}},
        "spec": {
            "request": BASE64_STANDARD.encode(request), "signerName": SIGNER, "expirationSeconds": LIFE,
            // Older signers take these three together only.
            "usages": ["digital signature", "key encipherment", "client auth"],
        },
    }))?)
}

fn has(request: &CertificateSigningRequest, kind: &str) -> bool {
    let mut conditions = request.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| condition.type_ == kind)
}

fn certificate(request: &CertificateSigningRequest) -> Option<Vec<u8>> {
    Some(request.status.as_ref()?.certificate.as_ref()?.0.clone()).filter(|pem| !pem.is_empty())
}

/// Removes a request by its name; one that is not there is no fault.
///
/// # Errors
/// Where the API server keeps it.
pub async fn remove(client: &Client, name: &str) -> Result<(), LabError> {
    let requests: Api<CertificateSigningRequest> = Api::all(client.clone());
    match requests.delete(name, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(LabError::with_hint(
            format!("the certificate signing request {name} is not removed: {}", said(&error)),
            "`policyprobe cleanup` tries it again",
        )),
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use kube::ResourceExt as _;

    use super::*;

    #[test]
    fn it_is_asked_for_as_the_signer_wants_it() {
        let made = object("policyprobe-audit-r", "r", "PEM").unwrap();
        assert_eq!((made.spec.signer_name.as_str(), made.spec.expiration_seconds), (SIGNER, Some(600)));
        assert_eq!(made.spec.request.0, b"PEM");
        assert_eq!(made.labels()[RUN_LABEL], "r");
    }

    #[test]
    fn only_a_certificate_that_is_there_counts() {
        let of = |status: serde_json::Value| {
            let mut request = object("n", "r", "PEM").unwrap();
            request.status = serde_json::from_value(status).unwrap();
            request
        };
        let approved = of(json!({"conditions": [{"type": "Approved", "status": "True"}]}));
        assert!(has(&approved, "Approved") && !has(&approved, "Denied") && certificate(&approved).is_none());
        assert_eq!(certificate(&of(json!({"certificate": "UEVN"}))).unwrap(), b"PEM");
        assert!(certificate(&of(json!({"certificate": ""}))).is_none());
    }
}
