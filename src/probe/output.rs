//! What `curl` says, and what it means.
//!
//! Each transfer ends with one line that `--write-out` prints; a transfer without its line is lost. The exit code of the
//! process proves nothing and is not read at all.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use super::{
    Observation, Outcome, Proof, Request, Target,
    curl::by_name,
    direct::{Shown, mismatch},
};
use crate::http;

/// How a transfer's line begins.
pub(super) const MARK: &str = "policyprobe|";

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
        address: next()?.parse().ok().map(|address: IpAddr| address.to_canonical()),
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
        held: None,
        resent: None,
        clock: None,
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
            Proof::Netexec | Proof::Nothing => http::NONCE,
        };
        let (nonce, server) = ((&*request.nonce, &*fields.nonce), (&*request.server, &*fields.server));
        let shown = Shown { nonce_header, nonce, server, status: fields.status };
        let why = mismatch(&shown).filter(|_| *proof != Proof::Nothing);
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
    use super::{super::curl::tests::request, *};
    use crate::scenario::Family;

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
    }
}
