//! The parameters of a request, decoded.

/// Names and values, in order.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(query: &str) -> Self {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(k, v)| (decode(k), decode(v))).collect(),
        )
    }

    /// The last value of that name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The last value of that name, if it is not empty.
    pub(super) fn some(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// Whether it is one of the words for yes, in any case.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| ["true", "on", "yes", "1"].iter().any(|yes| value.eq_ignore_ascii_case(yes)))
    }

    /// Whether a name occurs more than once, in any case.
    pub(super) fn has_duplicates(&self) -> bool {
        let names = || self.0.iter().map(|(name, _)| name);
        names().enumerate().any(|(index, name)| names().take(index).any(|other| other.eq_ignore_ascii_case(name)))
    }
}

/// Undoes percent and plus encoding. What is no valid encoding stays as it is.
pub(super) fn decode(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    let hex = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    while let [first, tail @ ..] = rest {
        let (byte, left) = match (first, tail) {
            (b'+', _) => (b' ', tail),
            (b'%', [high, low, left @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, left),
                _ => (b'%', tail),
            },
            _ => (*first, tail),
        };
        bytes.push(byte);
        rest = left;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_duplicates_noticed() {
        let query = Query::parse("a=1%2F+x&b&c=TRUE&%zz=%4");
        assert_eq!((query.get("a"), query.get("b"), query.get("%zz")), (Some("1/ x"), Some(""), Some("%4")));
        assert!(query.is_set("c") && !query.is_set("a") && !query.has_duplicates() && query.some("b").is_none());
        assert!(Query::parse("a=1&b=2&A=3").has_duplicates());
    }
}
