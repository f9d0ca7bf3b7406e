//! A node's identity, and what it can do with it: a credential made for this, that of a kind node or of a kubeconfig, or
//! impersonation. Writes are `dryRun=All`: authorisation and admission still run.

use std::path::Path;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures::future::join_all;
use k8s_openapi::api::{authentication::v1::SelfSubjectReview, core::v1::Node};
use kube::{
    Api, Client, Config, ResourceExt,
    api::{ListParams, PostParams},
    client::Body,
    config::{AuthInfo, KubeConfigOptions},
};
use serde_json::json;

use super::{
    certificate,
    finding::{Finding, How},
    restriction::{Case, Version, Whose, cases, verdict},
};
use crate::{
    engine::Verdict,
    lab::{
        LabError,
        cluster::{chain, client, load_kubeconfig},
        kind::command,
        state::{RequestRecord, RunState},
    },
};

/// Who is asked to be a node, and how.
pub struct Identity {
    /// A client with its rights.
    pub client: Client,
    /// The node.
    pub node: String,
    /// By what.
    pub how: How,
}

/// The way to the cluster, as the user gave it.
#[derive(Clone, Copy)]
pub struct Way<'a> {
    /// The context.
    pub context: &'a str,
    /// The kubeconfig, where it is not the default one.
    pub kubeconfig: Option<&'a Path>,
}

impl Identity {
    /// The same, where the API server takes it for the node; older servers do not say.
    ///
    /// # Errors
    /// Where it takes it for somebody else: what that may do says nothing about nodes.
    pub async fn confirmed(self) -> Result<Self, LabError> {
        let reviews = Api::<SelfSubjectReview>::all(self.client.clone());
        let review = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await;
        let user = review.ok().and_then(|review| review.status?.user_info?.username);
        match user {
            Some(user) if user != format!("system:node:{}", self.node) => Err(LabError::with_hint(
                format!("the API server takes the credential of `{}` for `{user}`", self.node),
                "name the node that it belongs to with `--node`",
            )),
            _ => Ok(self),
        }
    }
}

impl Way<'_> {
    /// A node by a credential that is made for it; the state file has what is made.
    pub async fn certified(&self, client: &Client, state: &RunState, node: &str) -> Result<Identity, LabError> {
        let record = RequestRecord {
            kubeconfig: self.kubeconfig.map(Path::to_owned),
            context: self.context.to_owned(),
            name: format!("policyprobe-audit-{}", state.run()),
        };
        let own = certificate::make(client, state, record, node).await?;
        let client = self.with(|auth| *auth = own).await?;
        Ok(Identity { client, node: node.to_owned(), how: How::Certificate })
    }

    /// The same API server with another identity.
    async fn with(&self, change: impl FnOnce(&mut AuthInfo)) -> anyhow::Result<Client> {
        let file = load_kubeconfig(self.kubeconfig)?;
        let options = KubeConfigOptions { context: Some(self.context.to_owned()), ..KubeConfigOptions::default() };
        let mut config = Config::from_custom_kubeconfig(file, &options).await?;
        change(&mut config.auth_info);
        Ok(client(config, None).await?)
    }

    /// A node of a kind cluster by its own certificate, which is read inside the node.
    pub async fn kind(&self, node: &str) -> Result<Identity, LabError> {
        let file = "/var/lib/kubelet/pki/kubelet-client-current.pem";
        // Certificate and key are in one file.
        let pem = command::run("docker", &["exec", node, "cat", file], None).await?;
        let data = BASE64_STANDARD.encode(pem);
        let own: AuthInfo = serde_json::from_value(json!({"client-certificate-data": data, "client-key-data": data}))
            .map_err(anyhow::Error::new)?;
        let client = self.with(|auth| *auth = own).await?;
        Ok(Identity { client, node: node.to_owned(), how: How::NodeCredential })
    }

    /// A node by impersonation.
    pub async fn impersonated(&self, node: &str) -> Result<Identity, LabError> {
        let groups = ["system:nodes", "system:authenticated"].map(str::to_owned).to_vec();
        let client = self.with(|auth| {
            auth.impersonate = Some(format!("system:node:{node}"));
            auth.impersonate_groups = Some(groups);
        });
        Ok(Identity { client: client.await?, node: node.to_owned(), how: How::Impersonation })
    }
}

