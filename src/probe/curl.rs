//! The configuration of one `curl` process for a whole batch, and the command that a person would type.
//!
//! Pure: starting the process is a [`CurlHost`](super::CurlHost)'s business, and reading what it says that of `output`.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use super::{Proof, Request, Target, agent::by_hand, direct::ANSWER_LIMIT, netexec, output::MARK};
use crate::{
    http,
    scenario::{Credential, Family},
};

/// What a shell passes over, and a person should know.
const STAYS: &str = "  # but over one connection that stays open";

/// `--parallel-max` of curl 7 is capped at 300; a longer batch is split.
pub const MAX_BATCH: usize = 250;

/// The oldest curl that has `%header{}` in `--write-out`, and the rest of what is used here.
pub const OLDEST_CURL: (u32, u32) = (7, 84);

/// The header with the token of a pod's service account, as it is in a file of the pod: a token is in no command line, in
/// no configuration and in no report.
pub(crate) const AUTHORIZATION: &str = "/pp/authorization";

/// The certificate and the key of a node's kubelet, in one file of the node, where kubeadm and kind have it.
const KUBELET: &str = "/var/lib/kubelet/pki/kubelet-client-current.pem";

/// What a merge patch is sent as.
const PATCH: &str = "Content-Type: application/merge-patch+json";

/// No interface has this name: curl resolves the host, fails to bind, and sends nothing (exit code 45).
const NO_INTERFACE: &str = "if!policyprobe-none";

/// The configuration for a batch of at most [`MAX_BATCH`] requests, whose lines carry indices from `first`.
#[must_use]
pub fn config(batch: &[Request], first: usize) -> String {
    let mut text = format!("parallel\nparallel-immediate\nparallel-max = {}\nno-progress-meter\n", batch.len().max(1));
    for (index, request) in (first..).zip(batch) {
        if index > first {
            text.push_str("next\n");
        }
        output(&mut text, request);
        // Only the messages tell a refusal from an unreachable host; they go where the lines go.
        text.push_str("verbose\n");
        option(&mut text, "stderr", "-");
        transfer(&mut text, request, index, "");
    }
    text
}

/// The configuration for requests made one after the other, `every` after the one before.
#[must_use]
pub fn watch_config(batch: &[Request], every: Duration) -> String {
    let rate = (1.0 / every.as_secs_f64().max(0.001)).ceil();
    let mut text = format!("no-progress-meter\nrate = {rate}/s\n");
    for (index, request) in batch.iter().enumerate() {
        if index > 0 {
            text.push_str("next\n");
        }
        output(&mut text, request);
        // A connection that is used again would prove nothing about new ones.
        option(&mut text, "header", "Connection: close");
        text.push_str("http1.1\n");
        // Errors are not buffered: an answer is known of when it comes, and not when the process ends.
        transfer(&mut text, request, index, "%{stderr}");
    }
    text
}

/// The configuration for one request whose body goes to the output, before the line.
#[must_use]
pub fn fetch_config(request: &Request) -> String {
    let mut text = "no-progress-meter\nmax-filesize = 1048576\n".to_owned();
    transfer(&mut text, request, 0, "");
    text
}

/// The command that a person would type for a request.
#[must_use]
pub fn command(request: &Request) -> String {
    let limit = seconds(request.connect_limit);
    let text = match &request.target {
        Target::Http { method, tls, headers, family, credential, patch, .. } => {
            let mut text = format!("curl -q --noproxy '*' --connect-timeout {limit}");
            if !method.is_get() {
                let _ = write!(text, " -X {}", method.as_str());
            }
            if *tls {
                text.push_str(" -k");
            }
            if *family == Family::Ipv6 {
                text.push_str(" -6");
            }
            if let Some(port) = request.source_port {
                let _ = write!(text, " --local-port {port}");
            }
            for (name, value) in headers {
                let _ = write!(text, " -H {}", quoted(&format!("{name}: {value}")));
            }
            match credential {
                Some(Credential::Token) => text.extend([" -H @", AUTHORIZATION]),
                Some(Credential::Node) => text.extend([" --cert ", KUBELET]),
                None => {}
            }
            if let Some(patch) = patch {
                let _ = write!(text, " -X PATCH -H {} -d {}", quoted(PATCH), quoted(patch));
            }
            let _ = write!(text, " {}", quoted(&url(&request.target, None)));
            text
        }
        Target::Resolve { name, .. } => {
            format!("curl -q --noproxy '*' --connect-timeout {limit} --interface '{NO_INTERFACE}' {}", quoted(name))
        }
        Target::Udp { host, port, family } => by_hand(host, *port, *family, request),
    };
    if request.keep.is_some() { text + STAYS } else { text }
}

fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=[]".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Where the body goes: nowhere, or to where it is read for its proof, as soon as it is there.
fn output(text: &mut String, request: &Request) {
    if matches!(&request.target, Target::Http { proof: Proof::Netexec, .. }) {
        text.push_str("no-buffer\nmax-filesize = 65536\n");
        option(text, "output", "-");
    } else {
        option(text, "output", "/dev/null");
    }
}

/// One request's options; `to` says where its line goes, if not to the output.
fn transfer(text: &mut String, request: &Request, index: usize, to: &str) {
    option(text, "url", &url(&request.target, Some(&request.nonce)));
    option(text, "noproxy", "*");
    option(text, "connect-timeout", &seconds(connect_timeout(request)));
    option(text, "max-time", &seconds(whole_timeout(request)));
    if let Some(port) = request.source_port {
        let _ = writeln!(text, "local-port = {port}");
    }
    let (family, nonce_header) = match &request.target {
        Target::Http { method, tls, headers, family, proof, credential, patch, .. } => {
            if !method.is_get() {
                option(text, "request", method.as_str());
            }
            if *tls {
                text.push_str("insecure\n");
            }
            for (name, value) in headers {
                option(text, "header", &format!("{name}: {value}"));
            }
            match credential {
                Some(Credential::Token) => option(text, "header", &format!("@{AUTHORIZATION}")),
                Some(Credential::Node) => option(text, "cert", KUBELET),
                None => {}
            }
            if let Some(patch) = patch {
                option(text, "request", "PATCH");
                option(text, "header", PATCH);
                option(text, "data-raw", patch);
            }
            let nonce_header = match proof {
                Proof::Header(name) => name.as_str(),
                Proof::Netexec | Proof::Nothing => http::NONCE,
            };
            option(text, "header", &format!("{nonce_header}: {}", request.nonce));
            (*family, nonce_header)
        }
        Target::Resolve { family, .. } => {
            option(text, "interface", NO_INTERFACE);
            (*family, http::NONCE)
        }
        Target::Udp { family, .. } => (*family, http::NONCE),
    };
    // An IPv6 address may stand for an IPv4 one.
    let is_v6 = family == Family::Ipv6 || request.target.host().parse::<Ipv6Addr>().is_ok();
    text.push_str(if is_v6 { "ipv6\n" } else { "ipv4\n" });
    option(text, "write-out", &format!("{to}\n{}\n", line(index, nonce_header)));
}

/// What curl writes when a transfer is over.
fn line(index: usize, nonce_header: &str) -> String {
    let fields = [
        "%{exitcode}",
        "%{http_code}",
        "%{num_connects}",
        "%{time_namelookup}",
        "%{time_connect}",
        "%{time_total}",
        "%{remote_ip}",
        &format!("%header{{{nonce_header}}}"),
        &format!("%header{{{}}}", http::SERVER),
        &format!("%header{{{}}}", http::CLIENT),
        "%{errormsg}",
    ];
    format!("{MARK}{index}|{}", fields.join("|"))
}

