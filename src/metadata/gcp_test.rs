//! Known answers: what captures of real servers show, to the byte where that is known.
#![expect(clippy::unwrap_used, reason = "tests")]

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::*;
use crate::metadata::{
    Cloud,
    tests::{Asked, names, text},
};

const V1: &str = "/computeMetadata/v1";
const FLAVOR: (&str, &str) = ("Metadata-Flavor", "Google");

fn reply(target: &str, headers: &[(&str, &str)]) -> Reply {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let (method, peer, local) = ("GET".to_owned(), ([10, 0, 0, 1], 1).into(), ([127, 0, 0, 1], 80).into());
    let (path, query, body) = (path.to_owned(), query.to_owned(), Vec::new());
    let request = Request { method, path, query, headers, body, peer, local };
    (DEFINITION.server)(&Options::seeded("seed42")).answer(&request)
}

fn ask(target: &str, headers: &[(&str, &str)]) -> Response {
    let Reply::Now(response) = reply(target, headers) else { panic!("{target} is answered later") };
    response
}

fn get(target: &str) -> Response {
    ask(&format!("{V1}{target}"), &[FLAVOR])
}

fn body(target: &str) -> String {
    let response = get(target);
    assert_eq!(response.status, 200, "{target}");
    String::from_utf8(response.body).unwrap()
}

fn length(response: &Response) -> usize {
    let length = response.header("Content-Length").unwrap().parse().unwrap();
    assert_eq!(response.body.len(), length);
    length
}

