//! Alibaba Cloud's metadata server, at an address that is neither private nor link-local. Headers and bodies of refusals are
//! not known, nor whether a hardened server refuses with 403, which is assumed.

use serde_json::{Map, Value, json};

use super::{
    ALIBABA, Definition, Imds, Options,
    aws_token::Tokens,
    clock::{iso8601, unix_time},
    fake::{fake, letters, signature, ssh_key},
    on,
    plain::plain,
    text_tree::Node,
};
use crate::http::{Handler, Reply, Request, Response};

/// Alibaba's server.
pub(super) static DEFINITION: Definition = Definition {
    name: "alibaba",
    title: "Alibaba Cloud",
    hosts: &[],
    endpoints: &[on(ALIBABA, 80)],
    headers: &[],
    path: "/latest/meta-data/instance-id",
    server: |options| Box::new(Alibaba::new(options)),
};

const TEXT: &str = "text/plain";
const VERSIONS: [&str; 2] = ["2016-01-01", "latest"];
const TTL: &str = "X-aliyun-ecs-metadata-token-ttl-seconds";
const TOKEN: &str = "X-aliyun-ecs-metadata-token";

const PLAIN: &[(&str, &str)] = &[
    ("dns-conf/nameservers", "100.100.2.136\n100.100.2.138"),
    ("hostname", "policyprobe-node"),
    ("image-id", "ubuntu_22_04_x64_20G_alibase_20240808.vhd"),
    ("instance-id", "i-bp1234567890abcdefgh"),
    ("instance/instance-type", "ecs.g7.large"),
    ("instance/instance-name", "policyprobe-node"),
    ("mac", "00:16:3e:0a:0b:0c"),
    ("network-type", "vpc"),
    ("network/interfaces/macs/00:16:3e:0a:0b:0c/gateway", "172.16.0.253"),
    ("network/interfaces/macs/00:16:3e:0a:0b:0c/netmask", "255.255.255.0"),
    ("network/interfaces/macs/00:16:3e:0a:0b:0c/primary-ip-address", "172.16.0.10"),
    ("network/interfaces/macs/00:16:3e:0a:0b:0c/vpc-id", "vpc-bp1234567890abcdefgh"),
    ("private-ipv4", "172.16.0.10"),
    ("region-id", "cn-hangzhou"),
    ("serial-number", "00000000-0000-0000-0000-000000000000"),
    ("vpc-id", "vpc-bp1234567890abcdefgh"),
    ("zone-id", "cn-hangzhou-i"),
];

struct Alibaba {
    tree: Node,
    tokens: Tokens,
    imds: Imds,
}

impl Alibaba {
    fn new(options: &Options) -> Self {
        Self { tree: tree(&options.seed), tokens: Tokens::default(), imds: options.imds }
    }

    fn token(&self, request: &Request) -> Response {
        if request.method != "PUT" {
            return plain(405, TEXT, "");
        }
        let ttl = request.header(TTL).and_then(|ttl| ttl.parse().ok()).filter(|ttl| (1..=21_600).contains(ttl));
        ttl.map_or_else(|| plain(400, TEXT, ""), |ttl| plain(200, TEXT, self.tokens.issue(unix_time(), ttl)))
    }
}

impl Handler for Alibaba {
    fn answer(&self, request: &Request) -> Reply {
        if self.imds == Imds::Disabled {
            return plain(403, TEXT, "").into();
        }
        if request.path == "/latest/api/token" {
            return self.token(request).into();
        }
        if !request.is_read() {
            return plain(405, TEXT, "").into();
        }
        let is_let_in = match request.header(TOKEN) {
            Some(token) => self.tokens.check(token, unix_time()).is_some(),
            None => self.imds == Imds::V1,
        };
        if !is_let_in {
            return plain(403, TEXT, "").into();
        }
        let mut names = request.path.split('/').filter(|name| !name.is_empty());
        let Some(version) = names.next() else { return plain(200, TEXT, VERSIONS.join("\n")).into() };
        let rest = names.collect::<Vec<_>>().join("/");
        match self.tree.find(&rest).filter(|_| VERSIONS.contains(&version)) {
            Some(Node::Value(value)) => plain(200, TEXT, value.at(unix_time())),
            Some(directory) => plain(200, TEXT, directory.listing()),
            None => plain(404, TEXT, ""),
        }
        .into()
    }
}

fn tree(seed: &str) -> Node {
    let mut tree = Node::default();
    let mut all = Map::new();
    for (path, value) in PLAIN {
        tree.set(&format!("meta-data/{path}"), (*value).to_owned());
        all.insert((*path).to_owned(), Value::from(*value));
    }
    tree.set("meta-data/public-keys/0/openssh-key", ssh_key(seed));
    let (id, secret) = (format!("STS.FAKE{}", letters(seed, "alibaba", 20)), fake(seed));
    tree.make("meta-data/ram/security-credentials/policyprobe-node", move |now| {
        let (updated, expiration) = (iso8601(now), iso8601(now + 6 * 3600));
        let credentials = json!({
            "AccessKeyId": id, "AccessKeySecret": secret, "Code": "Success", "Expiration": expiration,
            "LastUpdated": updated, "SecurityToken": secret,
        });
        format!("{credentials:#}")
    });
    tree.set("meta-data/all", Value::Object(all).to_string());
    tree.hide("meta-data/all");
    tree.set("user-data", format!("#!/bin/sh\nexport DATABASE_PASSWORD={}\n", fake(seed)));
    let document = json!({
        "instance-id": "i-bp1234567890abcdefgh", "owner-account-id": "1234567890123456", "region-id": "cn-hangzhou",
        "zone-id": "cn-hangzhou-i",
    });
    tree.set("dynamic/instance-identity/document", document.to_string());
    tree.set("dynamic/instance-identity/pkcs7", signature("pkcs7", seed));
    tree
}
