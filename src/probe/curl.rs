//! The configuration of one `curl` process for a whole batch, and the reading of its output.
//!
//! Pure: starting the process is a [`CurlHost`](super::CurlHost)'s business. Each transfer ends with one line that
//! `--write-out` prints; a transfer without its line is lost. The exit code of the process proves nothing and is not
//! read at all.

use std::{collections::HashMap, fmt::Write as _, net::IpAddr, time::Duration};

use super::{
    Observation, Outcome, Proof, Request, Target,
    agent::by_hand,
    direct::{Shown, mismatch},
    netexec,
};
use crate::{http, scenario::Family};

/// `--parallel-max` of curl 7 is capped at 300; a longer batch is split.
pub const MAX_BATCH: usize = 250;

/// The oldest curl that has `%header{}` in `--write-out`, and the rest of what is used here.
pub const OLDEST_CURL: (u32, u32) = (7, 84);

/// What a server may take to answer once the connection is made. Two retransmissions of a lost segment fit in.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// No interface has this name: curl resolves the host, fails to bind, and sends nothing (exit code 45).
const NO_INTERFACE: &str = "if!policyprobe-none";

const MARK: &str = "policyprobe|";

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
    match &request.target {
        Target::Http { method, tls, headers, family, .. } => {
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
            for (name, value) in headers {
                let _ = write!(text, " -H {}", quoted(&format!("{name}: {value}")));
            }
            let _ = write!(text, " {}", quoted(&url(&request.target, None)));
            text
        }
        Target::Resolve { name, .. } => {
            format!("curl -q --noproxy '*' --connect-timeout {limit} --interface '{NO_INTERFACE}' {}", quoted(name))
        }
        Target::Udp { host, port, family } => by_hand(host, *port, *family, request.connect_limit),
    }
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
    option(text, "max-time", &seconds(connect_timeout(request) + ANSWER_LIMIT));
    let (family, nonce_header) = match &request.target {
        Target::Http { method, tls, headers, family, proof, .. } => {
            if !method.is_get() {
                option(text, "request", method.as_str());
            }
            if *tls {
                text.push_str("insecure\n");
            }
            for (name, value) in headers {
                option(text, "header", &format!("{name}: {value}"));
            }
            let nonce_header = match proof {
                Proof::Header(name) => name.as_str(),
                Proof::Netexec => http::NONCE,
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
    text.push_str(if family == Family::Ipv6 { "ipv6\n" } else { "ipv4\n" });
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
    option(text, "write-out", &format!("{to}\n{MARK}{index}|{}\n", fields.join("|")));
}

/// A name's resolution happens within curl's connect limit. What is left for the connection is checked when the line is
/// read.
fn connect_timeout(request: &Request) -> Duration {
    request.connect_limit + request.resolve_limit
}

fn by_name(target: &Target) -> bool {
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
                Proof::Header(_) => path.clone(),
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

/// What one line of curl's output says.
#[derive(Debug, PartialEq)]
pub enum Line {
    /// A transfer is over: its index, and its raw fields.
    Done(usize, Box<Fields>),
    /// A connection failed: address, port, the system's words.
    Failed(IpAddr, u16, String),
    /// Anything else: a part of a body, or chatter.
    Other,
}

/// The fields of a transfer's line.
#[derive(Debug, PartialEq)]
pub struct Fields {
    exit: u32,
    status: u16,
    connects: u32,
    lookup: Duration,
    connect: Duration,
    total: Duration,
    address: Option<IpAddr>,
    nonce: String,
    server: String,
    client: Option<IpAddr>,
    message: String,
}

impl Fields {
    /// Takes nonce and identity from the answer's body.
    pub fn prove(&mut self, nonce: &str, server: String) {
        nonce.clone_into(&mut self.nonce);
        self.server = server;
    }
}

/// Reads one line.
#[must_use]
pub fn read(line: &str) -> Line {
    if let Some(rest) = line.strip_prefix(MARK) {
        return done(rest).unwrap_or(Line::Other);
    }
    failed(line).unwrap_or(Line::Other)
}

fn done(rest: &str) -> Option<Line> {
    let mut fields = rest.trim_end_matches('\r').splitn(12, '|');
    let mut next = || fields.next();
    let duration = |text: &str| text.parse().ok().and_then(|s| Duration::try_from_secs_f64(s).ok());
    let index = next()?.parse().ok()?;
    let fields = Fields {
        exit: next()?.parse().ok()?,
        status: next()?.parse().ok()?,
        connects: next()?.parse().ok()?,
        lookup: duration(next()?)?,
        connect: duration(next()?)?,
        total: duration(next()?)?,
        address: next()?.parse().ok(),
        nonce: next()?.to_owned(),
        server: next()?.to_owned(),
        client: next()?.parse().ok(),
        message: next()?.to_owned(),
    };
    Some(Line::Done(index, Box::new(fields)))
}

/// `* connect to 10.0.0.1 port 80 failed: Connection refused`; curl 8 has `from ADDRESS port PORT` before `failed`. Where
/// the system refuses at once it is `* Immediate connect fail for 10.0.0.1: No route to host`, for whatever port.
fn failed(line: &str) -> Option<Line> {
    if let Some(rest) = line.strip_prefix("* Immediate connect fail for ") {
        let (address, reason) = rest.split_once(": ")?;
        return Some(Line::Failed(address.parse().ok()?, 0, reason.trim_end().to_owned()));
    }
    let rest = line.strip_prefix("* connect to ")?;
    let (target, reason) = rest.split_once(" failed: ")?;
    let mut words = target.split(' ');
    let address = words.next()?.parse().ok()?;
    let port = words.nth(1)?.parse().ok()?;
    Some(Line::Failed(address, port, reason.trim_end().to_owned()))
}

/// The system's words for connections that failed, by where they went.
pub type Failures = HashMap<(IpAddr, u16), String>;

/// Whether these fields are of this request, and what they mean.
#[must_use]
pub fn observe(request: &Request, fields: &Fields, failures: &Failures) -> Observation {
    let resolved = fields.lookup > Duration::ZERO || !by_name(&request.target);
    let connected = fields.connect > Duration::ZERO;
    let address = fields.address.or_else(|| match &request.target {
        Target::Http { host, .. } | Target::Udp { host, .. } => host.parse().ok(),
        Target::Resolve { .. } => None,
    });
    let message = (fields.exit != 0).then(|| format!("curl: ({}) {}", fields.exit, fields.message));
    let of = |outcome, detail| Observation {
        outcome,
        status: (fields.status >= 100).then_some(fields.status),
        server: (!fields.server.is_empty()).then(|| fields.server.clone()),
        address,
        client: fields.client,
        resolve: (resolved && by_name(&request.target)).then_some(fields.lookup),
        connect: connected.then(|| fields.connect.saturating_sub(fields.lookup)),
        resent: None,
        detail,
    };
    let Target::Http { port, proof, .. } = &request.target else {
        return match fields.exit {
            _ if matches!(request.target, Target::Udp { .. }) => of(Outcome::ProbeLost, message),
            6 | 28 => of(Outcome::NameNotResolved, message),
            // The bind to no interface fails after the resolution, which is all that was asked.
            45 | 7 if resolved => Observation {
                server: Some(request.server.clone()),
                // The answer that a window is calibrated by is the name server's.
                connect: Some(fields.lookup),
                ..of(Outcome::Reached, None)
            },
            _ => of(Outcome::ProbeLost, message),
        };
    };
    if fields.status >= 100 {
        // The body of netexec holds nonce and identity, as the headers of our own servers do.
        let nonce_header = match proof {
            Proof::Header(name) => name.as_str(),
            Proof::Netexec => http::NONCE,
        };
        let (nonce, server) = ((&*request.nonce, &*fields.nonce), (&*request.server, &*fields.server));
        let why = mismatch(&Shown { nonce_header, nonce, server, status: fields.status });
        return if why.is_some() {
            of(Outcome::WrongServer, why)
        } else if fields.connects == 1 {
            Observation { server: Some(request.server.clone()), ..of(Outcome::Reached, None) }
        } else {
            of(Outcome::ProbeLost, Some(format!("{} connections were made, not 1", fields.connects)))
        };
    }
    match fields.exit {
        6 => of(Outcome::NameNotResolved, message),
        28 if !resolved => of(Outcome::NameNotResolved, message),
        // What the resolution took of curl's limit must not shorten the window.
        28 if !connected && fields.total.saturating_sub(fields.lookup) < request.connect_limit.mul_f64(0.9) => {
            of(Outcome::NameNotResolved, Some("the name was resolved too late to wait a whole window".to_owned()))
        }
        28 if !connected => of(Outcome::TimedOut, message),
        7 => {
            let reason = address.and_then(|it| failures.get(&(it, *port)).or_else(|| failures.get(&(it, 0))));
            let outcome = match reason {
                Some(text) if !text.contains("refused") && !text.contains("reset") => Outcome::Unreachable,
                _ => Outcome::Refused,
            };
            of(outcome, reason.cloned().or(message))
        }
        28 => of(Outcome::NoAnswer, message),
        // Somebody completed the handshake and then said nothing that proves who.
        _ if connected => of(Outcome::WrongServer, message),
        _ => of(Outcome::ProbeLost, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(host: &str) -> Request {
        Request {
            target: Target::Http {
                method: crate::scenario::Method::Get,
                tls: false,
                host: host.to_owned(),
                port: 80,
                path: "/x".to_owned(),
                headers: vec![("Metadata-Flavor".to_owned(), "Google".to_owned())],
                family: Family::Ipv4,
                proof: Proof::default(),
            },
            nonce: "n1".to_owned(),
            server: "pod/default/app1".to_owned(),
            connect_limit: Duration::from_millis(100),
            resolve_limit: Duration::from_millis(50),
        }
    }

    fn outcome(host: &str, line: &str, failures: &[&str]) -> Outcome {
        let mut known = Failures::new();
        for line in failures {
            if let Line::Failed(address, port, reason) = read(line) {
                known.insert((address, port), reason);
            }
        }
        let Line::Done(0, fields) = read(line) else { panic!("{line}") };
        observe(&request(host), &fields, &known).outcome
    }

    #[test]
    fn lines_of_real_curls_mean_what_happened() {
        let refused = "* connect to 10.0.0.1 port 80 failed: Connection refused";
        let at_once = "* Immediate connect fail for 10.0.0.1: Network is unreachable";
        let from = "* connect to 10.0.0.1 port 80 from 10.0.0.2 port 40000 failed: No route to host";
        let ip = "10.0.0.1";
        for (host, line, failures, expected) in [
            (ip, "0|200|1|0.00001|0.002|0.003|10.0.0.1|n1|pod/default/app1||", &[][..], Outcome::Reached),
            (ip, "0|404|1|0.00001|0.002|0.003|10.0.0.1|n1|pod/default/app1||", &[], Outcome::Reached),
            (ip, "18|200|1|0.00001|0.002|0.003|10.0.0.1|n1|pod/default/app1||partial", &[], Outcome::Reached),
            (ip, "0|200|0|0.00001|0.002|0.003|10.0.0.1|n1|pod/default/app1||", &[], Outcome::ProbeLost),
            (ip, "0|200|1|0.00001|0.002|0.003|10.0.0.1|n2|pod/default/app1||", &[], Outcome::WrongServer),
            (ip, "0|200|1|0.00001|0.002|0.003|10.0.0.1|n1|pod/default/app2||", &[], Outcome::WrongServer),
            (ip, "0|200|1|0.00001|0.002|0.003|10.0.0.1||||", &[], Outcome::WrongServer),
            (ip, "52|000|1|0.00001|0.002|0.003|10.0.0.1||||Empty reply", &[], Outcome::WrongServer),
            (ip, "28|000|0|0.00001|0.000000|0.100||||| timed out", &[], Outcome::TimedOut),
            (ip, "28|000|1|0.00001|0.002|5.100|10.0.0.1|||| timed out", &[], Outcome::NoAnswer),
            (ip, "7|000|0|0.00001|0.000000|0.001|||||Couldn't connect", &[refused], Outcome::Refused),
            (ip, "7|000|0|0.00001|0.000000|0.001|||||Couldn't connect", &[from], Outcome::Unreachable),
            (ip, "7|000|0|0.00001|0.000000|0.001|||||Couldn't connect", &[at_once], Outcome::Unreachable),
            (ip, "43|000|0|0|0|0|||||Bad function", &[], Outcome::ProbeLost),
            ("name", "28|000|0|0.000000|0.000000|0.150|||||Resolving timed out", &[], Outcome::NameNotResolved),
            ("name", "28|000|0|0.040000|0.000000|0.150|||||timed out", &[], Outcome::TimedOut),
            ("name", "28|000|0|0.100000|0.000000|0.150|||||timed out", &[], Outcome::NameNotResolved),
            ("name", "6|000|0|0.000000|0.000000|0.001|||||Could not resolve", &[], Outcome::NameNotResolved),
        ] {
            assert_eq!(outcome(host, &format!("{MARK}0|{line}"), failures), expected, "{host} {line}");
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
    fn the_command_can_be_pasted() {
        assert_eq!(
            command(&request("metadata.google.internal")),
            "curl -q --noproxy '*' --connect-timeout 0.100 -H 'Metadata-Flavor: Google' http://metadata.google.internal/x"
        );
    }

    #[test]
    fn a_name_is_reached_when_it_resolves() {
        let resolve = Request {
            target: Target::Resolve { name: "kubernetes.default".to_owned(), family: Family::Ipv4 },
            ..request("x")
        };
        for (line, expected) in [
            ("45|000|0|0.001|0.000000|0.002|||||Couldn't bind", Outcome::Reached),
            ("6|000|0|0.000000|0.000000|0.002|||||Could not resolve", Outcome::NameNotResolved),
            ("28|000|0|0.000000|0.000000|1.0|||||Resolving timed out", Outcome::NameNotResolved),
            ("2|000|0|0.000000|0.000000|0.0|||||failed init", Outcome::ProbeLost),
        ] {
            let Line::Done(_, fields) = read(&format!("{MARK}0|{line}")) else { panic!("{line}") };
            assert_eq!(observe(&resolve, &fields, &Failures::new()).outcome, expected, "{line}");
        }
        assert_eq!(read("policyprobe|x|y"), Line::Other);
        assert_eq!(read("* connect to nowhere failed: x"), Line::Other);
        assert_eq!(url(&resolve.target, Some("n1")), "http://kubernetes.default/");
    }
}
