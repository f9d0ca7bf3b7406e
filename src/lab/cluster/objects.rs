//! The Kubernetes objects that a lab makes, as JSON. Pure; applying them is elsewhere.

use serde_json::{Value, json};

use crate::{
    lab::state::RUN_LABEL,
    scenario::{Labels, PodSpec, Protocol},
};

/// The image of pods where nothing else is said: every Kubernetes end-to-end test uses it, and it has `curl`.
pub(crate) const PROBE_IMAGE: &str = "registry.k8s.io/e2e-test-images/agnhost:2.56";
/// The container in each pod.
pub(crate) const CONTAINER: &str = "probe";
/// Where an agent in a pod says which nonces it has seen, on the pod's loopback device only.
pub(crate) const CONTROL_PORT: u16 = 61_080;

/// The agent in each pod.
pub(crate) const AGENT: &str = "/pp/agent";

/// Waits for the agent without polling and becomes it. A restarted container finds the agent in place. Descriptor 1 is
/// opened for reading as well, so that neither side waits for the other and the agent never writes to a closed pipe.
const WAIT_FOR_AGENT: &str = "mkfifo /pp/go /pp/out 2>/dev/null; [ -x /pp/agent ] || read -r go </pp/go; \
                              exec /pp/agent \"$@\" 1<>/pp/out";
/// Takes the agent from standard input, lets it start, and waits until it says that it listens.
pub(crate) const CARRY_IN: &str = "cat >/pp/new && chmod 755 /pp/new && mv /pp/new /pp/agent && \
                                   { mkfifo /pp/go /pp/out 2>/dev/null; echo go >/pp/go; read -r line </pp/out; \
                                   echo \"$line\"; }";
/// Waits until a restarted agent says that it listens.
pub(crate) const AWAIT_AGENT: &str = "read -r line </pp/out; echo \"$line\"";

/// A namespace with its labels.
pub(crate) fn namespace(name: &str, run: &str, labels: &Labels) -> Value {
    let mut labels = labels.clone();
    labels.insert(RUN_LABEL.to_owned(), run.to_owned());
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels } })
}

/// A pod that waits for its agent, in a form that the `restricted` pod security level admits.
pub(crate) fn pod(spec: &PodSpec, namespace: &str, run: &str, hostname: &str, image: &str) -> Value {
    let mut labels = spec.labels.clone();
    labels.insert(RUN_LABEL.to_owned(), run.to_owned());
    let ports: Vec<Value> = spec
        .ports
        .iter()
        .map(|port| {
            let mut value = json!({ "containerPort": port.port, "protocol": port.protocol });
            if let Some(name) = &port.name {
                value["name"] = json!(name);
            }
            value
        })
        .collect();
    let listen = spec.ports.iter().filter_map(|port| match port.protocol {
        Protocol::Tcp => Some(("--listen", port.port)),
        Protocol::Udp => Some(("--udp", port.port)),
        Protocol::Sctp => None,
    });
    let mut command = vec!["sh".to_owned(), "-c".to_owned(), WAIT_FOR_AGENT.to_owned(), "sh".to_owned()];
    command.extend(["serve".to_owned(), "--identity".to_owned(), identity(spec)]);
    command.extend(["--control".to_owned(), format!("127.0.0.1:{CONTROL_PORT}")]);
    command.extend(listen.flat_map(|(flag, port)| [flag.to_owned(), format!("0.0.0.0:{port}")]));
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": spec.name, "namespace": namespace, "labels": labels },
        "spec": {
            "nodeSelector": { "kubernetes.io/hostname": hostname },
            "tolerations": [{ "key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule" }],
            "automountServiceAccountToken": false, "enableServiceLinks": false, "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532,
                "seccompProfile": { "type": "RuntimeDefault" },
                "sysctls": [{ "name": "net.ipv4.ip_unprivileged_port_start", "value": "0" }],
            },
            "volumes": [{ "name": "pp", "emptyDir": { "medium": "Memory", "sizeLimit": "64Mi" } }],
            "containers": [{
                "name": CONTAINER, "image": image, "imagePullPolicy": "IfNotPresent", "command": command, "ports": ports,
                "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
                "volumeMounts": [{ "name": "pp", "mountPath": "/pp" }],
            }],
        },
    })
}

/// A pod in a node's own network namespace, from which probes start. The level `privileged` alone admits it.
pub(crate) fn node_pod(name: &str, namespace: &str, run: &str, hostname: &str, image: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": namespace, "labels": { RUN_LABEL: run } },
        "spec": {
            "hostNetwork": true,
            "nodeSelector": { "kubernetes.io/hostname": hostname },
            "tolerations": [{ "operator": "Exists" }],
            "automountServiceAccountToken": false, "enableServiceLinks": false, "terminationGracePeriodSeconds": 0,
            "securityContext": { "runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [{
                "name": CONTAINER, "image": image, "imagePullPolicy": "IfNotPresent",
                "command": ["sh", "-c", "mkfifo /tmp/never && read -r never </tmp/never"],
                "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
            }],
        },
    })
}

/// What a pod's server says that it is. The namespace is the logical one.
pub(crate) fn identity(spec: &PodSpec) -> String {
    format!("pod/{}/{}", spec.namespace, spec.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{NodeName, PortSpec};

    #[test]
    fn a_pod_listens_on_its_ports_and_names_them() {
        let port = |name: Option<&str>, port, protocol| PortSpec { name: name.map(str::to_owned), port, protocol };
        let spec = PodSpec {
            name: "app1".to_owned(),
            namespace: "x".to_owned(),
            labels: Labels::from([("app".to_owned(), "app1".to_owned())]),
            node: NodeName::Worker,
            ports: vec![port(Some("web"), 80, Protocol::Tcp), port(None, 53, Protocol::Udp)],
            host_network: false,
        };
        let value = pod(&spec, "pp-r-x", "r", "node-1", "image");
        assert_eq!(value["metadata"]["labels"], json!({ "app": "app1", RUN_LABEL: "r" }));
        let container = &value["spec"]["containers"][0];
        assert_eq!(container["ports"][0], json!({ "name": "web", "containerPort": 80, "protocol": "TCP" }));
        assert_eq!(container["ports"][1], json!({ "containerPort": 53, "protocol": "UDP" }));
        let command: Vec<_> = container["command"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (flag, address) in [("--listen", "0.0.0.0:80"), ("--udp", "0.0.0.0:53")] {
            assert!(command.windows(2).any(|pair| pair == [flag, address]), "{command:?}");
        }
        assert!(command.contains(&"pod/x/app1"), "{command:?}");
    }
}