/// A node by the kubeconfig of its kubelet.
pub async fn of_kubelet(file: &Path, node: &str) -> Result<Identity, LabError> {
    let hint = "it is the kubelet's own kubeconfig, such as /etc/kubernetes/kubelet.conf, with what it names";
    let kubeconfig = load_kubeconfig(Some(file))?;
    let opening = async {
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        anyhow::Ok(client(config, None).await?)
    };
    let client = opening
        .await
        .map_err(|error| LabError::with_hint(format!("cannot use {}: {error:#}", file.display()), hint))?;
    Ok(Identity { client, node: node.to_owned(), how: How::NodeCredential })
}

/// The nodes: workers first, because their taints are their own.
pub async fn nodes(client: &Client) -> Result<Vec<Node>, LabError> {
    // Two are enough: one to be, another to be kept from.
    let list = Api::<Node>::all(client.clone()).list(&ListParams::default().limit(50)).await;
    let mut nodes = list.map_err(|error| crate::node::source::refused(&error, "list"))?.items;
    nodes.sort_by_key(|node| node.labels().contains_key("node-role.kubernetes.io/control-plane"));
    Ok(nodes)
}

/// Tries what a node's identity may do to nodes.
pub async fn tries(identity: &Identity, own: &Node, other: Option<&Node>, version: Version) -> Vec<Finding> {
    let taints = own.spec.as_ref().map(|spec| json!(spec.taints)).unwrap_or_default();
    let subject = format!("system:node:{}", identity.node);
    join_all(cases(version, &taints).iter().map(|case| {
        let subject = subject.clone();
        async move {
            let target = match case.whose {
                Whose::Own => Some(own.name_any()),
                Whose::Other => other.map(ResourceExt::name_any),
            };
            let (happened, verdict) = match target {
                Some(target) => once(&identity.client, &target, case).await,
                None => ("not tried: the cluster has one node".to_owned(), Verdict::Skipped),
            };
            Finding {
                subject,
                tried: case.tried.to_owned(),
                how: identity.how,
                happened,
                expected: case.expected.words().to_owned(),
                verdict,
                rule: (verdict == Verdict::Recorded)
                    .then(|| "the Node authoriser and NodeRestriction allow it".to_owned()),
                matters: Some(case.matters.to_owned()),
                close: matches!(verdict, Verdict::Fail | Verdict::Recorded).then(|| case.close.to_owned()),
            }
        }
    }))
    .await
}

async fn once(client: &Client, node: &str, case: &Case) -> (String, Verdict) {
    match send(client, node, case).await {
        Ok((code, message)) => {
            let said =
                if (200..300).contains(&code) || message.is_empty() { String::new() } else { format!(": {message}") };
            (format!("status {code}{said}"), verdict(case.expected, code))
        }
        Err(error) => (format!("no answer: {error}"), Verdict::Inconclusive),
    }
}

async fn send(client: &Client, node: &str, case: &Case) -> Result<(u16, String), String> {
    let slash = if case.subresource.is_empty() { "" } else { "/" };
    let url = format!("/api/v1/nodes/{node}{slash}{}", case.subresource);
    let request = match &case.patch {
        None => ::http::Request::get(url).body(Body::empty()),
        Some(patch) => ::http::Request::patch(format!("{url}?dryRun=All"))
            .header("Content-Type", "application/merge-patch+json")
            .body(Body::from(patch.to_string().into_bytes())),
    };
    let response = client.send(request.map_err(|error| error.to_string())?).await.map_err(|error| chain(&error))?;
    let code = response.status().as_u16();
    let body = response.into_body().collect_bytes().await.map_err(|error| chain(&error))?;
    let status: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    Ok((code, status["message"].as_str().unwrap_or_default().to_owned()))
}
