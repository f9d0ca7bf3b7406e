//! Azure's instance metadata service (IMDS), and behind another address the `WireServer`.
//!
//! Statuses and bodies follow captures and Azure's documentation. Where none is known, a comment says so.

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

use serde_json::{Value, json};

use super::{
    Definition, LINK_LOCAL, Options, WIRESERVER, azure_data, azure_wireserver,
    clock::{http_date, slashed, unix_time},
    fake::{jwt, uuid},
    on,
    query::Query,
};
use crate::http::{Handler, Reply, Request, Response};

/// Azure's servers.
pub(super) static DEFINITION: Definition = Definition {
    name: "azure",
    title: "Azure",
    hosts: &[],
    endpoints: &[on(LINK_LOCAL, 80), on(WIRESERVER, 80), on(WIRESERVER, azure_wireserver::PLUGIN_PORT)],
    headers: &[("Metadata", "true")],
    path: "/metadata/instance/compute/location?api-version=2021-02-01&format=text",
    server: |options| Box::new(Azure::new(options)),
};

const SERVER: &str = "IMDS/150.870.65.1854";
const JSON: &str = "application/json; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

const NO_HEADER: &str = r#"{ "error": "Bad request: . Required metadata header not specified" }"#;
/// The newest versions that the refusal names. That it has these spaces is not known.
const NO_VERSION: &str = r#"{ "error": "Bad request. api-version is invalid or was not specified in the request. For more information refer to aka.ms/azureimds", "newest-versions": [ "2025-04-07", "2024-07-17", "2024-03-15" ] }"#;
const NOT_FOUND: &str = r#"{ "error": "Not found" }"#;

struct Azure {
    instance: Value,
    seed: String,
    /// Whether the machine has a managed identity.
    has_identity: bool,
    events: Mutex<Events>,
}

/// The scheduled events, such as a reboot.
struct Events {
    incarnation: u64,
    events: Vec<Value>,
}

impl Azure {
    fn new(options: &Options) -> Self {
        let events = Events { incarnation: 1, events: Vec::new() };
        Self {
            instance: azure_data::instance(&options.seed),
            seed: options.seed.clone(),
            has_identity: !options.bare,
            events: events.into(),
        }
    }

    fn imds(&self, request: &Request) -> Response {
        let query = Query::parse(&request.query);
        let names: Vec<_> = request.path.split('/').filter(|name| !name.is_empty()).collect();
        let is_identity = names.starts_with(&["metadata", "identity"]);
        if !request.header("Metadata").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return if is_identity {
                invalid("Required metadata header not specified")
            } else {
                answer(400, NO_HEADER)
            };
        }
        // That these two are refused is documented; status and words are not.
        if request.header("X-Forwarded-For").is_some() {
            return refused(is_identity, "Bad request. X-Forwarded-For is not allowed");
        }
        if query.has_duplicates() {
            return refused(is_identity, "Bad request. Query parameter names must be unique");
        }
        let is_post = request.method == "POST" && names[..] == ["metadata", "scheduledevents"];
        if !is_post && !request.is_read() {
            return answer(405, r#"{ "error": "Method not allowed" }"#);
        }
        let ["metadata", endpoint, rest @ ..] = &names[..] else { return answer(404, NOT_FOUND) };
        let version = query.get("api-version").unwrap_or_default();
        match (*endpoint, rest) {
            ("versions", []) => json_answer(&json!({ "apiVersions": azure_data::VERSIONS })),
            ("identity", rest) => self.identity(rest, version, &query),
            ("scheduledevents", []) if azure_data::EVENT_VERSIONS.contains(&version) => self.scheduled(request),
            ("instance" | "attested" | "loadbalancer" | "scheduledevents" | "reprovisiondata", _)
                if !azure_data::VERSIONS.contains(&version) =>
            {
                answer(400, NO_VERSION)
            }
            ("instance", rest) => self.instance(rest, version, &query),
            ("attested", ["document"]) => {
                json_answer(&azure_data::attested(&self.seed, query.get("nonce").unwrap_or_default(), &dates()))
            }
            ("loadbalancer", []) => json_answer(&azure_data::load_balancer()),
            _ => answer(404, NOT_FOUND),
        }
    }

