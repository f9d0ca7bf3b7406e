//! Files that people edit by hand, baselines and rules: read with every fault in them, each at its line and column, as
//! scenario files are.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    flat::LONGEST,
    roots::{ROOTS, unknown_root},
};
use crate::{
    input,
    scenario::{
        Diagnostic, Diagnostics, Severity,
        decode::decode,
        document::{Document, Segment, SourceFile, at_path, parse_within},
        nearest,
    },
};

/// The version of these files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum ApiVersion {
    /// The first.
    #[default]
    #[serde(rename = "policyprobe.io/v1")]
    V1,
}

/// A baseline of 5,000 nodes has some 12 MiB.
const LARGEST: u64 = 64 << 20;
/// And some 200,000 values.
const MOST_VALUES: usize = 2_000_000;

/// Reads a file of one kind. `check` finds what its type cannot say. Warnings come with the value.
pub(crate) fn read<T: DeserializeOwned>(
    path: &Path,
    kind: &str,
    schema: fn() -> Value,
    check: fn(&Document<'_>, &T, &mut Vec<Diagnostic>),
) -> Result<(T, Vec<Diagnostic>), Diagnostics> {
    let text = input::text(path, LARGEST).map_err(|error| {
        let fault = Diagnostic::error(path, error.to_string());
        match error.hint() {
            Some(hint) => fault.hint(hint),
            None => fault,
        }
    })?;
    let source = SourceFile::new(path, text);
    let mut documents = parse_within(&source, MOST_VALUES).map_err(Diagnostics)?;
    if documents.len() != 1 {
        let message = format!("a {kind} is one YAML document, and here are {}", documents.len());
        return Err(Diagnostic::error(path, message).into());
    }
    let document = documents.remove(0);
    let mut faults = Vec::new();
    let own = &document.value["kind"];
    if let Some(other) = own.as_str().filter(|own| *own != kind) {
        let fault = document.error(&at_path![[]; "kind"], format!("this is a {other}, and a {kind} is meant"));
        return Err(fault.hint("see that the right file is named by the right flag").into());
    }
    let value: Option<T> = decode(&document, schema, &mut faults);
    let sound = faults.is_empty();
    if let Some(value) = value.as_ref().filter(|_| sound) {
        check(&document, value, &mut faults);
    }
    let broken = faults.iter().any(|fault| fault.severity == Severity::Error);
    match value {
        Some(value) if !broken => Ok((value, faults)),
        _ => Err(Diagnostics(faults).tidy()),
    }
}

/// Finds fields and patterns that no node can have.
pub(crate) fn check_fields<'a>(
    document: &Document<'_>,
    path: &[Segment],
    fields: impl IntoIterator<Item = &'a String>,
    faults: &mut Vec<Diagnostic>,
) {
    for (index, field) in fields.into_iter().enumerate() {
        let place = at_path![path; index];
        if let Some(fault) = wrong_field(field) {
            faults.push(hinted(document.error(&place, fault.0), fault.1));
        }
    }
}

pub(crate) fn hinted(fault: Diagnostic, hint: String) -> Diagnostic {
    fault.hint(hint)
}

/// What is wrong with a field or a pattern, and what to do about it.
pub(crate) fn wrong_field(field: &str) -> Option<(String, String)> {
    let root = unknown_root(field)?;
    let message = format!("no node has a field `{field}`");
    let hint = match nearest(root, ROOTS) {
        Some(near) => format!("did you mean `{near}{}`?", &field[root.len()..]),
        None => {
            "fields are paths such as `metadata.labels[KEY]`, `spec.taints[KEY:EFFECT]` or `status.nodeInfo.bootID`; \
                 `policyprobe node inventory NODE` shows them"
                .to_owned()
        }
    };
    Some((message, hint))
}

/// What is wrong with a field's value.
pub(crate) fn wrong_value(field: &str, value: &str) -> Option<&'static str> {
    let is_cidr = |text: &str| text.parse::<ipnet::IpNet>().is_ok();
    let is_ip = |text: &str| text.parse::<std::net::IpAddr>().is_ok();
    let wrong = match field {
        "metadata.uid" => value.is_empty(),
        "spec.podCIDR" => !is_cidr(value),
        "spec.podCIDRs" => !value.split(", ").all(is_cidr),
        "spec.unschedulable" => !["true", "false"].contains(&value),
        "status.addresses[InternalIP]" | "status.addresses[ExternalIP]" => !value.split(", ").all(is_ip),
        _ if field.starts_with("status.conditions[") && field.ends_with("].status") => {
            !["True", "False", "Unknown"].contains(&value)
        }
        _ => value.len() > LONGEST,
    };
    wrong.then_some(match field {
        "metadata.uid" => "a UID is not empty",
        "spec.podCIDR" | "spec.podCIDRs" => "that is no CIDR such as 10.244.0.0/24",
        "spec.unschedulable" => "it is true or false",
        "status.addresses[InternalIP]" | "status.addresses[ExternalIP]" => "that is no IP address",
        _ if value.len() > LONGEST => "values of more than 1,024 bytes are written as their hash",
        _ => "a condition is True, False or Unknown",
    })
}

/// The schema of a kind of file, from its type.
pub(crate) fn schema_of<T: JsonSchema>(file: &str, title: &str) -> Value {
    let generator = schemars::generate::SchemaSettings::draft2020_12().into_generator();
    let mut schema: Value = generator.into_root_schema_for::<T>().into();
    schema["$id"] = json!(format!("{PUBLISHED}{file}"));
    schema["title"] = json!(title);
    schema
}

/// Where schemas are published.
pub(crate) const PUBLISHED: &str = "https://raw.githubusercontent.com/policyprobe/policyprobe/main/scenarios/";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{baseline, rules};

    #[test]
    fn the_published_schemas_are_not_stale() {
        for (name, schema) in [("node-rules", rules::json_schema()), ("node-baseline", baseline::json_schema())] {
            let path = format!("{}/scenarios/{name}.schema.json", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let published: Value = serde_json::from_str(&text).unwrap_or_default();
            assert!(published == schema, "policyprobe schema --of {name} > scenarios/{name}.schema.json");
        }
    }
}
