//! Plain words that `kubectl` reads otherwise than they are meant. It still reads YAML 1.1, where `yes` is a boolean and
//! `010` is 8; whoever reads a manifest by YAML 1.2, as we do, sees texts.

use serde_json::Value;

use super::{
    Diagnostic,
    diagnostic::enough,
    document::{Document, Segment},
};

/// Adds a fault for each such word.
pub(super) fn check(document: &Document<'_>, faults: &mut Vec<Diagnostic>) {
    walk(document, &document.value, &mut Vec::new(), faults);
}

fn walk(document: &Document<'_>, value: &Value, path: &mut Vec<Segment>, faults: &mut Vec<Diagnostic>) {
    match value {
        _ if enough(faults) => {}
        Value::String(text) => {
            if let Some(kind) = kind(text).filter(|_| document.is_plain(path, text)) {
                let fault = document.error(path, format!("`kubectl` reads `{text}` as {kind}, and not as a text"));
                faults.push(fault.hint(format!("put it in quotes: \"{text}\"")));
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push(index.into());
                walk(document, item, path, faults);
                path.pop();
            }
        }
        Value::Object(fields) => {
            for (key, value) in fields {
                path.push(key.as_str().into());
                walk(document, value, path, faults);
                path.pop();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// What `sigs.k8s.io/yaml` makes of a plain word that is a text by YAML 1.2 (`resolve` in its `goyaml.v2`).
fn kind(text: &str) -> Option<&'static str> {
    const BOOLEANS: [&str; 16] =
        ["y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "n", "N", "no", "No", "NO", "off", "Off", "OFF"];
    if BOOLEANS.contains(&text) {
        return Some("a boolean");
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) {
        return None;
    }
    let plain = text.replace('_', "");
    let unsigned = plain.strip_prefix(['+', '-']).unwrap_or(&plain);
    let is_whole =
        ["0x", "0X", "0b", "0B", "0o", "0O", ""].iter().zip([16, 16, 2, 2, 8, 8, 10]).any(|(prefix, base)| {
            let digits = unsigned.strip_prefix(prefix).unwrap_or_default();
            !digits.is_empty() && digits.chars().all(|c| c.is_digit(base))
        });
    // Rust's numbers are those of Go's pattern, but for words such as `inf`.
    let is_number =
        || unsigned.chars().all(|c| c.is_ascii_digit() || ".eE+-".contains(c)) && unsigned.parse::<f64>().is_ok();
    (is_whole || is_number()).then_some("a number")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `kubectl` 1.34 showed them.
    #[test]
    fn words_are_what_kubectl_makes_of_them() {
        for word in ["yes", "no", "On", "OFF", "y", "N"] {
            assert_eq!(kind(word), Some("a boolean"), "{word}");
        }
        for word in ["010", "1_000", "0o10", "0b11", "09", "1_0.5", "-010", "0x_1", "0B11", "007", "+.5", "1e3"] {
            assert_eq!(kind(word), Some("a number"), "{word}");
        }
        for word in ["yEs", "oN", "1:30", "2024-01-01", "0o8", "1.2.3", "1e", "_1", "0x1g", "10.0.0.0/8", "-", "", "v1"]
        {
            assert_eq!(kind(word), None, "{word}");
        }
    }
}
