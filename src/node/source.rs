//! Nodes from an API server: pages of a list, and a watch. The only part of this folder that talks to one.

use futures::Stream;
use kube::{
    Client, Error,
    api::{ListParams, WatchParams},
    core::{Request, WatchEvent},
};
use serde::Deserialize;
use serde_json::Value;

use crate::lab::LabError;

/// Nodes in one page: little enough to be held in memory, and enough that 5,000 nodes are listed at once.
const PAGE: u32 = 250;

const PATH: &str = "/api/v1/nodes";

/// Where nodes are.
#[derive(Clone)]
pub struct Source {
    client: Client,
}

/// A page of a list.
#[derive(Debug, Default, Deserialize)]
pub struct Page {
    /// The nodes, as they were sent.
    #[serde(default)]
    pub items: Vec<Value>,
    #[serde(default)]
    metadata: PageMetadata,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageMetadata {
    #[serde(default)]
    resource_version: String,
    #[serde(default, rename = "continue")]
    next: String,
}

impl Page {
    /// The version of the list: a watch goes on from there.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.metadata.resource_version
    }
}

impl Source {
    /// The nodes of a cluster.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// All nodes, page by page.
    pub fn pages(&self) -> impl Stream<Item = Result<Page, Error>> + Send + use<> {
        let client = self.client.clone();
        let first = ListParams::default().limit(PAGE);
        futures::stream::try_unfold(Some(first), move |params| {
            let client = client.clone();
            async move {
                let Some(params) = params else { return Ok(None) };
                let request = Request::new(PATH).list(&params).map_err(Error::BuildRequest)?;
                let page: Page = match client.request(request).await {
                    // A list that takes minutes outlives its snapshot; the server gives a token to go on with.
                    Err(Error::Api(status)) if status.code == 410 && token(&status).is_some() => {
                        let next = params.continue_token(&token(&status).unwrap_or_default());
                        let request = Request::new(PATH).list(&next).map_err(Error::BuildRequest)?;
                        client.request(request).await?
                    }
                    page => page?,
                };
                let next = page.metadata.next.clone();
                let next = (!next.is_empty()).then(|| ListParams::default().limit(PAGE).continue_token(&next));
                Ok(Some((page, next)))
            }
        })
    }

    /// One node.
    pub async fn node(&self, name: &str) -> Result<Value, Error> {
        let request = Request::new(PATH).get(name, &kube::api::GetParams::default()).map_err(Error::BuildRequest)?;
        self.client.request(request).await
    }

    /// What happens after a version of the list.
    pub async fn watch(
        &self,
        version: &str,
    ) -> Result<impl Stream<Item = Result<WatchEvent<Value>, Error>> + Send + use<>, Error> {
        let request = Request::new(PATH).watch(&WatchParams::default(), version).map_err(Error::BuildRequest)?;
        Ok(Box::pin(self.client.request_events::<Value>(request).await?))
    }
}

/// The token that goes on with an expired list, at a newer snapshot.
fn token(status: &kube::core::Status) -> Option<String> {
    status.metadata.as_ref()?.continue_.clone().filter(|token| !token.is_empty())
}

/// What the API server said, without what the client adds to it.
#[must_use]
pub fn said(error: &Error) -> String {
    match error {
        Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        error => crate::lab::cluster::chain(error),
    }
}

/// An error of the API server as a person can act on it. `verb` is what was asked for.
#[must_use]
pub fn refused(error: &Error, verb: &str) -> LabError {
    // A watch begins with a list: the server says which of the two it refuses.
    let named = match error {
        Error::Api(status) => status.message.split("cannot ").nth(1).and_then(|rest| rest.split(' ').next()),
        _ => None,
    };
    let verb = named.filter(|verb| ["get", "list", "watch"].contains(verb)).unwrap_or(verb);
    match error {
        Error::Api(status) if status.is_forbidden() => LabError::with_hint(
            format!("you may not {verb} nodes here: the verb `{verb}` on `nodes` is forbidden ({})", status.message),
            "ask for it: `kubectl create clusterrole node-reader --verb=get,list,watch --resource=nodes`, and a \
             ClusterRoleBinding to you; `policyprobe node manifest` has both",
        ),
        Error::Api(status) if status.code == 401 => LabError::with_hint(
            format!("the API server does not know you: {}", status.message),
            "the credential of the kubeconfig's user has expired or is another cluster's; sign in again",
        ),
        Error::Api(status) if status.is_not_found() => {
            LabError::with_hint(status.message.clone(), "`policyprobe node inventory` without a name lists all nodes")
        }
        error => LabError::with_hint(
            format!("cannot {verb} nodes: {}", said(error)),
            "see that the API server answers: `kubectl get nodes`",
        ),
    }
}
