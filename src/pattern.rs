//! Patterns over ids, fields, users and managers: `*` stands for any characters, everything else for itself.

/// Whether a pattern matches the whole of a text.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return text.ends_with(part);
        }
        // The first place is as good as any later one: more of the text is left for the parts behind it.
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    true
}

/// Whether one of the patterns matches.
pub fn any<'a>(patterns: impl IntoIterator<Item = &'a String>, text: &str) -> bool {
    patterns.into_iter().any(|pattern| matches(pattern, text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        assert!(matches("spec.taints*", "spec.taints[a:NoSchedule]"));
        assert!(matches("metadata.labels[*/role]", "metadata.labels[example.com/role]"));
        assert!(matches("*", "") && matches("a*a", "aa") && matches("a*b*c", "a-b-b-c"));
        assert!(matches("*c", "abc") && matches("a*c", "ac") && !matches("a*", "b") && !matches("*c", "cd"));
        assert!(!matches("", "a") && !matches("a*b*c", "acb") && matches("a", "a") && !matches("a", "ab"));
        assert!(!matches("a*a", "a") && !matches("spec", "spec.x") && !matches("a*b*c", "a-c-b"));
    }

    /// The same by trying every split.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|skip| naive(rest, &text[skip..])),
            Some((byte, rest)) => text.split_first().is_some_and(|(first, text)| first == byte && naive(rest, text)),
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab*]{0,7}", text in "[ab]{0,9}") {
            prop_assert_eq!(matches(&pattern, &text), naive(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
