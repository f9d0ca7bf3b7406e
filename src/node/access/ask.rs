//! Asking the API server who may do what: `SubjectAccessReview`s side by side, and the roles behind the answers.

use futures::{StreamExt as _, stream};
use k8s_openapi::api::{authorization::v1::SubjectAccessReview, core::v1::Namespace, rbac::v1::ClusterRole};
use kube::{
    Api, Client, Error, ResourceExt as _,
    api::{ListParams, PostParams},
};

use super::{
    finding::{Finding, How},
    question::{QUESTIONS, Question, Subject},
    roles::{Grant, grant},
};
use crate::{engine::Verdict, lab::LabError, node::source::said, pattern};

/// How many reviews are under way at once.
const AT_ONCE: usize = 32;

/// The subjects of an audit where none are named: each namespace's default service account, and the groups that everybody
/// is in.
pub async fn everybody(client: &Client) -> Result<Vec<Subject>, LabError> {
    let namespaces = Api::<Namespace>::all(client.clone()).list_metadata(&ListParams::default()).await;
    let namespaces = namespaces.map_err(|error| refused(&error, "list", "namespaces"))?;
    let defaults = namespaces.iter().map(|space| Subject::ServiceAccount(space.name_any(), "default".to_owned()));
    let groups = ["system:authenticated", "system:serviceaccounts"].map(|group| Subject::Group(group.to_owned()));
    Ok(defaults.chain(groups).chain([Subject::User("system:anonymous".to_owned())]).collect())
}

/// Asks every question about every subject. `allow` are patterns of what is meant to be allowed.
pub async fn ask(client: &Client, subjects: &[Subject], allow: &[String]) -> Result<Vec<Finding>, LabError> {
    let pairs = subjects.iter().flat_map(|subject| QUESTIONS.iter().map(move |question| (subject, question)));
    let reviews = pairs.map(|(subject, question)| async move {
        let answer = review(client, subject, question).await?;
        Ok((subject, question, answer))
    });
    let reviews: Vec<_> = stream::iter(reviews).buffered(AT_ONCE).collect().await;
    let reviews = reviews.into_iter().collect::<Result<Vec<_>, LabError>>()?;
    // Only where somebody is allowed something are the roles worth reading.
    let roles =
        if reviews.iter().any(|(.., answer)| answer.allowed) { cluster_roles(client).await } else { Vec::new() };
    let findings = reviews.into_iter().map(|(subject, question, answer)| {
        let grant = answer.allowed.then(|| grant(question, &answer.reason, &roles)).flatten();
        finding(subject, question, &answer, grant, allow)
    });
    Ok(findings.collect())
}

struct Answer {
    allowed: bool,
    reason: String,
    trouble: String,
}

async fn review(client: &Client, subject: &Subject, question: &Question) -> Result<Answer, LabError> {
    let review: SubjectAccessReview = serde_json::from_value(question.review(subject))
        .map_err(|error| LabError::from(anyhow::Error::new(error).context("a review as JSON")))?;
    let answer = Api::<SubjectAccessReview>::all(client.clone()).create(&PostParams::default(), &review).await;
    let status = answer.map_err(|error| refused(&error, "create", "subjectaccessreviews"))?.status.unwrap_or_default();
    Ok(Answer {
        allowed: status.allowed,
        reason: status.reason.unwrap_or_default(),
        trouble: status.evaluation_error.unwrap_or_default(),
    })
}

/// Whoever may not read roles is told less, and not nothing.
async fn cluster_roles(client: &Client) -> Vec<ClusterRole> {
    let roles = Api::<ClusterRole>::all(client.clone()).list(&ListParams::default()).await;
    roles.map(|roles| roles.items).unwrap_or_default()
}

/// Whether somebody has said that this is meant: `SUBJECT: QUESTION` matches one of the patterns.
#[must_use]
pub fn is_meant(subject: &str, words: &str, allow: &[String]) -> bool {
    pattern::any(allow, &format!("{subject}: {words}"))
}

fn finding(subject: &Subject, question: &Question, answer: &Answer, grant: Option<Grant>, allow: &[String]) -> Finding {
    let (subject, words) = (subject.name(), question.words());
    let meant = is_meant(&subject, &words, allow);
    let verdict = match (answer.allowed, answer.trouble.is_empty()) {
        (true, _) if meant => Verdict::Recorded,
        (true, _) => Verdict::Fail,
        (false, true) => Verdict::Pass,
        (false, false) => Verdict::Inconclusive,
    };
    let happened = match (answer.allowed, answer.trouble.as_str()) {
        (true, _) => "allowed".to_owned(),
        (false, "") => "denied".to_owned(),
        (false, trouble) => format!("denied, and the authoriser is in trouble: {trouble}"),
    };
    let reason = Some(answer.reason.clone()).filter(|reason| answer.allowed && !reason.is_empty());
    Finding {
        subject,
        tried: words,
        how: How::Review,
        happened,
        expected: if meant { "allowed, by --allow" } else { "denied" }.to_owned(),
        verdict,
        matters: answer.allowed.then(|| question.matters.to_owned()),
        rule: grant.as_ref().map(|grant| grant.rule.clone()).or(reason),
        close: grant.map(|grant| grant.close).filter(|_| !meant),
    }
}

/// An error of the API server as a person can act on it.
#[must_use]
pub(crate) fn refused(error: &Error, verb: &str, resource: &str) -> LabError {
    let hint = match error {
        Error::Api(status) if status.is_forbidden() => format!(
            "an audit needs the verb `{verb}` on `{resource}`: run it as an administrator, or bind ClusterRole \
             `system:auth-delegator` and one that may list namespaces, and read ClusterRoles, to whoever runs it"
        ),
        _ => "see that the API server answers: `kubectl get --raw /readyz`".to_owned(),
    };
    LabError::with_hint(format!("cannot {verb} {resource}: {}", said(error)), hint)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant_is_recorded_and_not_failed() {
        let subject = Subject::service_account("monitoring/agent").unwrap();
        let answer = Answer { allowed: true, reason: "RBAC".into(), trouble: String::new() };
        let of = |allow: &[String]| finding(&subject, &QUESTIONS[1], &answer, None, allow).verdict;
        assert_eq!(of(&[]), Verdict::Fail);
        assert_eq!(of(&["monitoring/*: list nodes".into()]), Verdict::Recorded);
        assert_eq!(of(&["*: patch nodes".into()]), Verdict::Fail);
    }

    #[test]
    fn a_denial_of_a_broken_authoriser_proves_nothing() {
        let subject = Subject::User("u".into());
        let answer = Answer { allowed: false, reason: String::new(), trouble: "webhook timed out".into() };
        assert_eq!(finding(&subject, &QUESTIONS[0], &answer, None, &[]).verdict, Verdict::Inconclusive);
    }
}
