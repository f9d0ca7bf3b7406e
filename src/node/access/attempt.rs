//! What is tried from inside a pod: one shell script of `curl`s with the mounted token. Nothing is changed: writes are
//! `dryRun=All` (admission still runs), `nodes/proxy` is a GET of `/healthz`, and bodies of answers stay in the pod but
//! for refusals.

use std::{fmt::Write as _, net::IpAddr};

use crate::engine::Verdict;

/// The node that tries are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// Its internal address.
    pub address: IpAddr,
}

/// One try.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// The key of its line.
    id: &'static str,
    /// What is tried, in words.
    pub words: &'static str,
    /// The question that a review asks about the same.
    pub question: Option<&'static str>,
    /// What should happen.
    pub expected: &'static str,
    /// What somebody can do with it.
    pub matters: &'static str,
    /// How to close it, where no role gives it.
    pub close: &'static str,
    /// Arguments of `curl`; NODE and HOST stand for the target's name and address.
    arguments: &'static str,
}

const REFUSED: &str = "403 Forbidden";
const PATCH: &str = "-X PATCH -H 'Content-Type: application/merge-patch+json'";

/// What is tried.
pub static ATTEMPTS: &[Attempt] = &[
    Attempt {
        id: "list",
        words: "GET /api/v1/nodes",
        question: Some("list nodes"),
        expected: REFUSED,
        matters: "a pod reads every node's versions, addresses and provider ID",
        close: "",
        arguments: "$auth \"$api/api/v1/nodes?limit=1\"",
    },
    Attempt {
        id: "label",
        words: "PATCH a label of a node (dry run)",
        question: Some("patch nodes"),
        expected: REFUSED,
        matters: "a pod decides where workloads run",
        close: "",
        arguments: "$auth PATCH -d '{\"metadata\":{\"labels\":{\"policyprobe.io/try\":\"x\"}}}' \"$api/api/v1/nodes/NODE?dryRun=All\"",
    },
    Attempt {
        id: "taint",
        words: "PATCH the taints of a node (dry run)",
        question: Some("patch nodes"),
        expected: REFUSED,
        matters: "a pod decides where workloads run",
        close: "",
        arguments: "$auth PATCH -d '{\"spec\":{\"taints\":[{\"key\":\"policyprobe.io/try\",\"effect\":\"PreferNoSchedule\"}]}}' \"$api/api/v1/nodes/NODE?dryRun=All\"",
    },
    Attempt {
        id: "status",
        words: "PATCH the status of a node (dry run)",
        question: Some("patch nodes/status"),
        expected: REFUSED,
        matters: "a pod fakes conditions and addresses",
        close: "",
        arguments: "$auth PATCH -d '{\"metadata\":{\"annotations\":{\"policyprobe.io/try\":\"x\"}}}' \"$api/api/v1/nodes/NODE/status?dryRun=All\"",
    },
    Attempt {
        id: "proxy",
        words: "GET nodes/proxy /healthz",
        question: Some("get nodes/proxy"),
        expected: REFUSED,
        matters: "a pod runs commands in every other pod of the node",
        close: "",
        arguments: "$auth \"$api/api/v1/nodes/NODE/proxy/healthz\"",
    },
    Attempt {
        id: "impersonate",
        words: "GET /api/v1/nodes as the node, by impersonation",
        question: Some("impersonate users"),
        expected: REFUSED,
        matters: "a pod does whatever a node may do",
        close: "",
        arguments: "$auth -H 'Impersonate-User: system:node:NODE' -H 'Impersonate-Group: system:nodes' \"$api/api/v1/nodes/NODE\"",
    },
    Attempt {
        id: "secrets",
        words: "GET the secrets of kube-system",
        question: Some("list secrets in kube-system"),
        expected: REFUSED,
        matters: "a pod reads tokens that may change nodes",
        close: "",
        arguments: "$auth \"$api/api/v1/namespaces/kube-system/secrets?limit=1\"",
    },
    Attempt {
        id: "read-only",
        words: "GET the kubelet's read-only port 10255",
        question: None,
        expected: "no connection",
        matters: "anybody in a pod reads the node's pods, their specs and metrics",
        close: "set `readOnlyPort: 0` in the kubelet's configuration",
        arguments: "http://HOST:10255/healthz",
    },
    Attempt {
        id: "anonymous",
        words: "GET /pods of the kubelet's port 10250 without a token",
        question: None,
        expected: "401 Unauthorized, or no connection",
        matters: "anybody in a pod reads, and runs commands in, the node's pods",
        close: "set `authentication.anonymous.enabled: false` in the kubelet's configuration",
        arguments: "-k https://HOST:10250/pods",
    },
    Attempt {
        id: "kubelet",
        words: "GET /pods of the kubelet's port 10250 with the token",
        question: Some("get nodes/proxy"),
        expected: "403 Forbidden, 401 Unauthorized, or no connection",
        matters: "a pod reads, and runs commands in, the node's pods, past the API server and its audit log",
        close: "set `authorization.mode: Webhook` in the kubelet's configuration, and give nobody `nodes/proxy`",
        arguments: "-k $auth https://HOST:10250/pods",
    },
];

/// What is between the fields of an answer's line.
const MARK: &str = "policyprobe-audit";

