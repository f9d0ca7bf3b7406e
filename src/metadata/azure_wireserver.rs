//! Azure's `WireServer` and the `HostGAPlugin` beside it, as Azure's agent for Linux asks them. Who can reach them can have
//! the machine's protected settings, on AKS what a node joins its cluster with.
//!
//! Their headers, and what they say to requests that the agent never makes, are not known.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use super::{
    fake::{fake, uuid},
    plain::plain,
    query::Query,
};
use crate::http::{Request, Response};

/// Where the plugin listens.
pub(super) const PLUGIN_PORT: u16 = 32_526;
/// What the plugin answers.
pub(super) const PLUGIN_PATHS: &[&str] =
    &["versions", "health", "vmSettings", "extensionArtifact", "status", "vmAgentLog"];

const VERSION: &str = "2012-11-30";
/// The header with the certificate that secrets are encrypted for: whoever asks brings their own.
const CERTIFICATE: &str = "x-ms-guest-agent-public-x509-cert";

/// The `WireServer`'s answer.
pub(super) fn wire(request: &Request, seed: &str) -> Response {
    let query = Query::parse(&request.query);
    let comp = query.get("comp").unwrap_or_default();
    match (request.method.as_str(), request.path.trim_end_matches('/'), comp) {
        ("GET" | "HEAD", "", "versions") => xml(
            200,
            &format!(
                "<Versions><Preferred><Version>{VERSION}</Version></Preferred><Supported><Version>2015-04-05</Version>\
                 <Version>{VERSION}</Version></Supported></Versions>"
            ),
        ),
        ("GET" | "HEAD", "/machine", "goalstate") => xml(200, &goal_state(seed)),
        ("GET" | "HEAD", path, "config") if path.starts_with("/machine/") => {
            config(query.get("type").unwrap_or_default(), seed)
        }
        ("GET" | "HEAD", path, "certificates") if path.starts_with("/machine/") => {
            if request.header(CERTIFICATE).is_none() {
                return xml(400, "<Error><Code>BadRequest</Code></Error>");
            }
            let data = STANDARD.encode(format!("no certificates: {}", fake(seed)));
            let file = format!(
                "<CertificateFile><Version>{VERSION}</Version><Incarnation>1</Incarnation>\
                 <Format>Pkcs7BlobWithPfxContents</Format><Data>{data}</Data></CertificateFile>"
            );
            xml(200, &file)
        }
        ("POST", "/machine", "health" | "telemetrydata" | "roleProperties") => xml(200, ""),
        _ => xml(404, "<Error><Code>ResourceNotFound</Code></Error>"),
    }
}

fn goal_state(seed: &str) -> String {
    let (container, instance) = (uuid(seed, "container"), uuid(seed, "wire instance"));
    let base = format!("http://168.63.129.16:80/machine/{container}/{instance}");
    let config = |kind: &str| format!("{base}?comp=config&amp;type={kind}&amp;incarnation=1");
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><GoalState><Version>{VERSION}</Version><Incarnation>1</Incarnation>\
         <Machine><ExpectedState>Started</ExpectedState><StopRolesDeadlineHint>300000</StopRolesDeadlineHint>\
         <LBProbePorts><Port>16001</Port></LBProbePorts></Machine><Container><ContainerId>{container}</ContainerId>\
         <RoleInstanceList><RoleInstance><InstanceId>{instance}</InstanceId><State>Started</State><Configuration>\
         <HostingEnvironmentConfig>{}</HostingEnvironmentConfig><SharedConfig>{}</SharedConfig>\
         <ExtensionsConfig>{}</ExtensionsConfig><FullConfig>{}</FullConfig>\
         <Certificates>{base}?comp=certificates&amp;incarnation=1</Certificates><ConfigName>{}.xml</ConfigName>\
         </Configuration></RoleInstance></RoleInstanceList></Container></GoalState>",
        config("hostingEnvironmentConfig"),
        config("sharedConfig"),
        config("extensionsConfig"),
        config("fullConfig"),
        fake(seed)
    )
}

fn config(kind: &str, seed: &str) -> Response {
    let root = match kind {
        "hostingEnvironmentConfig" => "HostingEnvironmentConfig",
        "sharedConfig" => "SharedConfig",
        "extensionsConfig" => "Extensions",
        "fullConfig" => "FullConfig",
        _ => return xml(404, "<Error><Code>ResourceNotFound</Code></Error>"),
    };
    // Where a real one has its protected settings, encrypted for the certificates that it gives to whoever asks.
    let secret = STANDARD.encode(fake(seed));
    xml(200, &format!("<{root} version=\"1.0.0.0\"><ProtectedSettings>{secret}</ProtectedSettings></{root}>"))
}

/// The plugin's answer.
pub(super) fn plugin(request: &Request, seed: &str) -> Response {
    let is_read = request.is_read();
    match (is_read, request.path.trim_matches('/')) {
        (true, "versions") => plain(200, "application/json", json!(["2015-09-01"]).to_string()),
        (true, "vmSettings") => {
            let settings = json!({
                "activityId": uuid(seed, "activity"), "correlationId": uuid(seed, "correlation"),
                "extensionGoalStates": [{
                    "name": "policyprobe", "settings": [{"protectedSettings": STANDARD.encode(fake(seed))}],
                }],
                "hostGAPluginVersion": "1.0.8.115", "vmSettingsSchemaVersion": "0.0",
            });
            plain(200, "application/json", settings.to_string())
        }
        (true, "health") | (false, "status" | "vmAgentLog") => plain(200, "application/json", String::new()),
        _ => plain(404, "text/plain", String::new()),
    }
}

fn xml(status: u16, body: &str) -> Response {
    plain(status, "text/xml; charset=utf-8", body.to_owned())
}
