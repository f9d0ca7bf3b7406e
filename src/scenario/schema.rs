//! The published JSON Schema, from the model's types and what types alone cannot say.

use serde_json::{Value, json};

use super::Scenario;

/// Where the schema is published.
const ID: &str = "https://raw.githubusercontent.com/policyprobe/policyprobe/main/scenarios/schema.json";

/// The targets that a destination can have; it has exactly one.
pub(crate) const TARGETS: [&str; 8] = ["metadata", "pod", "service", "outside", "node", "dns", "apiserver", "kubelet"];

/// A name in Kubernetes: a DNS label.
const NAME: &str = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";

/// A source: `pod`, `namespace/pod`, `node/NODE`, `outside/NAME`; `namespace/*` and `*` stand for several pods.
const SOURCE: &str = r"^(node/(master|worker)|outside/[a-z0-9-]+|([a-z0-9-]+/)?([a-z0-9-]+|\*))$";

/// The JSON Schema of scenario files.
#[must_use]
pub fn json_schema() -> Value {
    let mut schema: Value =
        schemars::generate::SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Scenario>().into();
    schema["$id"] = json!(ID);
    schema["title"] = json!("policyprobe scenario");
    if let Some(definitions) = schema.get_mut("$defs").and_then(Value::as_object_mut) {
        if let Some(destination) = definitions.get_mut("Destination") {
            destination["oneOf"] = TARGETS.iter().map(|target| json!({"required": [target]})).collect();
        }
        for owner in ["PodSpec", "OutsideSpec", "ServiceSpec"] {
            set(definitions, owner, "/properties/name/pattern", &json!(NAME));
        }
        set(definitions, "PodSpec", "/properties/serviceAccount/pattern", &json!(NAME));
        for list in ["allow", "deny", "silent", "refused", "record"] {
            for end in ["from", "to"] {
                set(definitions, "MatrixRule", &format!("/properties/{end}/items/pattern"), &json!(SOURCE));
            }
            set(definitions, "Expect", &format!("/properties/{list}/items/pattern"), &json!(SOURCE));
        }
        set(definitions, "StatusExpect", "/properties/from/items/pattern", &json!(SOURCE));
        set(definitions, "ServiceSpec", "/properties/port/minimum", &json!(1));
    }
    let shared = shared(&schema);
    // A file holds one scenario, or a shared part, scenarios and manifests, each a document.
    let mut documents = schema.clone();
    if let Some(root) = schema.as_object_mut() {
        root.retain(|key, _| ["$schema", "$id", "$defs", "title"].contains(&key.as_str()));
    }
    if let Some(scenario) = documents.as_object_mut() {
        scenario.retain(|key, _| !["$schema", "$id", "$defs", "title"].contains(&key.as_str()));
    }
    schema["$defs"]["Scenario"] = documents;
    schema["anyOf"] = json!([
        {"$ref": "#/$defs/Scenario"},
        {
            "type": "object",
            "description": "What all scenarios of the file have in common. It comes first.",
            "properties": {"shared": shared},
            "required": ["shared"],
            "additionalProperties": false,
        },
        {
            "type": "object",
            "description": "A Kubernetes object that scenarios of the file apply, as `#NAME`.",
            "required": ["apiVersion", "kind", "metadata"],
        },
    ]);
    schema
}

/// The schema of what scenarios share: some of their fields, and the file that it is from.
fn shared(scenario: &Value) -> Value {
    let mut properties = scenario["properties"].clone();
    if let Some(properties) = properties.as_object_mut() {
        properties.retain(|key, _| !["id", "title", "says"].contains(&key.as_str()));
        let from = json!({"type": "string", "description": "Another file whose first document is `shared`: it is taken over too."});
        properties.insert("from".to_owned(), from);
    }
    json!({"type": "object", "properties": properties, "additionalProperties": false})
}

/// Sets one keyword of a definition; `at` ends in the keyword.
fn set(definitions: &mut serde_json::Map<String, Value>, owner: &str, at: &str, value: &Value) {
    let (parent, keyword) = at.rsplit_once('/').unwrap_or(("", at));
    if let Some(object) = definitions.get_mut(owner).and_then(|owner| owner.pointer_mut(parent)) {
        object[keyword] = value.clone();
    }
}