/// The script that makes all tries.
#[must_use]
pub fn script(target: &Target) -> String {
    let host = match target.address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    let mut text = String::from(
        "s=/var/run/secrets/kubernetes.io/serviceaccount\n\
         host=$KUBERNETES_SERVICE_HOST; case $host in *:*) host=[$host];; esac\n\
         api=https://$host:$KUBERNETES_SERVICE_PORT_HTTPS\n\
         umask 077; printf 'Authorization: Bearer %s\\n' \"$(cat $s/token)\" >/tmp/auth\n\
         try() { id=$1; shift; code=$(curl -q -s --noproxy '*' --max-time 5 -o /tmp/body -w '%{http_code}' \"$@\"); exit=$?\n\
         case $code in 4*|5*) why=$(head -c 400 /tmp/body | tr '\\n' ' ');; *) why=;; esac; rm -f /tmp/body\n\
         echo \"policyprobe-audit $id $code $exit $why\"; }\n",
    );
    for attempt in ATTEMPTS {
        let arguments = attempt
            .arguments
            .replace("$auth", "--cacert $s/ca.crt -H @/tmp/auth")
            .replace("PATCH -d", &format!("{PATCH} -d"))
            .replace("NODE", &target.name)
            .replace("HOST", &host);
        // Writing to a text cannot fail.
        let _ = writeln!(text, "try {} {arguments} &", attempt.id);
    }
    text.push_str("wait\nrm -f /tmp/auth\necho policyprobe-audit end 0 0\n");
    text
}

/// What became of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status; 0 without an answer.
    pub status: u16,
    /// `curl`'s exit code.
    pub exit: u8,
    /// What the server said of a refusal.
    pub message: String,
}

/// The answers in a script's output, one for each of [`ATTEMPTS`]; none where its line is missing, or where the script did
/// not come to its end.
#[must_use]
pub fn answers(output: &str) -> Vec<Option<Answer>> {
    let lines: Vec<[&str; 4]> = output
        .lines()
        .filter_map(|line| {
            let mut parts = line.strip_prefix(MARK)?.trim_start().splitn(4, ' ');
            Some([parts.next()?, parts.next()?, parts.next()?, parts.next().unwrap_or_default()])
        })
        .collect();
    let ended = lines.iter().any(|line| line[0] == "end");
    let answer = |attempt: &Attempt| {
        let line = lines.iter().find(|line| line[0] == attempt.id && ended)?;
        Some(Answer { status: line[1].parse().ok()?, exit: line[2].parse().ok()?, message: said(line[3]) })
    };
    ATTEMPTS.iter().map(answer).collect()
}

/// A `Status` says in `message` what it means.
fn said(body: &str) -> String {
    let value: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let message = value.as_ref().and_then(|value| value["message"].as_str());
    let cut = || body.split_once("\"message\": \"").and_then(|(_, rest)| rest.split('"').next());
    message.or_else(cut).unwrap_or(body).trim().to_owned()
}

impl Answer {
    /// In words.
    #[must_use]
    pub fn words(&self) -> String {
        let message = if self.message.is_empty() { String::new() } else { format!(": {}", self.message) };
        match (self.status, self.exit) {
            (0, 7) => "no connection: refused".to_owned(),
            (0, 28) => "no connection: timed out".to_owned(),
            (0, exit) => format!("no answer: curl ended with {exit}"),
            (status, _) => format!("status {status}{message}"),
        }
    }

    /// Whether a way in is closed.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match (self.status, self.exit) {
            (200..300, _) => Verdict::Fail,
            (401 | 403, _) | (0, 7 | 28) => Verdict::Pass,
            _ => Verdict::Inconclusive,
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn target() -> Target {
        Target { name: "node01".into(), address: "10.0.0.7".parse().unwrap() }
    }

    #[test]
    fn nothing_is_changed_by_trying() {
        let script = script(&target());
        for line in script.lines().filter(|line| line.starts_with("try ")) {
            let writes = line.contains("-X");
            assert!(!writes || line.contains("dryRun=All"), "{line}");
            assert!(!line.contains("/proxy/") || line.contains("/proxy/healthz"), "{line}");
            assert!(!line.contains("NODE") && !line.contains("HOST"), "{line}");
        }
        assert!(!script.contains("Bearer \"$("), "the token is in no command line");
    }

    #[test]
    fn answers_count_only_when_the_script_came_to_its_end() {
        let line = "policyprobe-audit list 403 0 {\"kind\": \"Status\", \"message\": \"nodes is forbidden\"}\n";
        let all = answers(&format!("{line}policyprobe-audit end 0 0\n"));
        assert_eq!(all[0].as_ref().unwrap().words(), "status 403: nodes is forbidden");
        assert_eq!(all[0].as_ref().unwrap().verdict(), Verdict::Pass);
        assert!(all[1].is_none());
        assert!(answers(line)[0].is_none());
    }

    #[test]
    fn verdicts_of_answers() {
        let verdict = |status, exit| Answer { status, exit, message: String::new() }.verdict();
        assert_eq!(verdict(200, 0), Verdict::Fail);
        assert_eq!([verdict(401, 0), verdict(403, 0), verdict(0, 7), verdict(0, 28)], [Verdict::Pass; 4]);
        assert_eq!([verdict(500, 0), verdict(0, 35), verdict(429, 0)], [Verdict::Inconclusive; 3]);
    }
}
