//! Nodes from an API server: pages of a list, and a watch. The only part of this folder that talks to one.

use futures::Stream;
use kube::{
    Client, Error,
    api::{ListParams, WatchParams},
    core::{Request, WatchEvent},
};
use serde::{
    Deserialize, Deserializer as _,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::Value;
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;

use crate::lab::LabError;

/// Nodes in the first page, before anybody knows how large they are, and at most.
const FIRST_PAGE: u32 = 100;
const LARGEST_PAGE: u32 = 500;
/// What a page should have, in bytes: little enough to be held in memory, read and being read, and enough that 5,000 nodes
/// come in two dozen. A node may have annotations of 256 KiB.
const PAGE: usize = 2 << 20;

const PATH: &str = "/api/v1/nodes";

/// Where nodes are.
#[derive(Clone)]
pub struct Source {
    client: Client,
}

/// A page of a list.
#[derive(Debug, Default)]
pub struct Page {
    /// The nodes, as they were sent.
    pub items: Vec<Value>,
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

/// What a page says of itself. It stands before the nodes, so that the next page can be asked for when next to nothing of
/// this one has been read.
fn head(text: &str) -> Result<PageMetadata, serde_json::Error> {
    let mut found = None;
    let read = serde_json::Deserializer::from_str(text).deserialize_map(Head(&mut found));
    // That the rest is not read is an error to the deserializer.
    found.map_or_else(|| read.map(|()| PageMetadata::default()), Ok)
}

struct Head<'a>(&'a mut Option<PageMetadata>);

impl<'de> Visitor<'de> for Head<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key == "metadata" {
                *self.0 = Some(map.next_value()?);
                break;
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

/// How many nodes the next page should have, after one of so many nodes and bytes.
fn next_page(nodes: u32, bytes: usize) -> u32 {
    let fitting = PAGE.saturating_mul(nodes as usize) / bytes.max(1);
    u32::try_from(fitting).unwrap_or(LARGEST_PAGE).clamp(1, LARGEST_PAGE)
}

/// A page that is on its way; it is not waited for any more when this goes.
struct Asked(AbortOnDropHandle<Result<String, Error>>);

impl Asked {
    fn for_page(client: Client, params: ListParams) -> Self {
        Self(AbortOnDropHandle::new(tokio::spawn(async move {
            let request = Request::new(PATH).list(&params).map_err(Error::BuildRequest)?;
            match client.request_text(request).await {
                // A list that takes minutes outlives its snapshot; the server gives a token to go on with.
                Err(Error::Api(status)) if status.code == 410 && token(&status).is_some() => {
                    let next = params.continue_token(&token(&status).unwrap_or_default());
                    let request = Request::new(PATH).list(&next).map_err(Error::BuildRequest)?;
                    client.request_text(request).await
                }
                text => text,
            }
        })))
    }

    async fn answer(self) -> Result<String, Error> {
        self.0.await.map_err(broken)?
    }
}

/// A task that did not end by itself.
fn broken(error: JoinError) -> Error {
    Error::Service(error.into())
}

impl Page {
    /// Reads a page. The parser of any value is one that `serde_json` was built with, which for a development build is
    /// several times as quick as one made for a type of ours.
    fn read(text: &str, metadata: PageMetadata) -> Result<Self, serde_json::Error> {
        let mut list: Value = text.parse()?;
        let items = match list.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        };
        Ok(Self { items, metadata })
    }

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

    /// All nodes, page by page. While one is read and worked on, the next one comes. It is read here and not aside: each thread
    /// that reads keeps memory of its own, which for thousands of nodes is as much again.
    pub fn pages(&self) -> impl Stream<Item = Result<Page, Error>> + Send + use<> {
        let asked = Asked::for_page(self.client.clone(), ListParams::default().limit(FIRST_PAGE));
        let first = (Some((asked, FIRST_PAGE)), self.client.clone());
        futures::stream::try_unfold(first, |(asked, client)| async move {
            let Some((asked, nodes)) = asked else { return Ok(None) };
            let text = asked.answer().await?;
            let metadata = head(&text).map_err(Error::SerdeError)?;
            let next = (!metadata.next.is_empty()).then(|| {
                let limit = next_page(nodes, text.len());
                let params = ListParams::default().limit(limit).continue_token(&metadata.next);
                (Asked::for_page(client.clone(), params), limit)
            });
            let page = Page::read(&text, metadata).map_err(Error::SerdeError)?;
            Ok(Some((page, (next, client))))
        })
    }

    /// The version that the nodes are at.
    pub async fn version(&self) -> Result<String, Error> {
        let request = Request::new(PATH).list(&ListParams::default().limit(1)).map_err(Error::BuildRequest)?;
        let text = self.client.request_text(request).await?;
        Ok(head(&text).map_err(Error::SerdeError)?.resource_version)
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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn pages_have_as_many_nodes_as_fit() {
        assert_eq!(next_page(100, 100 * 20_000), 104);
        assert_eq!(next_page(100, 100 * 2_000), LARGEST_PAGE);
        // 200 KiB of annotations each.
        assert_eq!(next_page(100, 100 * 220_000), 9);
        assert_eq!(next_page(1, 64 << 20), 1);
        assert_eq!(next_page(0, 0), 1);
    }

    #[test]
    fn a_page_is_read_wherever_its_head_is() {
        let parts = [r#""metadata":{"resourceVersion":"7","continue":"x"}"#, r#""items":[{"metadata":{"name":"a"}}]"#];
        for parts in [parts, [parts[1], parts[0]]] {
            let text = format!(r#"{{"kind":"NodeList",{}}}"#, parts.join(","));
            let page = Page::read(&text, head(&text).unwrap()).unwrap();
            assert_eq!((page.version(), page.metadata.next.as_str()), ("7", "x"));
            assert_eq!(page.items, [serde_json::json!({"metadata": {"name": "a"}})]);
        }
        assert!(head(r#"{"items":[]}"#).unwrap().next.is_empty());
        assert!(head("<html>").is_err());
        assert!(Page::read(r#"{"metadata":{},"items":[{]}"#, PageMetadata::default()).is_err());
    }
}
