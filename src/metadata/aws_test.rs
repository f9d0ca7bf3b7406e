//! Known answers: what captures of real servers show, to the byte where that is known.
#![expect(clippy::unwrap_used, reason = "tests")]

use serde_json::Value;

use crate::{
    http::Response,
    metadata::{
        Cloud, Imds, Options,
        tests::{Asked, length, names, text},
    },
};

const TTL: &str = "X-aws-ec2-metadata-token-ttl-seconds";
const TOKEN: &str = "X-aws-ec2-metadata-token";
const ROLE: &str = "/latest/meta-data/iam/security-credentials/policyprobe-node";

fn aws(imds: Imds) -> Asked {
    Asked::new(Cloud::Aws, &Options { imds, ..Options::seeded("seed42") })
}

fn put(server: &Asked, ttl: &str) -> Response {
    server.ask("PUT", "/latest/api/token", &[(TTL, ttl)])
}

/// What a refusal without a body looks like.
fn assert_empty(response: &Response, status: u16) {
    assert_eq!((response.status, length(response)), (status, 0));
    assert_eq!(names(response), "Content-Length Date Server Connection Content-Type");
    assert_eq!((response.header("Server"), response.header("Connection")), (Some("EC2ws"), Some("close")));
    assert_eq!(response.header("Content-Type"), Some("text/plain"));
}

#[test]
fn a_token_has_the_captured_headers_and_length() {
    let given = put(&aws(Imds::V2), "21600");
    assert_eq!((given.status, length(&given)), (200, 56));
    assert_eq!(
        names(&given),
        "X-Aws-Ec2-Metadata-Token-Ttl-Seconds Content-Length Date Server Connection Content-Type"
    );
    assert_eq!(given.header(TTL), Some("21600"));
    assert!(text(&given).starts_with("AQAE"));
}

#[test]
fn lifetimes_outside_the_range_are_refused() {
    for server in [aws(Imds::V1), aws(Imds::V2)] {
        for bad in ["", "0", "-1", "21601", "x", "1.5", "99999999999999999999"] {
            assert_empty(&put(&server, bad), 400);
        }
        assert_empty(&server.ask("PUT", "/latest/api/token", &[]), 400);
        assert_eq!(put(&server, "1").status, 200);
        assert_empty(&server.ask("PUT", "/latest/api/token", &[(TTL, "60"), ("X-Forwarded-For", "1.2.3.4")]), 403);
        assert_empty(&server.ask("PUT", "/latest/api/token", &[(TTL, "60"), ("Expect", "100-continue")]), 417);
        assert_empty(&server.ask("PUT", "/2021-03-23/api/token", &[(TTL, "60")]), 403);
    }
}

#[test]
fn other_methods_on_the_token_are_not_allowed_in_its_own_words() {
    for method in ["GET", "POST", "DELETE"] {
        let refused = aws(Imds::V1).ask(method, "/latest/api/token", &[]);
        assert_eq!((refused.status, refused.reason, length(&refused)), (405, Some("Not Allowed"), 0));
        assert_eq!(names(&refused), "Allow Content-Length Date Server Connection Content-Type");
        assert_eq!(refused.header("Allow"), Some("OPTIONS, PUT"));
    }
}

#[test]
fn required_tokens_are_required_for_everything() {
    let server = aws(Imds::V2);
    for path in ["/", "/latest", ROLE, "/latest/user-data", "/nothing"] {
        assert_empty(&server.get(path, &[]), 401);
    }
    let token = put(&server, "60");
    let found = server.get(ROLE, &[(TOKEN, text(&token))]);
    assert_eq!(found.status, 200);
    assert_eq!(
        names(&found),
        "X-Aws-Ec2-Metadata-Token-Ttl-Seconds Content-Type Accept-Ranges Last-Modified Content-Length Date Server \
         Connection"
    );
    assert!(found.header(TTL).unwrap().parse::<u64>().unwrap() <= 60);
    assert_empty(&server.get(ROLE, &[(TOKEN, "AQAE")]), 401);
}

#[test]
fn optional_tokens_are_optional_and_bad_ones_refused_all_the_same() {
    let server = aws(Imds::V1);
    let id = server.get("/latest/meta-data/instance-id", &[]);
    assert_eq!((id.status, text(&id)), (200, "i-0123456789abcdef0"));
    assert_eq!(names(&id), "Content-Type Accept-Ranges Last-Modified Content-Length Date Server Connection");
    assert_eq!((id.header("Content-Type"), id.header("Accept-Ranges")), (Some("text/plain"), Some("none")));
    assert_empty(&server.get("/latest/meta-data/instance-id", &[(TOKEN, "bad")]), 401);
}

#[test]
fn a_disabled_service_refuses_everything() {
    let server = aws(Imds::Disabled);
    assert_empty(&put(&server, "60"), 403);
    assert_empty(&server.get("/latest/meta-data/", &[]), 403);
}

