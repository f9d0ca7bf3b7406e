//! DigitalOcean's metadata server. It wants no header. Its own headers and the bodies of refusals are not known.

use serde_json::json;

use super::{
    Definition, LINK_LOCAL,
    fake::{fake, ssh_key},
    on,
    plain::plain,
    text_tree::Node,
};
use crate::http::{Handler, Reply, Request};

/// DigitalOcean's server.
pub(super) static DEFINITION: Definition = Definition {
    name: "digitalocean",
    title: "DigitalOcean",
    hosts: &[],
    endpoints: &[on(LINK_LOCAL, 80)],
    headers: &[],
    path: "/metadata/v1/id",
    server: |options| Box::new(Digitalocean { tree: tree(&options.seed), json: document(&options.seed) }),
};

const ID: &str = "2756294";
const PUBLIC: [(&str, &str); 3] =
    [("address", "203.0.113.50"), ("gateway", "203.0.113.1"), ("netmask", "255.255.255.0")];
const PRIVATE: [(&str, &str); 3] = [("address", "10.132.0.5"), ("gateway", "10.132.0.1"), ("netmask", "255.255.0.0")];

struct Digitalocean {
    tree: Node,
    json: String,
}

impl Handler for Digitalocean {
    fn answer(&self, request: &Request) -> Reply {
        if !request.is_read() {
            return plain(405, "text/plain", "").into();
        }
        if request.path == "/metadata/v1.json" {
            return plain(200, "application/json", self.json.clone()).into();
        }
        match request.path.strip_prefix("/metadata/").and_then(|path| self.tree.find(path)) {
            Some(Node::Value(value)) => plain(200, "text/plain", value.at(0)),
            Some(directory) => plain(200, "text/plain", directory.listing()),
            None => plain(404, "text/plain", "not found\n"),
        }
        .into()
    }
}

fn user_data(seed: &str) -> String {
    format!("#!/bin/sh\nexport DATABASE_PASSWORD={}\n", fake(seed))
}

fn tree(seed: &str) -> Node {
    let mut tree = Node::of([
        ("v1/id", ID),
        ("v1/hostname", "policyprobe-node"),
        ("v1/vendor-data", "#cloud-config\n"),
        ("v1/region", "nyc3"),
        ("v1/interfaces/public/0/mac", "04:01:2a:0f:2a:01"),
        ("v1/interfaces/private/0/mac", "04:01:2a:0f:2a:02"),
        ("v1/dns/nameservers", "67.207.67.2\n67.207.67.3"),
        ("v1/tags/0", "policyprobe"),
        ("v1/floating_ip/ipv4/active", "false"),
        ("v1/reserved_ip/ipv4/active", "false"),
    ]);
    for (side, addresses) in [("public", PUBLIC), ("private", PRIVATE)] {
        for (name, value) in addresses {
            tree.set(&format!("v1/interfaces/{side}/0/ipv4/{name}"), value.to_owned());
        }
    }
    tree.set("v1/user-data", user_data(seed));
    tree.set("v1/public-keys", ssh_key(seed));
    tree.set("v1/auth-token", fake(seed));
    tree
}

fn document(seed: &str) -> String {
    let interface = |side: [(&str, &str); 3], kind: &str, mac: &str| {
        let [(_, address), (_, gateway), (_, netmask)] = side;
        json!([{
            "ipv4": {"gateway": gateway, "ip_address": address, "netmask": netmask}, "mac": mac, "type": kind,
        }])
    };
    json!({
        "auth_key": fake(seed), "dns": {"nameservers": ["67.207.67.2", "67.207.67.3"]}, "droplet_id": 2_756_294,
        "features": {"dhcp_enabled": false}, "floating_ip": {"ipv4": {"active": false}},
        "hostname": "policyprobe-node",
        "interfaces": {
            "private": interface(PRIVATE, "private", "04:01:2a:0f:2a:02"),
            "public": interface(PUBLIC, "public", "04:01:2a:0f:2a:01"),
        },
        "public_keys": [ssh_key(seed)], "region": "nyc3", "reserved_ip": {"ipv4": {"active": false}},
        "tags": ["policyprobe"], "user_data": user_data(seed), "vendor_data": "#cloud-config\n",
    })
    .to_string()
}
