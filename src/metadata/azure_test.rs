//! Known answers: what captures and the documentation show, to the byte where that is known.
#![expect(clippy::unwrap_used, reason = "tests")]

use serde_json::{Value, json};

use super::*;
use crate::metadata::{
    Cloud,
    tests::{Asked, length, names, text},
};

const METADATA: (&str, &str) = ("Metadata", "true");
const INSTANCE: &str = "/metadata/instance?api-version=2025-04-07";
const TOKEN: &str = "/metadata/identity/oauth2/token?api-version=2018-02-01";

fn azure() -> Asked {
    Asked::new(Cloud::Azure, &Options::seeded("seed42"))
}

fn json(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap()
}

#[test]
fn an_instance_has_the_captured_headers() {
    let found = azure().get(INSTANCE, &[METADATA]);
    assert_eq!(found.status, 200);
    assert_eq!(names(&found), "Content-Type Server x-ms-request-id Date Content-Length");
    assert_eq!(found.header("Content-Type"), Some("application/json; charset=utf-8"));
    assert!(found.header("Server").unwrap().starts_with("IMDS/"));
    assert_eq!(found.header("x-ms-request-id").unwrap().len(), 36);
    assert_eq!(json(&found)["network"]["interface"][0]["macAddress"], "000D3AF806EC");
}

