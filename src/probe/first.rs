//! What a new pod asks from its first instruction on: a loop of `curl` processes, as a script for its first process, and
//! how the lines that the script writes are read. Pure; starting it is the lab's business.

use std::{fmt::Write as _, time::Duration};

use super::{Failures, Line, Observation, Request, curl, output};

/// How a line begins that tells when the first instruction was, and one that tells of an attempt.
const BEGAN: &str = "policyprobe-began|";
const ASKED: &str = "policyprobe-asked|";

/// From the end of one attempt to the start of the next, in seconds as `sleep` takes them.
const PAUSE: &str = "0.02";

/// The time since the machine's start, by the kernel and without a process: in hundredths of a second.
const CLOCK: &str = "/proc/uptime";

/// What a pod asks, over and over and all at the same time, until each was asked so often or the time is over.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The requests. Attempts have nonces of their own, which begin with the request's.
    pub requests: Vec<Request>,
    /// How often each is asked, at most.
    pub attempts: u32,
    /// For how many whole seconds, at least; never a second longer.
    pub seconds: u32,
}

/// One attempt of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// Which of the requests it was.
    pub request: usize,
    /// When it was begun, since the first instruction.
    pub at: Duration,
    /// Its nonce.
    pub nonce: String,
    /// What was observed.
    pub observation: Observation,
}

impl Opening {
    /// The script, for a POSIX shell that has `curl` beside it.
    #[must_use]
    pub fn script(&self) -> String {
        let Self { requests, attempts, seconds } = self;
        let mut text = format!(
            "read -r began _ <{CLOCK}\n\
             printf '%s\\n' \"{BEGAN}$began\"\n\
             ask() {{\n  index=$1 nonce=$2 n=0\n  shift 2\n  \
             while [ $n -lt {attempts} ]; do\n    \
             read -r now _ <{CLOCK}\n    [ $((${{now%.*}} - ${{began%.*}})) -le {seconds} ] || break\n    \
             said=$(\"$@\" -H \"$header: $nonce-$n\")\n    \
             printf '%s\\n' \"{ASKED}$index|$n|$now|$said\"\n    n=$((n + 1))\n    sleep {PAUSE}\n  done\n}}\n"
        );
        for (index, request) in requests.iter().enumerate() {
            let Some((words, header)) = curl::words(request) else { continue };
            let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
            let (header, nonce) = (quoted(header), quoted(&request.nonce));
            let _ = writeln!(text, "header={header} ask {index} {nonce} {} &", words.join(" "));
        }
        text + "wait\n"
    }

    /// The attempts that the script's lines tell of, in their order. What is no line of the script's is passed over.
    #[must_use]
    pub fn read<'l>(&self, lines: impl IntoIterator<Item = &'l str>) -> Vec<Attempt> {
        let mut began = None;
        let mut attempts = Vec::new();
        for line in lines {
            if let Some(at) = line.strip_prefix(BEGAN) {
                began = clock(at);
            } else if let (Some(told), Some(began)) = (line.strip_prefix(ASKED), began) {
                attempts.extend(self.attempt(told, began));
            }
        }
        attempts
    }

    fn attempt(&self, told: &str, began: Duration) -> Option<Attempt> {
        let mut parts = told.splitn(4, '|');
        let index: usize = parts.next()?.parse().ok()?;
        let number: u32 = parts.next()?.parse().ok()?;
        let at = clock(parts.next()?)?.saturating_sub(began);
        let request = self.requests.get(index)?;
        let nonce = format!("{}-{number}", request.nonce);
        let observation = match output::read(parts.next()?) {
            Line::Done(_, fields) => {
                let asked = Request { nonce: nonce.clone(), ..request.clone() };
                output::observe(&asked, &fields, &Failures::new())
            }
            _ => Observation::lost(Some("curl said nothing".to_owned())),
        };
        Some(Attempt { request: index, at, nonce, observation })
    }
}

/// A time as the kernel tells it: `1234.56`.
fn clock(text: &str) -> Option<Duration> {
    text.trim().parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::process::Command;

    use super::{
        super::{Outcome, Target, curl::tests::request},
        *,
    };

    fn opening(host: &str) -> Opening {
        Opening { requests: vec![request(host)], attempts: 3, seconds: 1 }
    }

    #[test]
    fn lines_are_read_as_those_of_any_curl_and_timed_from_the_first_instruction() {
        let reached = "policyprobe|0|0|200|1|0.00001|0.002|0.003|10.0.0.1|n1-1|pod/default/app1||";
        let stopped = "policyprobe|0|28|000|0|0.00001|0.000000|0.100||||| timed out";
        let lines = [
            "sh: some complaint".to_owned(),
            "policyprobe-began|99.90".to_owned(),
            format!("policyprobe-asked|0|0|99.95|{stopped}"),
            format!("policyprobe-asked|0|1|100.10|{reached}"),
            "policyprobe-asked|0|2|100.20|".to_owned(),
            format!("policyprobe-asked|7|0|100.20|{reached}"),
        ];
        let attempts = opening("10.0.0.1").read(lines.iter().map(String::as_str));
        let seen: Vec<_> =
            attempts.iter().map(|it| (it.at.as_millis(), it.nonce.as_str(), it.observation.outcome)).collect();
        assert_eq!(
            seen,
            [(50, "n1-0", Outcome::TimedOut), (200, "n1-1", Outcome::Reached), (300, "n1-2", Outcome::ProbeLost),]
        );
        assert!(opening("10.0.0.1").read([]).is_empty());
    }

    #[test]
    fn the_script_is_one_that_a_shell_runs() {
        // Nothing listens on port 1 of this machine's loopback device.
        let mut opening = opening("127.0.0.1");
        if let Target::Http { port, headers, .. } = &mut opening.requests[0].target {
            *port = 1;
            headers.push(("X".to_owned(), "it's $HOME".to_owned()));
        }
        let said = Command::new("sh").args(["-c", &opening.script()]).output().unwrap();
        let (said, errors) = (String::from_utf8(said.stdout).unwrap(), String::from_utf8(said.stderr).unwrap());
        let attempts = opening.read(said.lines());
        assert_eq!(attempts.len(), 3, "{said}{errors}");
        for (number, attempt) in attempts.iter().enumerate() {
            assert_eq!(attempt.nonce, format!("n1-{number}"));
            assert_eq!(attempt.observation.outcome, Outcome::Refused, "{said}{errors}");
            assert!(attempt.at < Duration::from_secs(2));
        }
        assert!(opening.script().contains(r"'X: it'\''s $HOME'"), "{}", opening.script());
    }
}
