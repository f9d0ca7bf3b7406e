//! Trying for real: a pod for each service account, one `exec` of the script in each, and their removal.

use std::{collections::BTreeSet, time::Duration};

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
    runtime::wait::await_condition,
};
use serde_json::json;

use super::{
    ask::is_meant,
    attempt::{ATTEMPTS, Answer, Target, answers, script},
    finding::{Finding, How},
    question::Subject,
};
use crate::{
    engine::Verdict,
    lab::{
        cluster::{Progress, exec, progress},
        state::{PodRecord, RUN_LABEL, RunState},
    },
    node::source::said,
};

/// How long a pod may take to run, its image included, and its script.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the pods are made of.
pub struct Ground<'a> {
    /// The cluster.
    pub client: &'a Client,
    /// What is made is written down there first.
    pub state: &'a RunState,
    /// How `cleanup` reaches the cluster.
    pub record: PodRecord,
    /// The image, which needs `curl` and `sh`.
    pub image: &'a str,
    /// The node that tries are about.
    pub target: &'a Target,
    /// What the pods have to tolerate.
    pub tolerations: Vec<Toleration>,
}

/// What a pod has to tolerate in order to run, where each node keeps pods away; not that a node is out of order.
#[must_use]
pub fn tolerations(nodes: &[Node]) -> Vec<Toleration> {
    let taints = |node: &Node| -> Vec<Taint> {
        let all = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
        all.into_iter().filter(|taint| taint.effect != "PreferNoSchedule").collect()
    };
    let tainted: Vec<Vec<Taint>> = nodes.iter().map(taints).collect();
    if tainted.iter().any(Vec::is_empty) {
        return Vec::new();
    }
    let meant = tainted.into_iter().flatten().filter(|taint| !taint.key.starts_with("node.kubernetes.io/"));
    let meant: BTreeSet<(String, String)> = meant.map(|taint| (taint.key, taint.effect)).collect();
    let tolerated = meant.into_iter().map(|(key, effect)| Toleration {
        key: Some(key),
        effect: Some(effect),
        operator: Some("Exists".to_owned()),
        ..Toleration::default()
    });
    tolerated.collect()
}

/// What became of the tries of one service account.
pub struct Trial {
    /// The service account.
    pub subject: Subject,
    /// The answers, or why there is none.
    pub answers: Result<Vec<Option<Answer>>, String>,
}

impl Ground<'_> {
    /// Tries as each of these service accounts, side by side. Others than service accounts have no pods.
    pub async fn trials(&self, subjects: &[Subject]) -> Vec<Trial> {
        join_all(subjects.iter().filter_map(|subject| match subject {
            Subject::ServiceAccount(namespace, name) => Some(async move {
                let answers = self.trial(namespace, name).await;
                Trial { subject: subject.clone(), answers }
            }),
            _ => None,
        }))
        .await
    }

    async fn trial(&self, namespace: &str, account: &str) -> Result<Vec<Option<Answer>>, String> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let name = format!("policyprobe-audit-{}-{account}", self.state.run());
        let name: String = name.chars().take(63).collect::<String>().trim_end_matches(['-', '.']).to_owned();
        let record = PodRecord { namespace: namespace.to_owned(), name: name.clone(), ..self.record.clone() };
        self.state.update(|all| all.pods.push(record)).map_err(|error| format!("{error:#}"))?;
        let pod = self.pod(&name, account);
        let tried = async {
            let pod: Pod = serde_json::from_value(pod).map_err(|error| error.to_string())?;
            let made = pods.create(&PostParams::default(), &pod).await;
            made.map_err(|error| format!("no pod can be made in `{namespace}`: {}", said(&error)))?;
            let decided = |pod: Option<&Pod>| pod.is_some_and(|pod| !matches!(progress(pod), Progress::Waiting(_)));
            let pod = await_condition(pods.clone(), &name, decided).await.map_err(|error| error.to_string())?;
            if let Some(Progress::Hopeless(why)) = pod.as_ref().map(progress) {
                return Err(format!("a pod in `{namespace}` cannot run: {why}"));
            }
            exec(&pods, &name, &["sh", "-s"], script(self.target).as_bytes()).await
        };
        let output = if let Ok(output) = tokio::time::timeout(PATIENCE, tried).await {
            output
        } else {
            let why = match pods.get(&name).await.as_ref().map(progress) {
                Ok(Progress::Waiting(why)) => format!(": {why}"),
                _ => String::new(),
            };
            Err(format!("a pod in `{namespace}` did not run and answer within {} s{why}", PATIENCE.as_secs()))
        };
        output.map(|output| answers(&output))
    }

    /// In the form that the `restricted` pod security level admits.
    fn pod(&self, name: &str, account: &str) -> serde_json::Value {
        json!({
            "metadata": {"name": name, "labels": {RUN_LABEL: self.state.run()}},
            "spec": {
                "serviceAccountName": account, "automountServiceAccountToken": true, "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 0, "enableServiceLinks": false, "tolerations": self.tolerations,
                "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
                "volumes": [{"name": "tmp", "emptyDir": {}}],
                "containers": [{
                    "name": crate::lab::cluster::CONTAINER, "image": self.image, "imagePullPolicy": "IfNotPresent",
                    // It ends by itself should nobody be there to remove it.
                    "command": ["sleep", "600"],
                    "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                    "securityContext": {
                        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
                    },
                }],
            },
        })
    }
}