#[test]
fn what_is_not_there_has_the_captured_page() {
    let server = aws(Imds::V1);
    for path in ["/latest/meta-data/nothing", "/latest/api", "/latest/api/", "/1999-01-01/meta-data/", "/nothing"] {
        let missing = server.get(path, &[]);
        assert_eq!((missing.status, length(&missing)), (404, 337), "{path}");
        assert_eq!(missing.header("Content-Type"), Some("text/html"));
    }
}

#[test]
fn listings_have_the_captured_forms() {
    let server = aws(Imds::V1);
    let list = |path: &str| text(&server.get(path, &[])).to_owned();
    for path in ["/latest", "/latest/"] {
        assert_eq!(list(path), "dynamic\nmeta-data\nuser-data");
    }
    assert!(list("/").starts_with("1.0\n2007-01-19\n") && list("/").ends_with("\nlatest"));
    assert_eq!(list("/latest/meta-data/public-keys/"), "0=policyprobe");
    assert_eq!(list("/latest/meta-data/public-keys/0/"), "openssh-key");
    assert_eq!(list("/latest/meta-data/iam/security-credentials/"), "policyprobe-node");
    assert_eq!(list("/latest/meta-data/iam/security-credentials"), "policyprobe-node");
    assert_eq!(list("/latest/meta-data/network/interfaces/macs/"), "0e:49:61:0f:c3:11/");
    assert_eq!(list("/latest/dynamic/"), "fws/\ninstance-identity/\n");
    assert_eq!(list("/2021-03-23/meta-data/mac"), list("/latest/meta-data/mac/"));
    let top = list("/latest/meta-data/");
    for name in
        ["ami-id", "block-device-mapping/", "iam/", "instance-id", "network/", "placement/", "services/", "tags/"]
    {
        assert!(top.lines().any(|line| line == name), "{name}");
    }
    assert!(!top.ends_with('\n') && !top.contains("spot"));
}

#[test]
fn credentials_have_the_captured_spacing_and_are_visibly_fake() {
    let server = aws(Imds::V1);
    let body = text(&server.get(ROLE, &[])).to_owned();
    let names: Vec<_> =
        body.lines().filter_map(|line| line.strip_prefix("  \"")?.split_once("\" : \"")).map(|(n, _)| n).collect();
    assert_eq!(names, ["Code", "LastUpdated", "Type", "AccessKeyId", "SecretAccessKey", "Token", "Expiration"]);
    let credentials: Value = serde_json::from_str(&body).unwrap();
    assert!(credentials["AccessKeyId"].as_str().is_some_and(|id| id.starts_with("ASIAFAKE") && id.len() == 20));
    assert!(
        credentials["SecretAccessKey"]
            .as_str()
            .is_some_and(|key| key.contains("FAKE-policyprobe-seed42") && key.len() == 40)
    );
    assert!(credentials["Token"].as_str().unwrap().contains("FAKE-policyprobe-seed42"));
    assert!(credentials["Expiration"].as_str() > credentials["LastUpdated"].as_str());
}

#[test]
fn user_data_and_documents_are_what_they_are() {
    let server = aws(Imds::V1);
    let user_data = server.get("/latest/user-data", &[]);
    assert_eq!(user_data.header("Content-Type"), Some("application/octet-stream"));
    let document = server.get("/latest/dynamic/instance-identity/document", &[]);
    assert_eq!(document.header("Content-Type"), Some("text/plain"));
    let document: Value = serde_json::from_slice(&document.body).unwrap();
    assert_eq!((&document["region"], &document["kernelId"]), (&"us-east-1".into(), &Value::Null));
    assert_eq!(document["version"], "2017-09-30");
    assert!(!text(&server.get("/latest/dynamic/instance-identity/pkcs7", &[])).contains("BEGIN"));
}

#[test]
fn xen_hosts_redirect_and_speak_the_older_version() {
    let server = Asked::new(Cloud::Aws, &Options { legacy: true, ..Options::default() });
    let moved = server.get("/latest/meta-data/iam/security-credentials", &[]);
    assert_eq!((moved.status, moved.is_old, length(&moved)), (301, true, 0));
    assert_eq!(moved.header("Location"), Some("http://169.254.169.254/latest/meta-data/iam/security-credentials/"));
    let id = server.get("/latest/meta-data/instance-id", &[]);
    assert!(id.is_old && id.header("ETag") == Some("\"3138592401\"") && id.header("Accept-Ranges") == Some("bytes"));
}

#[test]
fn the_hop_limit_is_that_of_the_token_alone() {
    let options = Options { hop_limit: Some(1), ..Options::default() };
    let server = Asked::new(Cloud::Aws, &options);
    assert_eq!(put(&server, "60").hop_limit, Some(1));
    assert_eq!(put(&server, "0").hop_limit, None);
    assert_eq!(server.get("/latest/meta-data/instance-id", &[]).hop_limit, None);
}
