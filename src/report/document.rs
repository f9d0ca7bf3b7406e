//! Commands as the document writes them: a prompt, `kubectl`, and a `curl` without the flags that only make a probe safe.

use crate::scenario::{DEFAULT_NAMESPACE, LabelAction};

/// The request that the harness made, as somebody on the master would type it. The flags that keep `curl` from reading
/// proxies and files, and the nonce, are left out: they change nothing of what is asked.
pub(crate) fn command(from: &str, literal: &str) -> String {
    let request = request(literal).unwrap_or_else(|| literal.to_owned());
    match from.split_once('/') {
        Some(("node" | "outside", name)) => format!("{} {request}", prompt(name)),
        Some((namespace, pod)) => format!("{} kubectl exec -n {namespace} {pod} -- {request}", prompt(MASTER)),
        None => format!("{} kubectl exec {from} -- {request}", prompt(MASTER)),
    }
}

/// A command on the master.
pub(crate) fn on_master(command: &str) -> String {
    format!("{} {command}", prompt(MASTER))
}

/// A change of labels, as `kubectl` takes it.
pub(crate) fn label(action: &LabelAction) -> String {
    let object = match (&action.pod, &action.namespace) {
        (Some(pod), _) => match pod.split_once('/') {
            Some((DEFAULT_NAMESPACE, name)) => format!("pod {name}"),
            Some((namespace, name)) => format!("-n {namespace} pod {name}"),
            None => format!("pod {pod}"),
        },
        (None, namespace) => format!("namespace {}", namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE)),
    };
    let set = action.set.iter().map(|(key, value)| format!(" {key}={value}"));
    let remove = action.remove.iter().map(|key| format!(" {key}-"));
    format!("kubectl label {object}{}", set.chain(remove).collect::<String>())
}

const MASTER: &str = "master";

fn prompt(host: &str) -> String {
    format!("root@{host}:~#")
}

/// The URL and the headers of a literal `curl` command, in the document's own order and quotes.
fn request(literal: &str) -> Option<String> {
    let words = split(literal)?;
    let start = words.iter().position(|word| word == "curl")?;
    let url = words[start..].iter().find(|word| word.starts_with("http://") || word.starts_with("https://"))?;
    let mut text = format!("curl \"{url}\"");
    for pair in words[start..].windows(2) {
        if matches!(pair[0].as_str(), "-H" | "--header") && !pair[1].starts_with(crate::http::NONCE) {
            text.push_str(" -H \"");
            text.push_str(&pair[1]);
            text.push('"');
        }
    }
    Some(text)
}

/// The words of a shell command line; none where its quotes do not end.
fn split(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut signs = line.chars();
    while let Some(sign) = signs.next() {
        match (quote, sign) {
            (Some(open), _) if sign == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(sign);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().push(signs.next()?),
            (None, _) if sign.is_whitespace() => words.extend(word.take()),
            (_, _) => word.get_or_insert_default().push(sign),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Labels;

    const LITERAL: &str = "curl -q --noproxy '*' --connect-timeout 0.1 -H 'Metadata-Flavor: Google' \
        -H 'Policyprobe-Nonce: 17' 'http://metadata.google.internal/computeMetadata/v1/instance/image'";
    const DOCUMENT: &str =
        "curl \"http://metadata.google.internal/computeMetadata/v1/instance/image\" -H \"Metadata-Flavor: Google\"";

    #[test]
    fn a_request_as_the_document_writes_it() {
        assert_eq!(command("node/master", LITERAL), format!("root@master:~# {DOCUMENT}"));
        assert_eq!(command("app1", LITERAL), format!("root@master:~# kubectl exec app1 -- {DOCUMENT}"));
        let exec = format!("kubectl exec -n team app1 -- {LITERAL}");
        assert_eq!(command("team/app1", &exec), format!("root@master:~# kubectl exec -n team app1 -- {DOCUMENT}"));
    }

    #[test]
    fn what_is_no_request_stays_as_it_is() {
        assert_eq!(command("node/master", "getent hosts 'web"), "root@master:~# getent hosts 'web");
    }

    #[test]
    fn labels() {
        let set = Labels::from([("role".to_owned(), "metadata-accessor".to_owned())]);
        let action = LabelAction { pod: Some("app1".into()), namespace: None, set, remove: vec!["app".into()] };
        assert_eq!(label(&action), "kubectl label pod app1 role=metadata-accessor app-");
        let action = LabelAction { pod: None, namespace: Some("team".into()), ..action };
        assert_eq!(label(&action), "kubectl label namespace team role=metadata-accessor app-");
    }

    #[test]
    fn shell_words() {
        assert_eq!(split(r#"a 'b c' "d\"e" '' f\ g"#).unwrap_or_default(), ["a", "b c", "d\"e", "", "f g"]);
        assert_eq!(split("'open"), None);
    }
}