/// A request as the words of a command that writes its one line, for a script; the header that carries the nonce is to be
/// added. None where it needs more than that.
pub(super) fn words(request: &Request) -> Option<(Vec<String>, &str)> {
    let Target::Http { headers, family, proof: Proof::Header(nonce_header), .. } = &request.target else { return None };
    let limit = connect_timeout(request);
    let mut words: Vec<String> =
        ["curl", "-q", "-s", "-g", "--noproxy", "*", "-o", "/dev/null"].map(str::to_owned).into();
    words.extend([
        "--connect-timeout".to_owned(),
        seconds(limit),
        "--max-time".to_owned(),
        seconds(whole_timeout(request)),
    ]);
    words.push(if *family == Family::Ipv6 { "-6" } else { "-4" }.to_owned());
    words.extend(["-w".to_owned(), line(0, nonce_header)]);
    words.extend(headers.iter().flat_map(|(name, value)| ["-H".to_owned(), format!("{name}: {value}")]));
    words.push(url(&request.target, Some(&request.nonce)));
    Some((words, nonce_header))
}

/// What curl may take for all of it.
fn whole_timeout(request: &Request) -> Duration {
    connect_timeout(request) + request.answer_limit.unwrap_or(ANSWER_LIMIT)
}

/// A name's resolution happens within curl's connect limit. What is left for the connection is checked when the line is
/// read.
fn connect_timeout(request: &Request) -> Duration {
    request.connect_limit + request.resolve_limit
}

pub(super) fn by_name(target: &Target) -> bool {
    match target {
        Target::Http { host, .. } | Target::Udp { host, .. } => host.parse::<IpAddr>().is_err() && !target.is_spelt(),
        Target::Resolve { .. } => true,
    }
}

/// What is asked; where the path brings the nonce, with this one.
fn url(target: &Target, nonce: Option<&str>) -> String {
    match target {
        Target::Http { tls, host, port, path, proof, .. } => {
            let path = match proof {
                Proof::Header(_) | Proof::Nothing => path.clone(),
                Proof::Netexec => netexec::path(nonce),
            };
            let (scheme, usual) = if *tls { ("https", 443) } else { ("http", 80) };
            let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
            let port = if *port == usual { String::new() } else { format!(":{port}") };
            format!("{scheme}://{host}{port}{path}")
        }
        Target::Resolve { name, .. } => format!("http://{name}/"),
        // A protocol that curl does not know: it says so, and sends nothing.
        Target::Udp { host, port, .. } if host.contains(':') => format!("udp://[{host}]:{port}"),
        Target::Udp { host, port, .. } => format!("udp://{host}:{port}"),
    }
}

fn option(text: &mut String, name: &str, value: &str) {
    let _ = write!(text, "{name} = \"");
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            c if c.is_control() => {}
            c => text.push(c),
        }
    }
    text.push_str("\"\n");
}

