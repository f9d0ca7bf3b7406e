//! The clouds' own Python libraries, unmodified: by each one's own variable for the server's address. Without the packages
//! (`pip install boto3 google-auth requests azure-identity`, and cloud-init from a distribution) a test says so, and checks
//! nothing. `POLICYPROBE_PYTHON` names an interpreter that has them, as that of a virtual environment.

use std::{env, process::Command};

use crate::common::Served;

/// The exit code of a check whose package is missing.
const MISSING: i32 = 77;

fn check(name: &str, base: &str) {
    let python = env::var("POLICYPROBE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/metadata/clients.py");
    let mut command = Command::new(&python);
    command.args([script, name, base]).env("HOME", env!("CARGO_TARGET_TMPDIR")).env("NO_PROXY", "*");
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => return eprintln!("skipped: {python} cannot be started: {error}"),
    };
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.code() == Some(MISSING) {
        return eprintln!("skipped: {}", said.trim());
    }
    assert!(output.status.success(), "{name}: {said}");
}

#[test]
fn botocore_gets_credentials_and_region_from_either_version() {
    for imds in ["v1", "v2"] {
        let server = Served::new("aws", &["--imds", imds]);
        check("aws", &server.url(""));
        check("boto3_aws", &server.url(""));
    }
}

#[test]
fn botocore_gets_credentials_of_tasks_and_pods() {
    check("container", &Served::new("ecs", &[]).url("/v2/credentials/00000000-0000-4000-a000-000000000000"));
    check("container", &Served::new("eks-pod-identity", &[]).url("/v1/credentials"));
}

#[test]
fn google_auth_gets_token_project_and_identity() {
    check("google", &Served::new("gcp", &[]).url(""));
}

#[test]
fn cloud_init_reads_what_it_sets_a_machine_up_by() {
    check("cloudinit_aws", &Served::new("aws", &["--imds", "v2"]).url(""));
    check("cloudinit_gcp", &Served::new("gcp", &[]).url(""));
    for cloud in ["hetzner", "digitalocean"] {
        check(&format!("cloudinit_{cloud}"), &Served::new(cloud, &[]).url(""));
    }
}

#[test]
fn azure_identity_gets_a_token() {
    check("azure", &Served::new("azure", &[]).url(""));
}
