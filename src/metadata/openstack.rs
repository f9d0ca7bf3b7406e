//! `OpenStack` Nova's metadata server: its own documents, which a config drive holds under the same names, and a tree in the
//! form of AWS' first years. It wants no header. Header order and bodies of refusals are not known.

use serde_json::json;

use super::{
    Definition, LINK_LOCAL,
    clock::http_date,
    fake::{fake, ssh_key, uuid},
    on,
    text_tree::Node,
};
use crate::http::{Handler, Reply, Request, Response};

/// `OpenStack`'s server. A second address, `fe80::a9fe:a9fe`, is on each machine's own link, where no pod is.
pub(super) static DEFINITION: Definition = Definition {
    name: "openstack",
    title: "OpenStack",
    hosts: &[],
    endpoints: &[on(LINK_LOCAL, 80)],
    headers: &[],
    path: "/openstack/latest/vendor_data.json",
    server: |options| Box::new(Openstack { tree: tree(&options.seed) }),
};

/// The versions of the documents.
const VERSIONS: [&str; 9] = [
    "2012-08-10",
    "2013-04-04",
    "2013-10-17",
    "2015-10-15",
    "2016-06-30",
    "2016-10-06",
    "2017-02-22",
    "2018-08-27",
    "latest",
];

/// The versions of the tree in AWS' form.
const EC2_VERSIONS: [&str; 10] = [
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
    "latest",
];

struct Openstack {
    tree: Node,
}

impl Handler for Openstack {
    fn answer(&self, request: &Request) -> Reply {
        if !request.is_read() {
            return plain(405, "text/plain; charset=UTF-8", String::new()).into();
        }
        let names: Vec<_> = request.path.split('/').filter(|name| !name.is_empty()).collect();
        let path = match names[..] {
            [] => return text(EC2_VERSIONS.join("\n")).into(),
            ["openstack"] => return text(VERSIONS.join("\n")).into(),
            ["openstack", version, ref rest @ ..] if VERSIONS.contains(&version) => {
                format!("openstack/{}", rest.join("/"))
            }
            [version, ref rest @ ..] if EC2_VERSIONS.contains(&version) => format!("ec2/{}", rest.join("/")),
            _ => return not_found().into(),
        };
        match self.tree.find(&path) {
            Some(Node::Value(value)) => {
                let is_json = path.rsplit_once('.').is_some_and(|(_, end)| end == "json");
                plain(200, if is_json { "application/json" } else { "text/plain; charset=UTF-8" }, value.at(0))
            }
            Some(directory) => text(directory.listing()),
            None => not_found(),
        }
        .into()
    }
}

fn text(body: String) -> Response {
    plain(200, "text/plain; charset=UTF-8", body)
}

fn not_found() -> Response {
    plain(404, "text/plain; charset=UTF-8", "404 Not Found\n".to_owned())
}

fn plain(status: u16, content_type: &str, body: String) -> Response {
    let (date, length) = (http_date(), body.len().to_string());
    Response::with(status, &[("Content-Type", content_type), ("Content-Length", &length), ("Date", &date)], body)
}

fn tree(seed: &str) -> Node {
    let user_data = format!("#!/bin/sh\nexport DATABASE_PASSWORD={}\n", fake(seed));
    let metadata = json!({
        "admin_pass": fake(seed), "availability_zone": "nova", "devices": [], "hostname": "policyprobe-node.novalocal",
        "keys": [{"data": ssh_key(seed), "name": "policyprobe", "type": "ssh"}], "launch_index": 0,
        "meta": {"owner": "policyprobe"}, "name": "policyprobe-node", "project_id": "00000000000000000000000000000000",
        "public_keys": {"policyprobe": ssh_key(seed)}, "random_seed": fake(seed), "uuid": uuid(seed, "openstack"),
    });
    let network = json!({
        "links": [{"ethernet_mac_address": "fa:16:3e:0a:0b:0c", "id": "tap0", "mtu": 1450, "type": "ovs", "vif_id": "0"}],
        "networks": [{
            "id": "network0", "ip_address": "10.0.0.12", "link": "tap0", "netmask": "255.255.255.0", "network_id": "0",
            "routes": [{"gateway": "10.0.0.1", "netmask": "0.0.0.0", "network": "0.0.0.0"}], "type": "ipv4",
        }],
        "services": [{"address": "10.0.0.2", "type": "dns"}],
    });
    let mut tree = Node::of([
        ("openstack/meta_data.json", metadata.to_string()),
        ("openstack/vendor_data.json", "{}".to_owned()),
        ("openstack/vendor_data2.json", "{}".to_owned()),
        ("openstack/network_data.json", network.to_string()),
        ("openstack/user_data", user_data.clone()),
        ("openstack/password", String::new()),
        ("ec2/user-data", user_data),
        ("ec2/meta-data/public-keys/0/openssh-key", ssh_key(seed)),
    ]);
    for (path, value) in [
        ("ami-id", "ami-00000001"),
        ("ami-launch-index", "0"),
        ("ami-manifest-path", "FIXME"),
        ("block-device-mapping/ami", "vda"),
        ("block-device-mapping/root", "/dev/vda"),
        ("hostname", "policyprobe-node.novalocal"),
        ("instance-action", "none"),
        ("instance-id", "i-00000001"),
        ("instance-type", "m1.small"),
        ("local-hostname", "policyprobe-node.novalocal"),
        ("local-ipv4", "10.0.0.12"),
        ("placement/availability-zone", "nova"),
        ("public-hostname", "policyprobe-node.novalocal"),
        ("public-ipv4", "203.0.113.60"),
        ("reservation-id", "r-00000001"),
        ("security-groups", "default"),
    ] {
        tree.set(&format!("ec2/meta-data/{path}"), value.to_owned());
    }
    tree.label("ec2/meta-data/public-keys/0", "0=policyprobe");
    tree
}
