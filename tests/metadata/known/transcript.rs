//! Reading transcripts, and comparing answers with them.

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

/// One known answer.
#[derive(Debug, Default)]
pub(super) struct Transcript<'a> {
    pub(super) title: &'a str,
    /// The server's cloud and flags.
    pub(super) server: &'a str,
    /// The request's bytes.
    pub(super) request: String,
    head: Vec<&'a str>,
    absent: Vec<&'a str>,
    body: Option<String>,
    facts: Vec<&'a str>,
}

/// What came back.
pub(super) struct Answer {
    /// The status line and the headers.
    pub(super) head: String,
    pub(super) body: String,
}

impl<'a> Transcript<'a> {
    /// All of a file.
    pub(super) fn read(text: &'a str) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        // The first line says what the file is.
        for line in text.lines().skip(1).filter(|line| !line.is_empty()) {
            let (mark, rest) = line.split_at(1);
            let rest = rest.strip_prefix(' ').unwrap_or(rest);
            if mark == "#" {
                all.push(Self { title: rest, ..Self::default() });
                continue;
            }
            let known = all.last_mut().expect("a title comes first");
            match mark {
                "$" => known.server = rest,
                ">" => known.request.extend([rest, "\r\n"]),
                "<" => known.head.push(rest),
                "!" => known.absent.push(rest),
                "|" => {
                    known.body = Some(match known.body.take() {
                        Some(body) => body + "\n" + rest,
                        None => rest.to_owned(),
                    });
                }
                "=" => known.facts.push(rest),
                _ => panic!("a line begins with none of # $ > < ! | =: {line}"),
            }
        }
        for known in &mut all {
            assert!(!known.server.is_empty() && !known.head.is_empty(), "`{}` is not whole", known.title);
            known.request.push_str("\r\n");
        }
        all
    }

    /// Whether this is the answer; what is different, if it is not.
    pub(super) fn check(&self, answer: &Answer) -> Result<(), String> {
        let lines: Vec<_> = answer.head.split("\r\n").collect();
        let ensure = |is_so: bool, what: String| if is_so { Ok(()) } else { Err(what) };
        ensure(is_head(&self.head, &lines), format!("the head must be {:#?}", self.head))?;
        for name in &self.absent {
            let has = |line: &&str| line.split(':').next().is_some_and(|own| own.eq_ignore_ascii_case(name));
            ensure(!lines.iter().any(has), format!("there must be no `{name}`"))?;
        }
        let Answer { body, .. } = answer;
        if let Some(known) = &self.body {
            ensure(is_like(known, body), format!("the body must be {known:?}, and is {body:?}"))?;
        }
        for fact in &self.facts {
            let (what, value) = fact.split_once(' ').expect("a fact has a value");
            let is_so = match what {
                "length" => body.len().to_string() == value,
                "holds" => body.contains(value),
                "keys" => keys(body) == value.split(' ').collect::<Vec<_>>(),
                _ => panic!("there is no fact `{what}`"),
            };
            ensure(is_so, format!("the body must be so: {fact}; it is {body:?}"))?;
        }
        Ok(())
    }
}

/// Whether lines are those that are known, where `...` stands for any number of them.
fn is_head(known: &[&str], lines: &[&str]) -> bool {
    match (known, lines) {
        ([], []) => true,
        (["...", rest @ ..], _) => (0..=lines.len()).any(|skipped| is_head(rest, &lines[skipped..])),
        ([first, known @ ..], [line, lines @ ..]) => is_like(first, line) && is_head(known, lines),
        _ => false,
    }
}

/// Whether a text is like a pattern, in which `*` stands for anything.
fn is_like(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            (0..=text.len()).filter(|at| text.is_char_boundary(*at)).any(|at| is_like(rest, &text[at..]))
        }),
    }
}

/// The keys of a JSON object in their order; none of anything else.
fn keys(json: &str) -> Vec<String> {
    struct Keys;
    impl<'de> Visitor<'de> for Keys {
        type Value = Vec<String>;

        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut keys = Vec::new();
            while let Some((key, IgnoredAny)) = map.next_entry()? {
                keys.push(key);
            }
            Ok(keys)
        }
    }
    serde_json::Deserializer::from_str(json).deserialize_map(Keys).unwrap_or_default()
}

#[test]
fn a_transcript_tells_right_answers_from_wrong_ones() {
    let text = "what this is\n# a value\n$ aws --imds v1\n> GET / HTTP/1.1\n< HTTP/1.1 200 OK\n< ...\n< Server: E*\n! ETag\n\
                | {\"b\":1,\n| \"a\":*}\n= keys b a\n= length 14\n";
    let all = Transcript::read(text);
    let [known] = &all[..] else { panic!("{all:?}") };
    assert_eq!((known.server, known.request.as_str()), ("aws --imds v1", "GET / HTTP/1.1\r\n\r\n"));
    let is_right = |head: &str, body: &str| {
        known.check(&Answer { head: format!("HTTP/1.1 {head}"), body: body.to_owned() }).is_ok()
    };
    let body = "{\"b\":1,\n\"a\":2}";
    assert!(is_right("200 OK\r\nServer: E", body) && is_right("200 OK\r\nDate: x\r\nServer: EC2ws", body));
    for head in [
        "404 OK\r\nServer: E",
        "200 OK\r\nServer: x",
        "200 OK\r\nServer: E\r\nDate: x",
        "200 OK\r\netag: x\r\nServer: E",
    ] {
        assert!(!is_right(head, body), "{head:?}");
    }
    for body in ["", "{\"a\":1,\n\"b\":2}", "{\"b\":1,\n\"a\":23}", "{\"b\":1,\r\"a\":2}"] {
        assert!(!is_right("200 OK\r\nServer: E", body), "{body:?}");
    }
}
