//! AWS EKS Pod Identity's agent: a pod's credentials for its service account's token. It is the only one that looks at the
//! host that it is asked by.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use super::{
    Definition, EKS_POD_IDENTITY, EKS_POD_IDENTITY_V6, Options,
    aws_data::Keys,
    clock::{iso8601, unix_time},
    on,
    plain::plain,
};
use crate::http::{Handler, Reply, Request};

/// The agent.
pub(super) static DEFINITION: Definition = Definition {
    name: "eks-pod-identity",
    title: "AWS EKS Pod Identity",
    hosts: &[],
    endpoints: &[on(EKS_POD_IDENTITY, 80), on(EKS_POD_IDENTITY_V6, 80)],
    // A token in form; the emulated agent asks nobody whether it is good.
    headers: &[("Authorization", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJwb2xpY3lwcm9iZSJ9.ZmFrZQ")],
    path: "/v1/credentials",
    server: |options| Box::new(Agent::new(options)),
};

const TEXT: &str = "text/plain; charset=utf-8";

struct Agent {
    keys: Keys,
}

impl Agent {
    fn new(options: &Options) -> Self {
        Self { keys: Keys::new(&options.seed, "pod") }
    }
}

impl Handler for Agent {
    fn answer(&self, request: &Request) -> Reply {
        if request.path != "/v1/credentials" {
            return plain(404, TEXT, "404 page not found\n").into();
        }
        if let Some(host) = foreign_host(request) {
            let message = format!(
                "Access Denied. Called agent through invalid address, please use either [169.254.170.23 fd00:ec2::23] \
                 address not {host}"
            );
            return plain(403, TEXT, message).into();
        }
        if !request.is_read() {
            return plain(405, TEXT, "").into();
        }
        let token = request.header("Authorization").unwrap_or_default();
        if token.is_empty() {
            return plain(400, TEXT, "Service account token cannot be empty").into();
        }
        if !is_token(token) {
            // What follows the colon is the words of a library.
            return plain(400, TEXT, "Service account token cannot be parsed: token is malformed").into();
        }
        let Keys { id, secret, token } = &self.keys;
        let expiration = iso8601(unix_time() + 6 * 3600);
        // In the agent's order, which is not the alphabet's.
        let body = format!(
            r#"{{"AccessKeyId":"{id}","SecretAccessKey":"{secret}","Token":"{token}","AccountId":"111122223333","Expiration":"{expiration}"}}"#
        );
        plain(200, "application/json", body).into()
    }
}

/// The host that was asked for, if it is not the agent's. The address that it really listens on is as good as the real
/// ones: it may be served elsewhere.
fn foreign_host(request: &Request) -> Option<&str> {
    let host = request.header("Host").unwrap_or_default();
    let name = host.rsplit_once(':').filter(|(_, port)| !port.contains(']')).map_or(host, |(name, _)| name);
    let address = name.trim_matches(['[', ']']).parse().ok();
    let ours = [EKS_POD_IDENTITY, EKS_POD_IDENTITY_V6, request.local.ip().to_canonical()];
    (!address.is_some_and(|address| ours.contains(&address))).then_some(host)
}

/// Whether it has three segments, and JSON in the first two.
fn is_token(token: &str) -> bool {
    let segments: Vec<_> = token.split('.').collect();
    let is_json = |segment: &&str| {
        let decoded = URL_SAFE_NO_PAD.decode(segment).unwrap_or_default();
        serde_json::from_slice::<Value>(&decoded).is_ok_and(|value| value.is_object())
    };
    segments.len() == 3 && segments.iter().take(2).all(is_json)
}
