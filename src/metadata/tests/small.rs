use serde_json::Value;

use super::*;

fn server(cloud: Cloud) -> Asked {
    Asked::new(cloud, &Options::seeded("seed42"))
}

#[test]
fn gke_refuses_without_the_header_and_gives_the_pod_s_identity() {
    let gke = server(Cloud::Gke);
    let flavor = [("Metadata-Flavor", "Google")];
    let refused = gke.get("/", &[]);
    assert_eq!((refused.status, length(&refused)), (403, 94));
    assert_eq!(names(&refused), "Content-Type X-Content-Type-Options Date Content-Length");
    assert_eq!(gke.get("/computeMetadata/v1/", &[("X-Google-Metadata-Request", "True")]).status, 403);
    let root = gke.get("/", &flavor);
    assert_eq!(
        (text(&root), length(&root), root.header("Server")),
        ("computeMetadata/\n", 17, Some("GKE Metadata Server"))
    );
    assert_eq!(text(&gke.get("/computeMetadata/v1/", &flavor)), "instance/\nproject/\n");
    assert_eq!(gke.get("/computeMetadata/v1/instance/attributes/kube-env", &flavor).status, 404);
    let token = gke.get("/computeMetadata/v1/instance/service-accounts/default/token", &flavor);
    assert!(text(&token).contains("ya29.FAKE-policyprobe-seed42-for-10-0-0-1"), "{}", text(&token));
}

#[test]
fn oracle_wants_its_header_and_no_proxy() {
    let oracle = server(Cloud::Oracle);
    let bearer = ("Authorization", "Bearer Oracle");
    let instance: Value = serde_json::from_slice(&oracle.get("/opc/v2/instance/", &[bearer]).body).unwrap();
    assert_eq!(instance["region"], "eu-frankfurt-1");
    assert_eq!(text(&oracle.get("/opc/v2/instance/region", &[bearer])), "eu-frankfurt-1");
    assert_eq!(oracle.get("/opc/v2/instance/", &[]).status, 401);
    for name in ["Forwarded", "X-Forwarded-For", "X-Forwarded-Host"] {
        assert_ne!(oracle.get("/opc/v2/instance/", &[bearer, (name, "x")]).status, 200, "{name}");
    }
    assert_eq!(oracle.get("/opc/v1/instance/", &[]).status, 404);
    let old = Asked::new(Cloud::Oracle, &Options { legacy: true, ..Options::default() });
    assert_eq!(old.get("/opc/v1/instance/", &[]).status, 200);
}

#[test]
fn alibaba_may_want_a_token() {
    let alibaba = server(Cloud::Alibaba);
    assert_eq!(text(&alibaba.get("/latest/meta-data/ram/security-credentials/", &[])), "policyprobe-node");
    assert!(text(&alibaba.get("/2016-01-01/meta-data/all", &[])).contains("\"region-id\":\"cn-hangzhou\""));
    let hardened = Asked::new(Cloud::Alibaba, &Options { imds: Imds::V2, ..Options::default() });
    assert_eq!(hardened.get("/latest/meta-data/", &[]).status, 403);
    let ttl = |seconds| [("X-aliyun-ecs-metadata-token-ttl-seconds", seconds)];
    let token = hardened.ask("PUT", "/latest/api/token", &ttl("60"));
    assert_eq!(hardened.get("/latest/meta-data/", &[("X-aliyun-ecs-metadata-token", text(&token))]).status, 200);
    assert_eq!(hardened.ask("PUT", "/latest/api/token", &ttl("21601")).status, 400);
}

#[test]
fn digitalocean_has_text_and_json() {
    let droplet = server(Cloud::Digitalocean);
    let all: Value = serde_json::from_slice(&droplet.get("/metadata/v1.json", &[]).body).unwrap();
    assert_eq!(all["droplet_id"].to_string(), text(&droplet.get("/metadata/v1/id", &[])));
    assert!(text(&droplet.get("/metadata/v1/", &[])).contains("interfaces/\n"));
    assert_eq!(droplet.get("/metadata/v2/id", &[]).status, 404);
}

#[test]
fn openstack_lists_its_versions_and_those_of_aws() {
    let nova = server(Cloud::Openstack);
    assert!(
        text(&nova.get("/", &[])).starts_with("1.0\n2007-01-19\n") && text(&nova.get("/", &[])).ends_with("latest")
    );
    assert!(text(&nova.get("/openstack", &[])).starts_with("2012-08-10\n"));
    let metadata: Value = serde_json::from_slice(&nova.get("/openstack/latest/meta_data.json", &[]).body).unwrap();
    assert_eq!(metadata["name"], "policyprobe-node");
    assert_eq!(text(&nova.get("/2009-04-04/meta-data/public-keys/", &[])), "0=policyprobe");
    assert_eq!(nova.get("/openstack/2011-01-01/meta_data.json", &[]).status, 404);
}

#[test]
fn hetzner_has_values_and_a_document_of_all() {
    let hetzner = server(Cloud::Hetzner);
    assert_eq!(text(&hetzner.get("/hetzner/v1/metadata/hostname", &[])), "policyprobe-node");
    assert!(text(&hetzner.get("/hetzner/v1/metadata", &[])).contains("\ninstance-id: 12345678\n"));
    assert_eq!(hetzner.get("/hetzner/v1/", &[]).status, 404);
}

#[test]
fn ecs_gives_credentials_to_who_knows_the_path() {
    let ecs = server(Cloud::Ecs);
    let good = ecs.get("/v2/credentials/00000000-0000-4000-a000-000000000000", &[]);
    let good: Value = serde_json::from_slice(&good.body).unwrap();
    assert!(good["AccessKeyId"].as_str().unwrap().starts_with("ASIA"));
    assert_eq!(ecs.get("/v2/credentials/00000000-0000-4000-a000-000000000001", &[]).status, 400);
}

#[test]
fn the_agent_of_eks_checks_token_and_host() {
    let agent = server(Cloud::EksPodIdentity);
    let (host, token) = (("Host", "169.254.170.23"), EKS_TOKEN);
    let ask = |headers: &[(&str, &str)]| agent.get("/v1/credentials", headers);
    let good = ask(&[host, token]);
    assert_eq!((good.status, good.header("Server")), (200, None));
    assert_eq!(ask(&[("Host", "[fd00:ec2::23]:80"), token]).status, 200);
    let empty = ask(&[host]);
    assert_eq!((empty.status, text(&empty)), (400, "Service account token cannot be empty"));
    let bad = ask(&[host, ("Authorization", "Bearer x")]);
    assert!(bad.status == 400 && text(&bad).starts_with("Service account token cannot be parsed: "));
    let rebound = ask(&[("Host", "rebind.example"), token]);
    assert_eq!(
        (rebound.status, text(&rebound)),
        (
            403,
            "Access Denied. Called agent through invalid address, please use either [169.254.170.23 fd00:ec2::23] address \
             not rebind.example"
        )
    );
    assert_eq!(agent.get("/", &[host, token]).status, 404);
}

const EKS_TOKEN: (&str, &str) = ("Authorization", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.eA");
