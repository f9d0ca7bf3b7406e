//! The `curl` lines of each cloud's documentation, word for word but for the address.

use std::{fs, path::Path, process::Command};

use crate::common::Served;

/// What a shell gets from lines in which `BASE` stands for the server.
fn sh(server: &Served, lines: &str) -> String {
    let base = format!("http://{}", server.address);
    // The first file of this name that `curl` finds is the only one that it reads.
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-curlrc");
    fs::create_dir_all(&home).and_then(|()| fs::write(home.join(".curlrc"), "")).unwrap();
    let output = Command::new("sh")
        .args(["-eu", "-c", &lines.replace("BASE", &base)])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("CURL_HOME", &home)
        .output()
        .unwrap();
    assert!(output.status.success(), "{lines}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn aws() {
    let (v1, v2) = (Served::new("aws", &[]), Served::new("aws", &["--imds", "v2"]));
    let token = "TOKEN=`curl -s -X PUT \"BASE/latest/api/token\" -H \"X-aws-ec2-metadata-token-ttl-seconds: 21600\"`\n";
    let with = "curl -s -H \"X-aws-ec2-metadata-token: $TOKEN\"";
    assert_eq!(sh(&v2, &format!("{token}echo -n $TOKEN | wc -c")).trim(), "56");
    assert!(sh(&v2, &format!("{token}{with} -v BASE/latest/meta-data/ 2>/dev/null")).contains("ami-id\n"));
    assert_eq!(sh(&v2, &format!("{token}{with} BASE/latest/meta-data/placement/region")), "us-east-1");
    assert_eq!(sh(&v1, "curl -s BASE/latest/meta-data/iam/security-credentials/"), "policyprobe-node");
    assert!(
        sh(&v1, "curl -s BASE/latest/dynamic/instance-identity/document").contains("\"instanceType\" : \"t3.medium\"")
    );
    assert!(sh(&v1, "curl -s BASE/latest/user-data").starts_with("#!/bin/sh\n"));
    let status = "curl -s -o /dev/null -w '%{http_code} %{size_download}'";
    assert_eq!(sh(&v2, &format!("{status} BASE/latest/meta-data/")), "401 0");
    assert_eq!(sh(&v1, &format!("{status} BASE/latest/meta-data/nothing")), "404 337");
    let forwarded = "-X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' -H 'X-Forwarded-For: 1.2.3.4'";
    assert_eq!(sh(&v2, &format!("{status} {forwarded} BASE/latest/api/token")), "403 0");
    let disabled = Served::new("aws", &["--imds", "disabled"]);
    assert_eq!(sh(&disabled, &format!("{status} BASE/latest/meta-data/")), "403 0");
}

#[test]
fn google() {
    let google = Served::new("gcp", &[]);
    let curl = "curl -s -H \"Metadata-Flavor: Google\"";
    assert_eq!(
        sh(&google, &format!("{curl} \"BASE/computeMetadata/v1/instance/image\"")),
        "projects/ubuntu-os-cloud/global/images/ubuntu-2004-focal-v20240808"
    );
    let token = sh(&google, &format!("{curl} \"BASE/computeMetadata/v1/instance/service-accounts/default/token\""));
    assert!(token.contains("\"token_type\":\"Bearer\""), "{token}");
    let disks = sh(&google, &format!("{curl} \"BASE/computeMetadata/v1/instance/disks/?recursive=true\""));
    assert!(disks.starts_with("[{\"deviceName\""), "{disks}");
    let moved = sh(&google, &format!("{curl} -L \"BASE/computeMetadata/v1/instance/service-accounts\""));
    assert!(moved.ends_with("default/\n"), "{moved}");
    let refused = sh(&google, "curl -s -o /dev/null -w '%{http_code}' BASE/computeMetadata/v1/instance/image");
    assert_eq!(refused, "403");
    let waited = "\"BASE/computeMetadata/v1/instance/tags?wait_for_change=true&timeout_sec=1\"";
    assert!(sh(&google, &format!("{curl} {waited}")).contains("policyprobe"));
}

#[test]
fn azure() {
    let azure = Served::new("azure", &[]);
    let curl = "curl -s -H Metadata:true --noproxy \"*\"";
    let instance = sh(&azure, &format!("{curl} \"BASE/metadata/instance?api-version=2021-02-01\""));
    assert!(instance.contains("\"azEnvironment\":\"AzurePublicCloud\""), "{instance}");
    let address = "network/interface/0/ipv4/ipAddress/0/publicIpAddress?api-version=2017-08-01&format=text";
    assert_eq!(sh(&azure, &format!("{curl} \"BASE/metadata/instance/{address}\"")), "203.0.113.40");
    let token = "'BASE/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://management.azure.com/' \
                 -H Metadata:true -s";
    assert!(sh(&azure, &format!("curl {token}")).contains("\"token_type\":\"Bearer\""));
    assert_eq!(
        sh(&azure, "curl -s 'BASE/metadata/instance?api-version=2021-02-01'"),
        "{ \"error\": \"Bad request: . Required metadata header not specified\" }"
    );
    assert!(sh(&azure, &format!("{curl} BASE/metadata/instance")).contains("aka.ms/azureimds"));
    let events = sh(&azure, &format!("{curl} 'BASE/metadata/scheduledevents?api-version=2020-07-01'"));
    assert_eq!(events, "{\"DocumentIncarnation\":1,\"Events\":[]}");
    assert!(sh(&azure, "curl -s 'BASE/machine/?comp=goalstate' -H 'x-ms-version: 2012-11-30'").contains("<GoalState>"));
    assert!(sh(&azure, "curl -s BASE/vmSettings").contains("vmSettingsSchemaVersion"));
}

#[test]
fn smaller_clouds() {
    let line = |cloud: &str, line: &str| sh(&Served::new(cloud, &[]), line);
    assert!(line("oracle", "curl -s -H 'Authorization: Bearer Oracle' BASE/opc/v2/instance/").contains("\"shape\""));
    assert_eq!(line("alibaba", "curl -s BASE/latest/meta-data/ram/security-credentials/"), "policyprobe-node");
    assert!(line("digitalocean", "curl -s BASE/metadata/v1.json").contains("\"droplet_id\":2756294"));
    assert!(line("openstack", "curl -s BASE/openstack/latest/meta_data.json").contains("\"uuid\""));
    assert!(line("hetzner", "curl -s BASE/hetzner/v1/metadata").contains("instance-id: 12345678\n"));
    assert!(line("ecs", "curl -s BASE/v2/metadata").contains("\"TaskARN\""));
    let token = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.eA";
    let found = line("eks-pod-identity", &format!("curl -s -H 'Authorization: {token}' BASE/v1/credentials"));
    assert!(found.contains("\"AccessKeyId\":\"ASIA"), "{found}");
    assert!(
        line("gke", "curl -s -H 'Metadata-Flavor: Google' BASE/computeMetadata/v1/project/project-id")
            .starts_with("policyprobe")
    );
}