/// Removes the pods that a record names; what could not be removed.
pub async fn remove(client: &Client, pods: &[PodRecord]) -> Vec<String> {
    let removed = join_all(pods.iter().map(|pod| async {
        let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace);
        match api.delete(&pod.name, &DeleteParams::default().grace_period(0)).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => None,
            Err(error) => Some(format!("pod {} in {}: {error}", pod.name, pod.namespace)),
            Ok(_) => None,
        }
    }));
    removed.await.into_iter().flatten().collect()
}

/// What follows from the tries. `asked` are the findings of the reviews, which know the rules.
#[must_use]
pub fn findings(trial: &Trial, asked: &[Finding], allow: &[String]) -> Vec<Finding> {
    let subject = trial.subject.name();
    let blank = Finding {
        subject: subject.clone(),
        tried: "the tries from a pod".to_owned(),
        how: How::Pod,
        happened: String::new(),
        expected: "an answer to each".to_owned(),
        verdict: Verdict::Inconclusive,
        rule: None,
        matters: None,
        close: None,
    };
    let answers = match &trial.answers {
        Ok(answers) => answers,
        Err(why) => return vec![Finding { happened: why.clone(), ..blank }],
    };
    let one = |(attempt, answer): (&super::attempt::Attempt, &Option<Answer>)| {
        let Some(answer) = answer else {
            let happened = "the script did not come to its end".to_owned();
            return Finding { tried: attempt.words.to_owned(), happened, ..blank.clone() };
        };
        let review = asked.iter().find(|it| it.subject == subject && Some(it.tried.as_str()) == attempt.question);
        let meant = attempt.question.is_some_and(|words| is_meant(&subject, words, allow));
        let verdict = match answer.verdict() {
            Verdict::Fail if meant => Verdict::Recorded,
            verdict => verdict,
        };
        let close = review.and_then(|review| review.close.clone()).or_else(|| Some(attempt.close.to_owned()));
        Finding {
            tried: attempt.words.to_owned(),
            happened: answer.words(),
            expected: attempt.expected.to_owned(),
            verdict,
            rule: review.and_then(|review| review.rule.clone()),
            matters: Some(attempt.matters.to_owned()),
            close: close.filter(|close| verdict == Verdict::Fail && !close.is_empty()),
            ..blank.clone()
        }
    };
    ATTEMPTS.iter().zip(answers).map(one).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn trial(status: u16) -> Trial {
        let answer = Answer { status, exit: 0, message: String::new() };
        let subject = Subject::service_account("shop/default").unwrap();
        Trial { subject, answers: Ok(vec![Some(answer); ATTEMPTS.len()]) }
    }

    fn review(rule: &str) -> Finding {
        Finding {
            subject: "shop/default".into(),
            tried: "patch nodes".into(),
            how: How::Review,
            happened: "allowed".into(),
            expected: "denied".into(),
            verdict: Verdict::Fail,
            rule: Some(rule.into()),
            matters: None,
            close: Some("kubectl delete clusterrolebinding b".into()),
        }
    }

    #[test]
    fn what_was_done_has_the_rule_of_what_was_asked() {
        let found = findings(&trial(200), &[review("by b")], &[]);
        let label = found.iter().find(|finding| finding.tried.contains("label")).unwrap();
        assert_eq!((label.verdict, label.rule.as_deref()), (Verdict::Fail, Some("by b")));
        assert!(label.close.as_deref().unwrap().contains("clusterrolebinding b"));
        let port = found.iter().find(|finding| finding.tried.contains("10255")).unwrap();
        assert!(port.rule.is_none() && port.close.as_deref().unwrap().contains("readOnlyPort"));
    }

    #[test]
    fn pods_tolerate_taints_where_each_node_has_one() {
        let node = |taints: &[(&str, &str)]| {
            let taints: Vec<_> = taints.iter().map(|(key, effect)| json!({"key": key, "effect": effect})).collect();
            serde_json::from_value::<Node>(json!({"metadata": {}, "spec": {"taints": taints}})).unwrap()
        };
        let master = node(&[("node-role.kubernetes.io/control-plane", "NoSchedule")]);
        let pool = node(&[("dedicated", "NoExecute"), ("node.kubernetes.io/not-ready", "NoSchedule")]);
        let wanted = |nodes: &[Node]| -> Vec<_> {
            tolerations(nodes).into_iter().map(|it| (it.key.unwrap(), it.effect.unwrap())).collect()
        };
        let both = [("dedicated", "NoExecute"), ("node-role.kubernetes.io/control-plane", "NoSchedule")];
        assert_eq!(wanted(&[master.clone(), pool.clone(), pool.clone()]), both.map(|(a, b)| (a.into(), b.into())));
        for open in [node(&[]), node(&[("better-not", "PreferNoSchedule")])] {
            assert_eq!(wanted(&[master.clone(), pool.clone(), open]), []);
        }
    }

    #[test]
    fn what_is_refused_is_as_expected_and_needs_no_cure() {
        let found = findings(&trial(403), &[], &[]);
        assert!(found.iter().all(|finding| finding.verdict == Verdict::Pass && finding.close.is_none()));
    }

    #[test]
    fn what_could_not_be_tried_is_inconclusive() {
        let subject = Subject::service_account("shop/default").unwrap();
        let found = findings(&Trial { subject, answers: Err("quota".into()) }, &[], &[]);
        assert_eq!((found.len(), found[0].verdict, found[0].happened.as_str()), (1, Verdict::Inconclusive, "quota"));
    }
}
