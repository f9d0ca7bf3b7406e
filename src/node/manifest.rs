//! The manifest that runs a watch in a cluster, with no right but to get, list and watch nodes.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

/// The name of everything in it.
const NAME: &str = "policyprobe-node-watch";

/// Where what was seen is kept, over a restart of the container.
const STATE: &str = "/var/lib/policyprobe";

/// The port of the metrics.
const PORT: u16 = 9464;

/// The objects, in the order in which they are applied. `rules` is the text of a rules file.
#[must_use]
pub fn objects(namespace: &str, image: &str, rules: Option<&str>) -> Vec<Value> {
    let labels = json!({"app.kubernetes.io/name": NAME});
    let meta = |name: &str| json!({"name": name, "namespace": namespace, "labels": labels});
    let cluster = json!({"name": NAME, "labels": labels});
    let restricted = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let mut args = vec!["node".to_owned(), "watch".into(), "--output=json".into(), format!("--metrics=0.0.0.0:{PORT}")];
    args.push(format!("--resume={STATE}/seen.json"));
    let mut mounts = vec![json!({"name": "state", "mountPath": STATE})];
    let mut volumes = vec![json!({"name": "state", "emptyDir": {}})];
    let mut annotations = json!({});
    let mut objects = vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": restricted}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta(NAME), "automountServiceAccountToken": false}),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": cluster,
            "rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"]}],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": cluster,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": NAME},
            "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": namespace}],
        }),
    ];
    if let Some(rules) = rules {
        objects.push(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta(NAME), "data": {"rules.yaml": rules}}),
        );
        args.push("--rules=/etc/policyprobe/rules.yaml".into());
        // They are read at the start: with other rules it has to be another pod.
        annotations["policyprobe.io/rules"] = json!(hash(rules));
        mounts.push(json!({"name": "rules", "mountPath": "/etc/policyprobe", "readOnly": true}));
        volumes.push(json!({"name": "rules", "configMap": {"name": NAME}}));
    }
    let container = json!({
        "name": "watch", "image": image, "command": ["policyprobe"], "args": args, "volumeMounts": mounts,
        "ports": [{"name": "metrics", "containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": "metrics"}},
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
        },
    });
    let pod = json!({
        // The only pod that has the token.
        "serviceAccountName": NAME, "automountServiceAccountToken": true, "containers": [container], "volumes": volumes,
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"},
        },
    });
    objects.push(json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta(NAME),
        "spec": {
            // Two would report everything twice.
            "replicas": 1, "strategy": {"type": "Recreate"}, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": pod},
        },
    }));
    objects
}

fn hash(text: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_may_read_nodes_and_nothing_else() {
        let objects = objects("monitoring", "example.com/policyprobe:1", Some("kind: NodeRules\n"));
        let roles: Vec<_> = objects.iter().filter(|object| object["kind"] == "ClusterRole").collect();
        assert_eq!(roles.len(), 1);
        assert_eq!(
            roles[0]["rules"],
            json!([{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"]}])
        );
        assert!(!objects.iter().any(|object| object["kind"] == "Role" || object["kind"] == "RoleBinding"));
        let deployment = objects.iter().find(|object| object["kind"] == "Deployment").map(|it| &it["spec"]["template"]);
        insta::assert_snapshot!(serde_yaml::to_string(&deployment).unwrap_or_default());
    }
}
