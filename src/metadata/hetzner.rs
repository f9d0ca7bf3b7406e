//! Hetzner Cloud's metadata server. It wants no header. Its own headers and the bodies of refusals are not known.

use super::{
    Definition, LINK_LOCAL,
    fake::{fake, ssh_key},
    on,
    plain::plain,
    text_tree::Node,
};
use crate::http::{Handler, Reply, Request};

/// Hetzner's server. A second address, `fe80::a9fe:a9fe`, is on each machine's own link, where no pod is.
pub(super) static DEFINITION: Definition = Definition {
    name: "hetzner",
    title: "Hetzner Cloud",
    hosts: &[],
    endpoints: &[on(LINK_LOCAL, 80)],
    headers: &[],
    path: "/hetzner/v1/metadata/instance-id",
    server: |options| Box::new(Hetzner { tree: tree(&options.seed, options.bare), document: document(&options.seed) }),
};

const TEXT: &str = "text/plain; charset=utf-8";
const VALUES: [(&str, &str); 5] = [
    ("availability-zone", "fsn1-dc14"),
    ("hostname", "policyprobe-node"),
    ("instance-id", "12345678"),
    ("public-ipv4", "203.0.113.70"),
    ("region", "eu-central"),
];

const PRIVATE_NETWORKS: &str = "- ip: 10.0.0.2\n  alias_ips: []\n  interface_num: 1\n  mac_address: 86:00:00:98:40:6e\n  \
                                network_id: 4711\n  network_name: policyprobe\n  network: 10.0.0.0/16\n  \
                                subnet: 10.0.0.0/24\n  gateway: 10.0.0.1\n";

struct Hetzner {
    tree: Node,
    document: String,
}

impl Handler for Hetzner {
    fn answer(&self, request: &Request) -> Reply {
        if !request.is_read() {
            return plain(405, TEXT, "").into();
        }
        match request.path.strip_prefix("/hetzner/v1/").and_then(|path| self.tree.find(path)) {
            Some(Node::Value(value)) => match value.at(0) {
                // So its user data says that there is none.
                text if text.is_empty() => plain(204, TEXT, text),
                text => plain(200, TEXT, text),
            },
            // The directory's own page is the whole of it.
            Some(_) if request.path.trim_end_matches('/').ends_with("/metadata") => {
                plain(200, TEXT, self.document.clone())
            }
            _ => plain(404, TEXT, "not found\n"),
        }
        .into()
    }
}

fn tree(seed: &str, is_bare: bool) -> Node {
    let mut tree = Node::default();
    for (name, value) in VALUES {
        tree.set(&format!("metadata/{name}"), value.to_owned());
    }
    tree.set("metadata/private-networks", PRIVATE_NETWORKS.to_owned());
    tree.set("metadata/public-keys", format!("- {}\n", ssh_key(seed)));
    let user_data = format!("#!/bin/sh\nexport DATABASE_PASSWORD={}\n", fake(seed));
    tree.set("userdata", if is_bare { String::new() } else { user_data });
    tree
}

/// Everything at once, as YAML.
fn document(seed: &str) -> String {
    let values = VALUES.iter().flat_map(|(name, value)| [*name, ": ", value, "\n"]).collect::<String>();
    format!(
        "{values}local-ipv4: ''\nnetwork-config:\n  config:\n  - mac_address: 96:00:00:08:19:da\n    name: eth0\n    \
         subnets:\n    - dns_nameservers:\n      - 185.12.64.1\n      ipv4: true\n      type: dhcp\n    type: physical\n  \
         version: 1\npublic-keys:\n- {}\nvendor_data: ''\n",
        ssh_key(seed)
    )
}