fn seconds(duration: Duration) -> String {
    format!("{:.3}", duration.as_secs_f64())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What the tests ask for.
    pub(in crate::probe) fn request(host: &str) -> Request {
        let target = Target::http(crate::scenario::Method::Get, host, 80, "/x", &[("Metadata-Flavor", "Google")]);
        Request {
            resolve_limit: Duration::from_millis(50),
            ..Request::new(target, "n1".to_owned(), "pod/default/app1".to_owned(), Duration::from_millis(100))
        }
    }

    #[test]
    fn a_config_cannot_be_broken_out_of() {
        let mut nasty = request("10.0.0.1");
        if let Target::Http { path, headers, .. } = &mut nasty.target {
            *path = "/\"\noutput = \"x".to_owned();
            headers.push(("X".to_owned(), "a\\b\r".to_owned()));
        }
        let text = config(&[nasty], 0);
        assert_eq!(
            text.lines().filter(|line| line.starts_with("output")).collect::<Vec<_>>(),
            ["output = \"/dev/null\""]
        );
        assert!(text.contains(r#"header = "X: a\\b""#), "{text}");
    }

    #[test]
    fn each_transfer_has_its_own_section_and_index() {
        let text = config(&[request("10.0.0.1"), request("fd00::1")], 7);
        assert_eq!(text.matches("\nnext\n").count(), 1);
        assert!(text.contains("policyprobe|7|"), "{text}");
        assert!(text.contains("policyprobe|8|"), "{text}");
        assert!(text.contains("url = \"http://[fd00::1]/x\""), "{text}");
    }

    #[test]
    fn netexec_is_asked_by_its_path_and_its_body_is_kept() {
        let mut asked = request("10.0.0.1");
        if let Target::Http { proof, .. } = &mut asked.target {
            *proof = Proof::Netexec;
        }
        let shell = "http://10.0.0.1/shell?cmd=echo%20policyprobe-proof";
        for text in [config(&[asked.clone()], 0), watch_config(&[asked.clone()], Duration::from_millis(20))] {
            assert!(text.contains(&format!("url = \"{shell}%20n1%20$POLICYPROBE_SERVER\"\n")), "{text}");
            assert!(text.contains("output = \"-\"\n") && text.contains("no-buffer\n"), "{text}");
        }
        assert!(command(&asked).ends_with(&format!("'{shell}%20$POLICYPROBE_SERVER'")), "{}", command(&asked));
    }

    #[test]
    fn a_credential_is_read_where_it_is_and_a_patch_is_sent() {
        let mut asked = request("10.0.0.1");
        if let Target::Http { credential, patch, headers, .. } = &mut asked.target {
            headers.clear();
            (*credential, *patch) = (Some(Credential::Token), Some("{\"a\":1}".to_owned()));
        }
        let text = config(&[asked.clone()], 0);
        for line in [
            "header = \"@/pp/authorization\"",
            "request = \"PATCH\"",
            "header = \"Content-Type: application/merge-patch+json\"",
            "data-raw = \"{\\\"a\\\":1}\"",
        ] {
            assert!(text.lines().any(|has| has == line), "{line}: {text}");
        }
        assert_eq!(
            command(&asked),
            "curl -q --noproxy '*' --connect-timeout 0.100 -H @/pp/authorization -X PATCH \
             -H 'Content-Type: application/merge-patch+json' -d '{\"a\":1}' http://10.0.0.1/x"
        );
        asked.target = asked.target.anonymous();
        assert!(!config(&[asked.clone()], 0).contains("PATCH"));
        if let Target::Http { credential, .. } = &mut asked.target {
            *credential = Some(Credential::Node);
        }
        assert!(config(&[asked], 0).contains("cert = \"/var/lib/kubelet/pki/kubelet-client-current.pem\"\n"));
    }

    #[test]
    fn the_command_can_be_pasted() {
        assert_eq!(
            command(&request("metadata.google.internal")),
            "curl -q --noproxy '*' --connect-timeout 0.100 -H 'Metadata-Flavor: Google' http://metadata.google.internal/x"
        );
    }

    #[test]
    fn a_port_of_the_sources_own_is_asked_from() {
        let asked = Request { source_port: Some(53), ..request("10.0.0.1") };
        assert!(config(std::slice::from_ref(&asked), 0).contains("\nlocal-port = 53\n"));
        assert!(command(&asked).starts_with("curl -q --noproxy '*' --connect-timeout 0.100 --local-port 53 -H"));
        let udp = Target::Udp { host: "10.0.0.1".to_owned(), port: 80, family: Family::Ipv4 };
        let asked = command(&Request { target: udp, ..asked });
        assert!(asked.ends_with("| nc -u -p 53 -w 1 10.0.0.1 80\""), "{asked}");
    }

    #[test]
    fn a_name_to_resolve_is_a_host_that_nobody_connects_to() {
        let target = Target::Resolve { name: "kubernetes.default".to_owned(), family: Family::Ipv4 };
        assert_eq!(url(&target, Some("n1")), "http://kubernetes.default/");
        let text = config(&[Request { target, ..request("x") }], 0);
        assert!(text.contains(NO_INTERFACE), "{text}");
    }
}