    fn instance(&self, names: &[&str], version: &str, query: &Query) -> Response {
        let mut instance = self.instance.clone();
        if version < azure_data::FIRST_WITH_USER_DATA
            && let Some(compute) = instance["compute"].as_object_mut()
        {
            compute.remove("userData");
        }
        let pointer = names.iter().fold(String::new(), |path, name| path + "/" + &name.replace('~', "~0"));
        let Some(value) = instance.pointer(&pointer) else { return answer(404, NOT_FOUND) };
        match (query.get("format"), value) {
            (Some(format), Value::String(text)) if format.eq_ignore_ascii_case("text") => with_id(TEXT, text.clone()),
            // How a real server lists what is below is not known.
            (Some(format), value) if format.eq_ignore_ascii_case("text") => with_id(TEXT, listing(value)),
            // That this is refused is documented; the words are not.
            (_, Value::String(_)) => answer(400, r#"{ "error": "Bad request. Values are served as text alone" }"#),
            (_, value) => with_id(JSON, value.to_string()),
        }
    }

    fn identity(&self, names: &[&str], version: &str, query: &Query) -> Response {
        if !matches!(names, ["oauth2", "token"] | ["info"]) {
            return plain(404, JSON, r#"{"error":"Not Found"}"#.to_owned());
        }
        // The words of this refusal are inferred from those about `resource`.
        if !azure_data::VERSIONS.contains(&version) {
            return invalid("Required query variable 'api-version' is missing");
        }
        if names == ["info"] {
            return json_answer(&json!({ "tenantId": uuid(&self.seed, "tenant") }));
        }
        let Some(resource) = query.some("resource") else {
            return invalid("Required query variable 'resource' is missing");
        };
        let client = uuid(&self.seed, "client");
        let ours = [
            ("client_id", client.clone()),
            ("object_id", uuid(&self.seed, "object")),
            ("principal_id", uuid(&self.seed, "object")),
            ("msi_res_id", azure_data::IDENTITY.to_owned()),
            ("mi_res_id", azure_data::IDENTITY.to_owned()),
        ];
        let is_other =
            |(name, ours): &(&str, String)| query.some(name).is_some_and(|asked| !asked.eq_ignore_ascii_case(ours));
        if !self.has_identity || ours.iter().any(is_other) {
            return invalid("Identity not found");
        }
        let now = unix_time();
        let claims = json!({
            "aud": resource, "appid": client, "exp": now + 86_400, "nbf": now, "tid": uuid(&self.seed, "tenant"),
        });
        // Numbers are strings, as in Azure's own.
        let token = json!({
            "access_token": jwt(&self.seed, claims), "client_id": client, "expires_in": "86399",
            "expires_on": (now + 86_399).to_string(), "ext_expires_in": "86399", "not_before": now.to_string(),
            "resource": resource, "token_type": "Bearer",
        });
        json_answer(&token)
    }

    /// What will happen to the machine. Whoever asks can also agree to it, a pod too.
    fn scheduled(&self, request: &Request) -> Response {
        let mut state = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if request.method != "POST" {
            return json_answer(&json!({ "DocumentIncarnation": state.incarnation, "Events": state.events }));
        }
        let Ok(body) = serde_json::from_slice::<Value>(&request.body) else {
            return answer(400, r#"{ "error": "Bad request. The body is no JSON" }"#);
        };
        let asked =
            body["StartRequests"].as_array().into_iter().flatten().filter_map(|start| start["EventId"].as_str());
        let asked: Vec<_> = asked.map(str::to_owned).collect();
        let Events { incarnation, events } = &mut *state;
        for event in events.iter_mut().filter(|event| asked.iter().any(|id| event["EventId"] == id.as_str())) {
            event["EventStatus"] = "Started".into();
            *incarnation += 1;
        }
        plain(200, JSON, String::new())
    }
}

impl Handler for Azure {
    fn answer(&self, request: &Request) -> Reply {
        let answer = match service(request.local, &request.path, &request.query) {
            Service::Imds => self.imds(request),
            Service::Wire => azure_wireserver::wire(request, &self.seed),
            Service::Plugin => azure_wireserver::plugin(request, &self.seed),
        };
        answer.into()
    }

    /// Takes a list of scheduled events as JSON.
    fn set(&self, path: &str, value: &str) -> Result<(), String> {
        if path != "/metadata/scheduledevents" {
            return Err("only /metadata/scheduledevents can be changed".to_owned());
        }
        let events = serde_json::from_str(value).map_err(|error| format!("no list of events: {error}"))?;
        let mut state = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        *state = Events { incarnation: state.incarnation + 1, events };
        Ok(())
    }
}

/// Which of Azure's servers is asked.
#[derive(Debug, PartialEq, Eq)]
enum Service {
    Imds,
    Wire,
    Plugin,
}

/// By the address, where it is one of Azure's; elsewhere by the path, since they have none in common.
fn service(local: SocketAddr, path: &str, query: &str) -> Service {
    let is_plugin = || azure_wireserver::PLUGIN_PATHS.contains(&path.trim_matches('/'));
    match (local.ip().to_canonical(), local.port()) {
        (LINK_LOCAL, _) => Service::Imds,
        (WIRESERVER, azure_wireserver::PLUGIN_PORT) => Service::Plugin,
        (WIRESERVER, _) => Service::Wire,
        _ if path.starts_with("/machine") || path == "/" && query.starts_with("comp=") => Service::Wire,
        _ if is_plugin() => Service::Plugin,
        _ => Service::Imds,
    }
}

/// When an attested document begins and ends.
fn dates() -> [String; 2] {
    let now = unix_time();
    [slashed(now), slashed(now + 6 * 3600)]
}

fn listing(value: &Value) -> String {
    let name = |name: String, value: &Value| if value.is_string() { name } else { name + "/" };
    let names: Vec<_> = match value {
        Value::Object(entries) => entries.iter().map(|(key, value)| name(key.clone(), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(index, value)| name(index.to_string(), value)).collect(),
        _ => Vec::new(),
    };
    names.join("\n")
}

fn json_answer(value: &Value) -> Response {
    plain(200, JSON, value.to_string())
}

fn answer(status: u16, body: &str) -> Response {
    Response { status, ..with_id(JSON, body.to_owned()) }
}

fn invalid(description: &str) -> Response {
    plain(400, JSON, format!(r#"{{"error":"invalid_request","error_description":"{description}"}}"#))
}

fn refused(is_identity: bool, words: &str) -> Response {
    if is_identity { invalid(words) } else { answer(400, &format!(r#"{{ "error": "{words}" }}"#)) }
}

/// With the id of the request, as the answers about the instance have it.
fn with_id(content_type: &str, body: String) -> Response {
    let mut response = plain(200, content_type, body);
    let id = uuid(&http_date(), &response.body.len().to_string());
    response.headers.insert(2, ("x-ms-request-id", id));
    response
}

fn plain(status: u16, content_type: &str, body: String) -> Response {
    let (date, length) = (http_date(), body.len().to_string());
    let headers =
        [("Content-Type", content_type), ("Server", SERVER), ("Date", date.as_str()), ("Content-Length", &length)];
    Response::with(status, &headers, body)
}

#[cfg(test)]
#[path = "azure_test.rs"]
mod tests;