#[test]
fn the_header_is_looked_for_before_the_version() {
    for target in ["/metadata/instance", INSTANCE] {
        let refused = azure().get(target, &[]);
        assert_eq!(refused.status, 400);
        assert_eq!(text(&refused), r#"{ "error": "Bad request: . Required metadata header not specified" }"#);
    }
    let refused = azure().get(TOKEN, &[]);
    assert_eq!((refused.status, length(&refused)), (400, 88));
    assert_eq!(
        text(&refused),
        r#"{"error":"invalid_request","error_description":"Required metadata header not specified"}"#
    );
    assert_eq!(azure().get(INSTANCE, &[("metadata", "True")]).status, 200);
    assert_eq!(azure().get(INSTANCE, &[("Metadata", "false")]).status, 400);
    assert_eq!(azure().get(INSTANCE, &[METADATA, ("X-Forwarded-For", "1.2.3.4")]).status, 400);
}

#[test]
fn the_version_has_to_be_one() {
    for target in ["/metadata/instance", "/metadata/instance?api-version=2017-01-01", "/metadata/attested/document"] {
        let refused = azure().get(target, &[METADATA]);
        assert_eq!(refused.status, 400);
        let body = json(&refused);
        assert_eq!(body["newest-versions"], json!(["2025-04-07", "2024-07-17", "2024-03-15"]));
        assert_eq!(
            body["error"],
            "Bad request. api-version is invalid or was not specified in the request. For more information refer to \
             aka.ms/azureimds"
        );
    }
    assert_eq!(azure().get("/metadata/instance?api-version=2021-02-01&API-version=x", &[METADATA]).status, 400);
    let versions = json(&azure().get("/metadata/versions", &[METADATA]));
    assert_eq!(versions["apiVersions"].as_array().unwrap().len(), 35);
}

#[test]
fn leaves_are_text_alone_and_user_data_came_late() {
    let leaf = |query: &str| azure().get(&format!("/metadata/instance/compute/{query}"), &[METADATA]);
    let id = leaf("vmId?api-version=2021-02-01&format=text");
    assert_eq!((id.status, length(&id), id.header("Content-Type")), (200, 36, Some("text/plain; charset=utf-8")));
    assert_eq!(leaf("vmId?api-version=2021-02-01").status, 400);
    assert_eq!(leaf("userData?api-version=2021-01-01&format=text").status, 200);
    let missing = leaf("userData?api-version=2020-12-01&format=text");
    assert_eq!((missing.status, text(&missing)), (404, r#"{ "error": "Not found" }"#));
    let address =
        "/metadata/instance/network/interface/0/ipv4/ipAddress/0/publicIpAddress?api-version=2021-02-01&format=text";
    assert_eq!(text(&azure().get(address, &[METADATA])), "203.0.113.40");
    assert_eq!(text(&leaf("plan?api-version=2021-02-01&format=text")), "name\nproduct\npublisher");
}

#[test]
fn every_primitive_is_a_string() {
    fn check(value: &Value) {
        match value {
            Value::Object(entries) => entries.values().for_each(check),
            Value::Array(items) => items.iter().for_each(check),
            value => assert!(value.is_string(), "{value}"),
        }
    }
    check(&json(&azure().get(INSTANCE, &[METADATA])));
}

#[test]
fn tokens_have_numbers_as_strings_and_their_refusals_the_captured_lengths() {
    let found = azure().get(&format!("{TOKEN}&resource=https%3A%2F%2Fvault.azure.net"), &[METADATA]);
    assert_eq!(names(&found), "Content-Type Server Date Content-Length");
    let token = json(&found);
    let keys: Vec<_> = token.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "access_token",
            "client_id",
            "expires_in",
            "expires_on",
            "ext_expires_in",
            "not_before",
            "resource",
            "token_type"
        ]
    );
    assert_eq!(token["resource"], "https://vault.azure.net");
    assert!(token["expires_on"].is_string() && token["expires_in"] == "86399");

    let without = azure().get(TOKEN, &[METADATA]);
    assert_eq!((without.status, length(&without)), (400, 95));
    let other = azure().get(&format!("{TOKEN}&resource=x&client_id=00000000-0000-0000-0000-000000000000"), &[METADATA]);
    assert_eq!((other.status, length(&other)), (400, 68));
    let ours = token["client_id"].as_str().unwrap();
    assert_eq!(azure().get(&format!("{TOKEN}&resource=x&client_id={ours}"), &[METADATA]).status, 200);
    let unknown = azure().get("/metadata/identity/other?api-version=2018-02-01", &[METADATA]);
    assert_eq!((unknown.status, text(&unknown)), (404, r#"{"error":"Not Found"}"#));
}

#[test]
fn a_scheduled_event_can_be_agreed_to() {
    let server = azure();
    let events = "/metadata/scheduledevents?api-version=2020-07-01";
    let empty = server.get(events, &[METADATA]);
    assert_eq!(text(&empty), r#"{"DocumentIncarnation":1,"Events":[]}"#);
    server
        .set("/metadata/scheduledevents", r#"[{"EventId":"e1","EventStatus":"Scheduled","EventType":"Reboot"}]"#)
        .unwrap();
    assert!(server.set("/metadata/scheduledevents", "no JSON").is_err() && server.set("/else", "[]").is_err());
    assert_eq!(json(&server.get(events, &[METADATA]))["DocumentIncarnation"], 2);
    let body = r#"{"StartRequests":[{"EventId":"e1"}]}"#;
    let Reply::Now(agreed) = server.reply("POST", events, &[METADATA], body) else { panic!("later") };
    assert_eq!(agreed.status, 200);
    assert_eq!(json(&server.get(events, &[METADATA]))["Events"][0]["EventStatus"], "Started");
    let Reply::Now(bad) = server.reply("POST", events, &[METADATA], "{") else { panic!("later") };
    assert_eq!(bad.status, 400);
    assert_eq!(server.ask("PUT", events, &[METADATA]).status, 405);
}

#[test]
fn the_attested_document_brings_the_nonce_back() {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let found = json(&azure().get("/metadata/attested/document?api-version=2021-02-01&nonce=1234567890", &[METADATA]));
    let signed = STANDARD.decode(found["signature"].as_str().unwrap()).unwrap();
    let signed = String::from_utf8(signed).unwrap();
    assert!(found["encoding"] == "pkcs7" && signed.contains(r#""nonce":"1234567890""#), "{signed}");
    assert!(signed.contains("no signature"));
}

#[test]
fn the_wireserver_leads_to_the_machine_s_secrets() {
    let wire = azure().at(on(WIRESERVER, 80));
    let version = [("x-ms-version", "2012-11-30")];
    assert!(text(&wire.get("/?comp=versions", &[])).starts_with("<Versions><Preferred><Version>2012-11-30<"));
    for path in ["/machine/?comp=goalstate", "/machine?comp=goalstate"] {
        assert!(text(&wire.get(path, &version)).contains("<Incarnation>1</Incarnation>"), "{path}");
    }
    let state = wire.get("/machine/?comp=goalstate", &version);
    let url = text(&state).split("<Certificates>").nth(1).and_then(|rest| rest.split('<').next()).unwrap();
    let path = url.strip_prefix("http://168.63.129.16:80").unwrap().replace("&amp;", "&");
    assert_eq!(wire.get(&path, &version).status, 400);
    assert_eq!(wire.get(&path, &[("x-ms-guest-agent-public-x509-cert", "MIIC")]).status, 200);
    assert_eq!(wire.get(INSTANCE, &[METADATA]).status, 404);
    let plugin = azure().at(on(WIRESERVER, 32_526));
    assert!(json(&plugin.get("/vmSettings", &[]))["extensionGoalStates"].is_array());
    assert_eq!(azure().get("/machine/?comp=goalstate", &[METADATA]).status, 404);
}

#[test]
fn away_from_azure_s_addresses_the_path_says_who_is_meant() {
    let local = ([127, 0, 0, 1], 8080).into();
    for (target, service_meant) in [
        ("/metadata/instance", Service::Imds),
        ("/machine/?comp=goalstate", Service::Wire),
        ("/?comp=versions", Service::Wire),
        ("/vmSettings", Service::Plugin),
        ("/", Service::Imds),
    ] {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        assert_eq!(service(local, path, query), service_meant, "{target}");
    }
}
