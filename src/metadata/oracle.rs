//! Oracle Cloud's metadata server. Version 2 wants a header; version 1, which wants none, is answered with the option for
//! old ways. Header order and bodies of refusals are not known.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    Definition, LINK_LOCAL, ORACLE_V6,
    fake::{fake, pem, ssh_key},
    on,
    plain::plain,
};
use crate::http::{Handler, Reply, Request};

/// Oracle's server.
pub(super) static DEFINITION: Definition = Definition {
    name: "oracle",
    title: "Oracle Cloud",
    hosts: &[],
    endpoints: &[on(LINK_LOCAL, 80), on(ORACLE_V6, 80)],
    headers: &[("Authorization", "Bearer Oracle")],
    path: "/opc/v2/instance/region",
    server: |options| Box::new(Oracle { tree: tree(&options.seed), legacy: options.legacy }),
};

/// Headers that a proxy adds, and that the server refuses.
const FORWARDED: [&str; 3] = ["Forwarded", "X-Forwarded-For", "X-Forwarded-Host"];

struct Oracle {
    tree: Value,
    legacy: bool,
}

impl Handler for Oracle {
    fn answer(&self, request: &Request) -> Reply {
        let names: Vec<_> = request.path.split('/').filter(|name| !name.is_empty()).collect();
        let rest = match &names[..] {
            ["opc", "v2", rest @ ..] => {
                let is_forwarded = FORWARDED.iter().any(|name| request.header(name).is_some());
                if is_forwarded || request.header("Authorization") != Some("Bearer Oracle") {
                    return plain(401, "text/plain", "Unauthorized\n").into();
                }
                rest
            }
            ["opc", "v1", rest @ ..] if self.legacy => rest,
            _ => return plain(404, "text/plain", "Not Found\n").into(),
        };
        if !request.is_read() {
            return plain(405, "text/plain", "Method Not Allowed\n").into();
        }
        let pointer = rest.iter().fold(String::new(), |path, name| path + "/" + &name.replace('~', "~0"));
        match self.tree.pointer(&pointer) {
            Some(Value::String(text)) => plain(200, "text/plain", text.clone()),
            Some(value) => plain(200, "application/json", format!("{value:#}")),
            None => plain(404, "text/plain", "Not Found\n"),
        }
        .into()
    }
}

fn tree(seed: &str) -> Value {
    let user_data = format!("#!/bin/sh\nexport DATABASE_PASSWORD={}\n", fake(seed));
    let user_data = STANDARD.encode(user_data);
    json!({
        "identity": {
            "cert.pem": pem("CERTIFICATE", seed), "intermediate.pem": pem("CERTIFICATE", seed),
            "key.pem": pem("RSA PRIVATE KEY", seed), "tenancyId": "ocid1.tenancy.oc1..policyprobe",
        },
        "instance": {
            "availabilityDomain": "policyprobe:EU-FRANKFURT-1-AD-1", "canonicalRegionName": "eu-frankfurt-1",
            "compartmentId": "ocid1.compartment.oc1..policyprobe", "definedTags": {}, "displayName": "policyprobe-node",
            "faultDomain": "FAULT-DOMAIN-1", "freeformTags": {"owner": "policyprobe"}, "hostname": "policyprobe-node",
            "id": "ocid1.instance.oc1.eu-frankfurt-1.policyprobe", "image": "ocid1.image.oc1.eu-frankfurt-1.policyprobe",
            "metadata": {"ssh_authorized_keys": ssh_key(seed), "user_data": user_data},
            "ociAdName": "eu-frankfurt-1-ad-1", "region": "eu-frankfurt-1", "shape": "VM.Standard.E4.Flex",
            "state": "Running", "timeCreated": 1_700_000_000_000_u64,
        },
        "vnics": [{
            "macAddr": "02:00:17:05:d1:db", "privateIp": "10.0.0.5", "subnetCidrBlock": "10.0.0.0/24",
            "virtualRouterIp": "10.0.0.1", "vlanTag": 0, "vnicId": "ocid1.vnic.oc1.eu-frankfurt-1.policyprobe",
        }],
        "volumeAttachments": [],
    })
}