#[test]
fn a_value_has_the_captured_headers() {
    let image = get("/instance/image");
    assert_eq!(image.body, b"projects/ubuntu-os-cloud/global/images/ubuntu-2004-focal-v20240808");
    assert_eq!(length(&image), 66);
    assert_eq!(
        names(&image),
        "Metadata-Flavor Content-Type ETag Date Server Content-Length X-XSS-Protection X-Frame-Options"
    );
    assert_eq!(image.header("Content-Type"), Some("application/text"));
    assert_eq!(image.header("Server"), Some("Metadata Server for VM"));
    let etag = image.header("ETag").unwrap();
    assert!(etag.len() == 16 && etag.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
    assert_eq!(length(&get("/instance/zone")), 41);
}

#[test]
fn the_root_needs_no_header_and_has_no_etag() {
    let root = ask("/", &[]);
    assert_eq!((root.status, length(&root), root.header("ETag")), (200, 17, None));
    assert_eq!(root.body, b"computeMetadata/\n");
    assert_eq!(ask("/computeMetadata/", &[]).body, b"v1/\n");
}

#[test]
fn error_pages_have_the_captured_lengths_and_headers() {
    let missing = get("/universe/universe_domain");
    assert_eq!((missing.status, length(&missing)), (404, 1604));
    assert_eq!(
        names(&missing),
        "Metadata-Flavor Date Content-Type Server Content-Length X-XSS-Protection X-Frame-Options"
    );
    let refused = ask(&format!("{V1}/instance/name"), &[]);
    assert_eq!((refused.status, length(&refused)), (403, 1649));
    assert_eq!(
        names(&refused),
        "Metadata-Flavor Date Content-Type Server Connection Content-Length X-XSS-Protection X-Frame-Options"
    );
    assert_eq!(refused.header("Connection"), Some("Close"));
    assert_eq!(refused.header("Content-Type"), Some("text/html; charset=UTF-8"));
}

#[test]
fn the_header_decides() {
    let name = format!("{V1}/instance/name");
    assert_eq!(ask(&name, &[("metadata-flavor", "Google")]).status, 200);
    assert_eq!(ask(&name, &[("X-Google-Metadata-Request", "True")]).status, 200);
    assert_eq!(ask(&name, &[("Metadata-Flavor", "Amazon")]).status, 403);
    assert_eq!(ask(&name, &[FLAVOR, ("X-Forwarded-For", "")]).status, 403);
    assert_eq!(ask("/computeMetadata/v1beta1/instance/service-accounts/default/token", &[]).status, 404);
    assert_eq!(ask("/.policyprobe/identity", &[FLAVOR]).status, 404);
    let page = ask("/<script>&", &[]).body;
    assert!(String::from_utf8(page).unwrap().contains("<code>/&lt;script&gt;&amp;</code>"));
}

#[test]
fn slashes_tell_directories_from_values() {
    let host = ("Host", "metadata.google.internal");
    let moved = ask(&format!("{V1}/instance/service-accounts"), &[FLAVOR, host]);
    assert_eq!((moved.status, length(&moved)), (301, 47));
    assert_eq!(
        names(&moved),
        "Metadata-Flavor Location Date Content-Type Server Content-Length X-XSS-Protection X-Frame-Options"
    );
    assert_eq!(
        moved.header("Location"),
        Some("http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/")
    );
    let moved = ask(&format!("{V1}?recursive=true"), &[FLAVOR, ("Host", "169.254.169.254")]);
    assert_eq!(moved.header("Location"), Some("http://169.254.169.254/computeMetadata/v1/?recursive=true"));
    assert_eq!(get("/instance/name/").status, 404);
    assert_eq!(get("/instance/service-accounts/default/token/").status, 404);
    assert_eq!(get("/instance/disks/00/index").status, 404);
    assert_eq!(get("//?recursive=true").status, 200);
}

#[test]
fn listings_end_each_line() {
    assert_eq!(body("/"), "instance/\noslogin/\nproject/\nuniverse/\n");
    assert_eq!(
        body("/instance/").lines().collect::<Vec<_>>().join(" "),
        "attributes/ cpu-platform description disks/ guest-attributes/ hostname id image licenses/ machine-type \
         maintenance-event name network-interfaces/ preempted remaining-cpu-time scheduling/ service-accounts/ tags \
         virtual-clock/ zone"
    );
    assert_eq!(body("/instance/service-accounts/default/"), "aliases\nemail\nidentity\nscopes\ntoken\n");
    let accounts = body("/instance/service-accounts/");
    let [email, "default/"] = accounts.lines().collect::<Vec<_>>()[..] else { panic!("{accounts}") };
    assert_eq!(body("/instance/service-accounts/default/email") + "/", email);
    assert_eq!(body("/instance/network-interfaces/"), "0/\n");
    assert_eq!(body("/instance/attributes/"), "kube-env\nssh-keys\nstartup-script\nuser-data\n");
}

#[test]
fn credentials_have_the_right_form_and_are_visibly_fake() {
    let token = get("/instance/service-accounts/default/token");
    assert_eq!(token.header("Content-Type"), Some("application/json"));
    let token: Value = serde_json::from_slice(&token.body).unwrap();
    assert_eq!(
        token,
        json!({"access_token": "ya29.FAKE-policyprobe-seed42", "expires_in": 3599, "token_type": "Bearer"})
    );

    let refused = get("/instance/service-accounts/default/identity");
    assert_eq!((refused.status, refused.body), (400, b"non-empty audience parameter required".to_vec()));
    let jwt = body("/instance/service-accounts/default/identity?audience=https%3A%2F%2Fa.b&format=full");
    let segments = jwt.split('.').map(|segment| URL_SAFE_NO_PAD.decode(segment).unwrap()).collect::<Vec<_>>();
    let [header, payload, signature] = &segments[..] else { panic!("{jwt}") };
    assert_eq!(serde_json::from_slice::<Value>(header).unwrap()["typ"], "JWT");
    let payload: Value = serde_json::from_slice(payload).unwrap();
    assert_eq!((&payload["aud"], &payload["policyprobe"]), (&json!("https://a.b"), &json!("FAKE-policyprobe-seed42")));
    assert_eq!(payload["google"]["compute_engine"]["instance_name"], "policyprobe-node");
    assert!(String::from_utf8_lossy(signature).contains("FAKE-policyprobe-seed42"));

    for secret in ["attributes/startup-script", "attributes/ssh-keys", "attributes/kube-env", "attributes/user-data"] {
        assert!(body(&format!("/instance/{secret}")).contains("FAKE-policyprobe-seed42"), "{secret}");
    }
}

#[test]
fn recursion_gives_everything_but_credentials() {
    let json: Value = serde_json::from_str(&body("/?recursive=True&alt=json")).unwrap();
    let instance = &json["instance"];
    assert_eq!(instance["networkInterfaces"][0]["accessConfigs"][0]["externalIp"], "203.0.113.10");
    assert_eq!(instance["id"], 1_234_567_890_123_456_789_u64);
    assert_eq!(instance["attributes"]["startup-script"].as_str().map(|script| script.contains("FAKE")), Some(true));
    let account = instance["serviceAccounts"]["default"].as_object().unwrap();
    assert_eq!(account.keys().collect::<Vec<_>>(), ["aliases", "email", "scopes"]);
    assert!(!json.to_string().contains("ya29"));
    let lines = body("/instance/disks/?recursive=yes&alt=text");
    assert!(lines.starts_with("0/device-name persistent-disk-0\n0/index 0\n"), "{lines}");
}

#[test]
fn alt_chooses_the_form() {
    assert_eq!(body("/instance/name?alt=json"), "\"policyprobe-node\"");
    assert_eq!(body("/instance/tags"), r#"["policyprobe","http-server"]"#);
    assert_eq!(body("/instance/tags?alt=text"), "policyprobe\nhttp-server");
    assert_eq!(get("/instance/?alt=json").status, 400);
    assert_eq!(get("/instance/guest-attributes/x/y").status, 403);
    assert!(
        String::from_utf8(get("/instance/guest-attributes/").body).unwrap().contains("endpoint access is disabled")
    );
}

#[test]
fn the_old_ways_are_open_where_that_is_asked_for() {
    let old = Asked::new(Cloud::Gcp, &Options { legacy: true, ..Options::seeded("seed42") });
    for path in ["/computeMetadata/v1beta1/instance", "/0.1/meta-data"] {
        let token = old.get(&format!("{path}/service-accounts/default/token"), &[]);
        assert!(text(&token).contains("ya29.FAKE-policyprobe-seed42"), "{path}");
    }
    assert_eq!(old.get(&format!("{V1}/instance/name"), &[]).status, 403);
    assert_eq!(text(&old.get("/", &[])), "0.1/\ncomputeMetadata/\n");
    assert_eq!(ask("/0.1/meta-data/service-accounts/default/token", &[]).status, 404);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_change_ends_with_the_limit() {
    assert_eq!(get("/instance/?wait_for_change=true").status, 400);
    let tags = get("/instance/tags");
    assert_eq!(get("/instance/tags?wait_for_change=true&last_etag=NONE").body, tags.body);
    let last = tags.header("ETag").unwrap();
    let target = format!("{V1}/instance/tags?wait_for_change=true&timeout_sec=60&last_etag={last}");
    let Reply::Later(promise) = reply(&target, &[FLAVOR]) else { panic!("answered at once") };
    assert_eq!(promise.await.body, tags.body);
    let Reply::Later(promise) = reply(&format!("{V1}/instance/tags?wait_for_change=true"), &[FLAVOR]) else {
        panic!("answered at once")
    };
    assert!(tokio::time::timeout(Duration::from_secs(3600), promise).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_change_ends_the_waiting() {
    let server = Asked::new(Cloud::Gcp, &Options::seeded("seed42"));
    let path = format!("{V1}/instance/attributes/colour");
    server.set(&path, "red").unwrap();
    let before = server.get(&path, &[FLAVOR]);
    assert_eq!(text(&before), "red");
    let last = before.header("ETag").unwrap();
    let wait = |target: String| match server.reply("GET", &target, &[FLAVOR], "") {
        Reply::Later(promise) => promise,
        Reply::Now(_) => panic!("answered at once"),
    };
    let one = wait(format!("{path}?wait_for_change=true&last_etag={last}"));
    let all = wait(format!("{V1}/instance/?recursive=true&wait_for_change=true&timeout_sec=60"));
    let other = wait(format!("{V1}/instance/name?wait_for_change=true&timeout_sec=60"));
    server.set(&path, "blue").unwrap();
    assert_eq!(text(&one.await), "blue");
    let all: Value = serde_json::from_slice(&all.await.body).unwrap();
    assert_eq!(all["attributes"]["colour"], "blue");
    // It only ends with its time.
    assert_eq!(text(&other.await), "policyprobe-node");
    assert!(server.set(&format!("{V1}/instance/nothing"), "x").is_err());
    assert!(server.set("/", "x").is_err());
}
