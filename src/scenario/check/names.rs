//! The forms of names that the API server accepts (`k8s.io/apimachinery/pkg/util/validation`).

const LABEL_FORM: &str = "lower-case letters, digits and dashes, at most 63, with a letter or digit at both ends";

/// A DNS label (RFC 1123): the names of namespaces, and here of pods too.
pub(crate) fn dns_label(name: &str) -> Result<(), String> {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = name.as_bytes();
    let ends = [bytes.first(), bytes.last()].into_iter().all(|end| end.is_some_and(|c| inner(*c)));
    if ends && bytes.len() <= 63 && bytes.iter().all(|c| inner(*c) || *c == b'-') {
        Ok(())
    } else {
        Err(format!("`{name}` cannot be a name: {LABEL_FORM}"))
    }
}

/// A DNS subdomain: the names of most objects.
pub(crate) fn dns_subdomain(name: &str) -> Result<(), String> {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let part = |part: &str| {
        let bytes = part.as_bytes();
        [bytes.first(), bytes.last()].into_iter().all(|end| end.is_some_and(|c| inner(*c)))
            && bytes.iter().all(|c| inner(*c) || *c == b'-')
    };
    if name.len() <= 253 && name.split('.').all(part) {
        Ok(())
    } else {
        Err(format!("`{name}` cannot be a name: lower-case letters, digits, dashes and dots, at most 253"))
    }
}

/// A label's value.
pub(crate) fn label_value(value: &str) -> Result<(), String> {
    if value.is_empty() || word(value) {
        Ok(())
    } else {
        Err(format!(
            "`{value}` cannot be a label's value: at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at \
             both ends"
        ))
    }
}

/// A label's key, with or without a prefix.
pub(crate) fn label_key(key: &str) -> Result<(), String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if word(name) && prefix.is_none_or(|prefix| dns_subdomain(prefix).is_ok()) {
        Ok(())
    } else {
        Err(format!(
            "`{key}` cannot be a label's key: a name of at most 63 letters, digits, `-`, `_` and `.`, and in front of it \
             at most a domain and a `/`"
        ))
    }
}

/// A port's name (IANA service name).
pub(crate) fn port_name(name: &str) -> Result<(), String> {
    let form = name.len() <= 15
        && name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
        && name.bytes().any(|c| c.is_ascii_lowercase())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--");
    if form {
        Ok(())
    } else {
        Err(format!(
            "`{name}` cannot be a port's name: at most 15 lower-case letters, digits and single dashes, with a letter"
        ))
    }
}

fn word(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()].into_iter().all(|end| end.is_some_and(u8::is_ascii_alphanumeric));
    ends && bytes.len() <= 63 && bytes.iter().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        for good in ["a", "a-b", "0", "kubernetes"] {
            assert!(dns_label(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "ä", &"a".repeat(64)] {
            assert!(dns_label(bad).is_err(), "{bad}");
        }
        assert!(dns_subdomain("a.b-c.d").is_ok() && dns_subdomain("a..b").is_err() && dns_subdomain("").is_err());
    }

    #[test]
    fn label_keys_and_values() {
        for good in ["app", "kubernetes.io/metadata.name", "a_b", "A"] {
            assert!(label_key(good).is_ok(), "{good}");
        }
        for bad in ["", "/a", "a/", "a/b/c", "UP/a", "a b"] {
            assert!(label_key(bad).is_err(), "{bad}");
        }
        assert!(label_value("").is_ok() && label_value("Metadata-Accessor").is_ok());
        assert!(label_value("-x").is_err() && label_value("a b").is_err() && label_value(&"x".repeat(64)).is_err());
    }

    #[test]
    fn port_names() {
        assert!(port_name("http").is_ok() && port_name("p8080-tcp").is_ok());
        for bad in ["", "80", "a--b", "-a", "sixteen-letters-", "HTTP", "abcdefghijklmnop"] {
            assert!(port_name(bad).is_err(), "{bad}");
        }
    }
}
