//! Google Kubernetes Engine's metadata server: what a pod meets in the place of Google's own where Workload Identity is on.
//! It gives the pod's identity and not the node's, and hides the node's attributes, `kube-env` among them.

use serde_json::json;

use super::{
    Definition, GKE_NODE, LINK_LOCAL,
    clock::{http_date, unix_time},
    fake::{fake, jwt},
    gcp_data::{INSTANCE_ID, NAME, PROJECT_ID, PROJECT_NUMBER, ZONE},
    gcp_tree::{Form, Identity, Kind, Node, Unfit, directory, text, verbatim},
    on,
    query::Query,
};
use crate::http::{Handler, Reply, Request, Response};

/// Google Kubernetes Engine's server. Pods ask Google's address; a rule of the node leads to the second one.
pub(super) static DEFINITION: Definition = Definition {
    name: "gke",
    title: "Google Kubernetes Engine (Workload Identity)",
    hosts: &["metadata.google.internal", "metadata"],
    endpoints: &[on(LINK_LOCAL, 80), on(GKE_NODE, 988)],
    headers: &[("Metadata-Flavor", "Google")],
    path: "/computeMetadata/v1/instance/zone",
    server: |options| Box::new(Gke { seed: options.seed.clone() }),
};

const SERVER: &str = "GKE Metadata Server";
const NO_HEADER: &str =
    "GKE Metadata Server encountered an error: Missing required header \"Metadata-Flavor\": \"Google\"\n";

struct Gke {
    seed: String,
}

impl Handler for Gke {
    fn answer(&self, request: &Request) -> Reply {
        // The root too: only Google's own server answers that to everybody.
        if request.header("Metadata-Flavor") != Some("Google") {
            return refused(403, NO_HEADER).into();
        }
        // That this is refused is known, and not in which words.
        if request.header("X-Forwarded-For").is_some() {
            return refused(403, "Forbidden\n").into();
        }
        if !request.is_read() {
            return refused(405, "Method Not Allowed\n").into();
        }
        let path = request.path.as_str();
        // Who asks is known by the address alone. One that was rewritten on the way is another pod's, or the node's.
        let caller = request.peer.ip().to_canonical().to_string().replace(['.', ':'], "-");
        let tree = tree(&self.seed, &caller);
        let names = || path.split('/').filter(|name| !name.is_empty());
        let Some(node) = tree.find(names()).filter(|node| node.is_directory() || !path.ends_with('/')) else {
            return refused(404, "404 page not found\n").into();
        };
        if node.is_directory() && !path.ends_with('/') {
            let location = format!("{path}/");
            let date = http_date();
            let headers = [("Location", location.as_str()), ("Date", &date), ("Content-Length", "0")];
            return Response::with(301, &headers, "").into();
        }
        let token = |audience: &str, _: bool| {
            let now = unix_time();
            let claims = json!({
                "aud": audience, "exp": now + 3600, "iat": now, "iss": format!("https://container.googleapis.com/{NAME}"),
                "sub": format!("system:serviceaccount:default:pod-at-{caller}"),
            });
            jwt(&self.seed, claims)
        };
        match node.form(&Query::parse(&request.query), &Identity { token: &token }) {
            Ok(Form { content_type, body }) => found(content_type, body),
            Err(Unfit::NoAudience) => refused(400, &format!("{}\n", Unfit::NO_AUDIENCE)),
            Err(Unfit::Malformed) => refused(400, "Bad Request\n"),
        }
        .into()
    }
}

fn found(content_type: &str, body: String) -> Response {
    let (date, length) = (http_date(), body.len().to_string());
    let headers = [
        ("Content-Type", content_type),
        ("Metadata-Flavor", "Google"),
        ("Server", SERVER),
        ("Date", &date),
        ("Content-Length", &length),
    ];
    Response::with(200, &headers, body)
}

fn refused(status: u16, body: &str) -> Response {
    let (date, length) = (http_date(), body.len().to_string());
    let headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("X-Content-Type-Options", "nosniff"),
        ("Date", &date),
        ("Content-Length", &length),
    ];
    Response::with(status, &headers, body)
}

/// What a pod is shown. The seed and the caller are in its token.
fn tree(seed: &str, caller: &str) -> Node {
    let pool = format!("{PROJECT_ID}.svc.id.goog");
    let token = json!({
        "access_token": format!("ya29.{}-for-{caller}", fake(seed)), "expires_in": 3599, "token_type": "Bearer",
    });
    let account = || {
        directory([
            ("aliases", text(json!(["default"]))),
            ("email", text(pool.clone())),
            ("identity", Node::from(Kind::Identity).credential()),
            ("scopes", text(json!(["https://www.googleapis.com/auth/cloud-platform"]))),
            ("token", Node::from(Kind::Json(token.clone())).credential()),
        ])
    };
    let attributes = verbatim([
        ("cluster-location", text("us-central1-c")),
        ("cluster-name", text("policyprobe")),
        ("cluster-uid", text("0")),
    ]);
    let instance = directory([
        ("attributes", attributes),
        ("hostname", text(format!("{NAME}.us-central1-c.c.{PROJECT_ID}.internal"))),
        ("id", text(INSTANCE_ID)),
        ("service-accounts", verbatim([(pool.as_str(), account()), ("default", account())])),
        ("zone", text(ZONE)),
    ]);
    let project = directory([("numeric-project-id", text(PROJECT_NUMBER)), ("project-id", text(PROJECT_ID))]);
    directory([("computeMetadata", directory([("v1", directory([("instance", instance), ("project", project)]))]))])
}
