//! What Google's emulated server says about its machine: the real tree's names, with values that are right in form and
//! visibly made up.

use serde_json::json;

use super::{
    fake::{fake, jwt, pem, ssh_key},
    gcp_tree::{Kind, Node, directory, numbered, text, verbatim},
};

/// The service account.
const EMAIL: &str = "123456789012-compute@developer.gserviceaccount.com";
pub(super) const PROJECT_ID: &str = "policyprobe-lab";
pub(super) const PROJECT_NUMBER: u64 = 123_456_789_012;
pub(super) const INSTANCE_ID: u64 = 1_234_567_890_123_456_789;
pub(super) const NAME: &str = "policyprobe-node";
pub(super) const ZONE: &str = "projects/123456789012/zones/us-central1-c";

/// The whole server. The seed is in every value that would be a secret on a real one.
pub(super) fn root(seed: &str) -> Node {
    let v1 = directory([
        ("instance", instance(seed)),
        ("oslogin", directory([("authenticate", directory([("sessions", verbatim([]))]))])),
        ("project", project(seed)),
        ("universe", directory([("universe-domain", text("googleapis.com"))])),
    ]);
    directory([("computeMetadata", directory([("v1", v1)]))])
}

fn instance(seed: &str) -> Node {
    directory([
        ("attributes", attributes(seed)),
        ("cpu-platform", text("Intel Broadwell")),
        ("description", text("")),
        ("disks", numbered([disk()])),
        ("gce-workload-certificates", certificates(seed).unlisted()),
        ("guest-attributes", Kind::GuestAttributes.into()),
        ("hostname", text(format!("{NAME}.us-central1-c.c.{PROJECT_ID}.internal"))),
        ("id", text(INSTANCE_ID)),
        ("image", text("projects/ubuntu-os-cloud/global/images/ubuntu-2004-focal-v20240808")),
        ("licenses", numbered([directory([("id", text("5926592092274602096"))])])),
        ("machine-type", text("projects/123456789012/machineTypes/e2-medium")),
        ("maintenance-event", text("NONE")),
        ("name", text(NAME)),
        ("network-interfaces", numbered([network_interface()])),
        ("preempted", text("FALSE")),
        ("remaining-cpu-time", text(-1)),
        ("scheduling", scheduling()),
        ("service-accounts", verbatim([(EMAIL, service_account(seed)), ("default", service_account(seed))])),
        ("tags", Kind::Json(json!(["policyprobe", "http-server"])).into()),
        ("virtual-clock", directory([("drift-token", text("0"))])),
        ("zone", text(ZONE)),
    ])
}

fn attributes(seed: &str) -> Node {
    verbatim([
        ("kube-env", text(format!("CLUSTER_NAME: policyprobe\nKUBELET_KEY: {}\n", fake(seed)))),
        ("ssh-keys", text(login_key(seed))),
        ("startup-script", text(format!("#! /bin/sh\nexport DATABASE_PASSWORD={}\n", fake(seed)))),
        ("user-data", text(format!("#cloud-config\nwrite_files: [{{path: /etc/secret, content: {}}}]\n", fake(seed)))),
    ])
}

fn project(seed: &str) -> Node {
    directory([
        ("attributes", verbatim([("ssh-keys", text(login_key(seed)))])),
        ("numeric-project-id", text(PROJECT_NUMBER)),
        ("project-id", text(PROJECT_ID)),
    ])
}

fn disk() -> Node {
    directory([
        ("device-name", text("persistent-disk-0")),
        ("index", text(0)),
        ("interface", text("SCSI")),
        ("mode", text("READ_WRITE")),
        ("type", text("PERSISTENT-BALANCED")),
    ])
}

fn scheduling() -> Node {
    directory([
        ("automatic-restart", text("TRUE")),
        ("on-host-maintenance", text("MIGRATE")),
        ("preemptible", text("FALSE")),
    ])
}

/// Addresses are of the ranges for documentation, RFC 5737, or private.
fn network_interface() -> Node {
    let access = directory([("external-ip", text("203.0.113.10")), ("type", text("ONE_TO_ONE_NAT"))]);
    directory([
        ("access-configs", numbered([access])),
        ("dns-servers", text(json!(["169.254.169.254"]))),
        ("forwarded-ips", numbered([])),
        ("gateway", text("10.128.0.1")),
        ("ip", text("10.128.0.2")),
        ("ip-aliases", numbered([])),
        ("mac", text("42:01:0a:80:00:02")),
        ("mtu", text(1460)),
        ("network", text("projects/123456789012/networks/default")),
        ("subnetmask", text("255.255.240.0")),
        ("target-instance-ips", text(json!([]))),
    ])
}

fn service_account(seed: &str) -> Node {
    let token = json!({"access_token": format!("ya29.{}", fake(seed)), "expires_in": 3599, "token_type": "Bearer"});
    directory([
        ("aliases", text(json!(["default"]))),
        ("email", text(EMAIL)),
        ("identity", Node::from(Kind::Identity).credential()),
        ("scopes", text(json!(["https://www.googleapis.com/auth/cloud-platform"]))),
        ("token", Node::from(Kind::Json(token)).credential()),
    ])
}

/// Only the workloads of instances that ask for certificates have these, so that no listing names them here.
fn certificates(seed: &str) -> Node {
    let anchors = json!({"status": "OK", "trustAnchors": {
        "policyprobe.invalid": {"trustAnchorsPem": pem("CERTIFICATE", seed)},
    }});
    let identities = json!({"status": "OK", "workloadCredentials": {
        "spiffe://policyprobe.invalid/ns/default/sa/default": {
            "certificatePem": pem("CERTIFICATE", seed), "privateKeyPem": pem("PRIVATE KEY", seed),
        },
    }});
    directory([
        ("config-status", Kind::Json(json!({"partialErrors": {}})).into()),
        ("trust-anchors", Kind::Json(anchors).into()),
        ("workload-identities", Kind::Json(identities).into()),
    ])
}

/// An identity token for this audience: three segments, as a JWT has, that say in words what they are.
pub(super) fn identity(seed: &str, audience: &str, full: bool, now: u64) -> String {
    let mut payload = json!({
        "aud": audience, "azp": "100000000000000000000", "email": EMAIL, "email_verified": true,
        "exp": now + 3600, "iat": now, "iss": "https://accounts.google.com", "sub": "100000000000000000000",
    });
    if full {
        payload["google"] = json!({"compute_engine": {
            "instance_id": INSTANCE_ID.to_string(), "instance_name": NAME, "project_id": PROJECT_ID,
            "project_number": PROJECT_NUMBER, "zone": "us-central1-c",
        }});
    }
    jwt(seed, payload)
}

/// An SSH key in Google's form: with the login that it is for.
fn login_key(seed: &str) -> String {
    format!("policyprobe:{}", ssh_key(seed))
}
