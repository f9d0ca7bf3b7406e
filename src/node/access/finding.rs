//! What an audit says: of each try what happened, what should have, what allowed it, and how to close it.

use std::fmt::Write as _;

use serde::Serialize;

use crate::{
    engine::{self, Verdict},
    report::theme::{self, Theme, paint},
};

/// The result of one try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Whose rights were tried.
    pub subject: String,
    /// What was tried.
    pub tried: String,
    /// How: asked of the API server (`SubjectAccessReview`), or done.
    pub how: How,
    /// What happened.
    pub happened: String,
    /// What should have.
    pub expected: String,
    /// What follows.
    pub verdict: Verdict,
    /// What allowed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Why it matters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matters: Option<String>,
    /// How to close it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close: Option<String>,
}

/// How something was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// By a `SubjectAccessReview`.
    Review,
    /// From inside a pod, with its mounted token.
    Pod,
    /// With a node's credential that was made for this, by a `CertificateSigningRequest`.
    Certificate,
    /// With a node's own credential.
    NodeCredential,
    /// As a node by impersonation: authorisation and admission are as for the node.
    Impersonation,
}

impl How {
    fn heading(self) -> &'static str {
        match self {
            Self::Review => "Asked (SubjectAccessReview)",
            Self::Pod => "Tried from inside a pod with its mounted token",
            Self::Certificate => "Tried with a node's credential, made for this by a CertificateSigningRequest",
            Self::NodeCredential => "Tried with a node's own credential",
            Self::Impersonation => "Tried as a node, by impersonation",
        }
    }
}

/// The exit code that findings mean.
#[must_use]
pub fn exit_code(findings: &[Finding]) -> u8 {
    let any = |verdict| findings.iter().any(|finding| finding.verdict == verdict);
    if any(Verdict::Fail) {
        engine::FAILED
    } else if any(Verdict::Inconclusive) || !any(Verdict::Pass) {
        engine::INCONCLUSIVE
    } else {
        engine::OK
    }
}

/// The findings for people. What is as expected takes a line a subject, unless `all`.
#[must_use]
pub fn render(findings: &[Finding], all: bool, theme: Theme) -> String {
    let mut text = String::new();
    let mut hows: Vec<How> = findings.iter().map(|finding| finding.how).collect();
    hows.sort_unstable();
    hows.dedup();
    for how in hows {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{}", paint(theme::HEAD, how.heading()));
        let mut subjects: Vec<&str> =
            findings.iter().filter(|finding| finding.how == how).map(|finding| finding.subject.as_str()).collect();
        subjects.dedup();
        for subject in subjects {
            let own = findings.iter().filter(|finding| finding.how == how && finding.subject == subject);
            let (passed, rest): (Vec<_>, Vec<_>) = own.partition(|finding| finding.verdict == Verdict::Pass && !all);
            if !passed.is_empty() {
                let line = format!("{}: {} as expected", theme::visible(subject), passed.len());
                let _ = writeln!(text, "  {}", theme.line(Verdict::Pass, &line));
            }
            for finding in rest {
                one(finding, theme, &mut text);
            }
        }
    }
    text.push_str(&summary(findings, theme));
    text
}

fn one(finding: &Finding, theme: Theme, text: &mut String) {
    let head = format!("{}: {}", finding.subject, finding.tried);
    let _ = writeln!(text, "  {}", theme.line(finding.verdict, &theme::visible(&head)));
    let mut facts = vec![("happened", finding.happened.as_str())];
    if finding.verdict != Verdict::Pass {
        facts.push(("expected", &finding.expected));
        let more = [("because", &finding.rule), ("matters", &finding.matters), ("close it", &finding.close)];
        facts.extend(more.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))));
    }
    for (name, value) in facts {
        for (index, line) in theme::wrap(value, theme.width.saturating_sub(17)).iter().enumerate() {
            let label = if index == 0 { name } else { "" };
            let _ = writeln!(text, "      {}{line}", paint(theme::FAINT, &format!("{label:9}")));
        }
    }
}

fn summary(findings: &[Finding], theme: Theme) -> String {
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let parts = [
        (Verdict::Fail, "not as expected"),
        (Verdict::Inconclusive, "inconclusive"),
        (Verdict::Recorded, "to know of"),
        (Verdict::Pass, "as expected"),
        (Verdict::Skipped, "skipped"),
    ];
    let parts = parts.map(|(verdict, words)| (count(verdict), words)).into_iter().filter(|(count, _)| *count > 0);
    let parts: Vec<_> = parts.map(|(count, words)| format!("{count} {words}")).collect();
    let verdict = match exit_code(findings) {
        engine::OK => Verdict::Pass,
        engine::FAILED => Verdict::Fail,
        _ => Verdict::Inconclusive,
    };
    format!("{}\n", theme.line(verdict, &parts.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(subject: &str, tried: &str, verdict: Verdict) -> Finding {
        Finding {
            subject: subject.into(),
            tried: tried.into(),
            how: How::Review,
            happened: "allowed".into(),
            expected: "denied".into(),
            verdict,
            rule: Some("ClusterRoleBinding `b` of ClusterRole `r`".into()),
            matters: Some("it steers workloads".into()),
            close: Some("kubectl delete clusterrolebinding b".into()),
        }
    }

    #[test]
    fn findings_say_what_to_do() {
        let findings = [
            finding("default/default", "patch nodes", Verdict::Fail),
            finding("default/default", "get nodes", Verdict::Pass),
            finding("kube-system/default", "get nodes", Verdict::Pass),
        ];
        let shown = render(&findings, false, Theme { unicode: true, width: 80 });
        insta::assert_snapshot!(anstream::adapter::strip_str(&shown).to_string());
    }

    #[test]
    fn a_failure_outweighs_what_is_inconclusive() {
        let of = |verdicts: &[Verdict]| {
            let findings: Vec<_> = verdicts.iter().map(|verdict| finding("s", "t", *verdict)).collect();
            exit_code(&findings)
        };
        assert_eq!(of(&[Verdict::Pass, Verdict::Recorded]), engine::OK);
        assert_eq!(of(&[Verdict::Pass, Verdict::Inconclusive]), engine::INCONCLUSIVE);
        assert_eq!(of(&[Verdict::Fail, Verdict::Inconclusive]), engine::FAILED);
        assert_eq!(of(&[]), engine::INCONCLUSIVE);
    }
}
