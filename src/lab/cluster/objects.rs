//! The Kubernetes objects that a lab makes, as JSON. Pure; applying them is elsewhere.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use serde_json::{Value, json};

use crate::{
    lab::state::RUN_LABEL,
    probe::{AUTHORIZATION, Proof, netexec::IDENTITY_VARIABLE},
    scenario::{Labels, PodSpec, Protocol, ServiceSpec},
};

/// The image of pods where nothing else is said: every Kubernetes end-to-end test uses it, and it has `curl`.
pub(crate) const PROBE_IMAGE: &str = "registry.k8s.io/e2e-test-images/agnhost:2.56";
/// The container in each pod.
pub(crate) const CONTAINER: &str = "probe";
/// The one that runs before it, in pods that have such.
pub(crate) const FIRST_CONTAINER: &str = "first";
/// The label that holds the scenario's name for a pod whose own name is generated.
pub(crate) const POD_LABEL: &str = "policyprobe.io/pod";
/// Where an agent in a pod says which nonces it has seen, on the pod's loopback device only.
const CONTROL_PORT: u16 = 61_080;

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

/// Serves every port by a `netexec` of its own; the arguments are the ports. What ends the container is `pause`.
const NETEXEC: &str = "for port; do /agnhost netexec --http-port=$port --udp-port=-1 & done; exec /agnhost pause";
/// Asks until each port answers: `netexec` does not say when it listens. It is up within two or three tries.
pub(crate) const AWAIT_NETEXEC: &str = "tries=0; for port; do \
     until curl -q -s -o /dev/null --noproxy '*' --max-time 5 http://127.0.0.1:$port/readyz; do \
     tries=$((tries + 1)); [ $tries -lt 1000 ] || exit 1; done; done";

/// Where the token of a pod's service account is.
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Makes of the pod's token the header that probes send, where only the pod itself reads it, and becomes the arguments.
fn with_authorization(command: Vec<String>) -> Vec<String> {
    let script =
        format!("(umask 077; printf 'Authorization: Bearer %s' \"$(cat {TOKEN})\" >{AUTHORIZATION}); exec \"$@\"");
    ["sh".to_owned(), "-c".to_owned(), script, "sh".to_owned()].into_iter().chain(command).collect()
}

/// What serves in the pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    /// Our static agent, which is carried in.
    Agent(&'static [u8]),
    /// The image's own `netexec`.
    Netexec,
}

impl Server {
    /// How it proves its identity.
    pub(crate) fn proof(self) -> Proof {
        match self {
            Self::Agent(_) => Proof::default(),
            Self::Netexec => Proof::Netexec,
        }
    }

    /// The container's command.
    fn command(self, spec: &PodSpec, relays_to: Option<SocketAddr>) -> Vec<String> {
        let mut command = match self {
            Self::Agent(_) => vec!["sh", "-c", WAIT_FOR_AGENT, "sh", "serve", "--identity"],
            Self::Netexec => vec!["sh", "-c", NETEXEC, "sh"],
        }
        .into_iter()
        .map(str::to_owned)
        .collect::<Vec<_>>();
        match self {
            Self::Agent(_) => {
                command.extend([identity(spec), "--control".to_owned(), control(spec).to_string()]);
                let served = spec.ports.iter().filter_map(|port| match port.protocol {
                    Protocol::Tcp => Some(("--listen", port.port)),
                    Protocol::Udp => Some(("--udp", port.port)),
                    Protocol::Sctp => None,
                });
                command.extend(served.flat_map(|(flag, port)| [flag.to_owned(), format!("[::]:{port}")]));
                let relay = spec.relay.zip(relays_to).map(|(port, to)| format!("[::]:{port}={to}"));
                command.extend(relay.into_iter().flat_map(|relay| ["--relay".to_owned(), relay]));
            }
            Self::Netexec => command.extend(tcp_ports(spec).map(|port| port.to_string())),
        }
        command
    }
}

/// Where the agent in a pod says which nonces it has seen. Pods in the network of a node share its loopback device: each
/// has an address there that is made of its first port, which no other pod of the node can have.
pub(crate) fn control(spec: &PodSpec) -> SocketAddrV4 {
    let first = spec.ports.first().filter(|_| spec.host_network);
    let address = first.map_or(Ipv4Addr::LOCALHOST, |port| {
        let [high, low] = port.port.to_be_bytes();
        Ipv4Addr::new(127, 1 + port.protocol as u8, high, low)
    });
    SocketAddrV4::new(address, CONTROL_PORT)
}

/// The TCP ports that a pod serves on.
pub(crate) fn tcp_ports(spec: &PodSpec) -> impl Iterator<Item = u16> {
    spec.ports.iter().filter(|port| port.protocol == Protocol::Tcp).map(|port| port.port)
}

/// What every pod of a run is made with.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    /// The run.
    pub(crate) run: String,
    /// The image.
    pub(crate) image: String,
    /// What serves.
    pub(crate) server: Server,
    /// A script that runs in a container of its own before anything serves.
    pub(crate) first: Option<String>,
    /// Where pods that pass connections on lead to.
    pub(crate) relays_to: Option<SocketAddr>,
}

/// A Service in front of a stage's pods, with an address of each family that the cluster has.
pub(crate) fn service(spec: &ServiceSpec, namespace: &str, run: &str) -> Value {
    let target = spec.target_port.unwrap_or(spec.port);
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": spec.name, "namespace": namespace, "labels": { RUN_LABEL: run } },
        "spec": {
            "selector": spec.selector, "ipFamilyPolicy": "PreferDualStack",
            "ports": [{ "port": spec.port, "targetPort": target, "protocol": spec.protocol }],
        },
    })
}

/// The service account that every namespace has.
pub(crate) const DEFAULT_ACCOUNT: &str = "default";

/// A service account without rights: what it may do, a scenario's manifests say.
pub(crate) fn service_account(name: &str, namespace: &str, run: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": { "name": name, "namespace": namespace, "labels": { RUN_LABEL: run } },
        "automountServiceAccountToken": false,
    })
}

/// A namespace with its labels.
pub(crate) fn namespace(name: &str, run: &str, labels: &Labels) -> Value {
    let mut labels = labels.clone();
    labels.insert(RUN_LABEL.to_owned(), run.to_owned());
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels } })
}

/// The level that admits pods in their nodes' networks, as a label of their namespace.
pub(crate) const PRIVILEGED: (&str, &str) = ("pod-security.kubernetes.io/enforce", "privileged");

/// The least port that needs a right to listen on, where a pod cannot change that for itself.
const UNPRIVILEGED: u16 = 1024;

/// A pod that serves or waits for its agent, in a form that the `restricted` pod security level admits, unless it is in
/// its node's network.
pub(crate) fn pod(spec: &PodSpec, namespace: &str, hostname: &str, recipe: &Recipe) -> Value {
    let mut labels = spec.labels.clone();
    labels.insert(RUN_LABEL.to_owned(), recipe.run.clone());
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
    let command = recipe.server.command(spec, recipe.relays_to);
    let command = if spec.service_account.is_some() { with_authorization(command) } else { command };
    let mut value = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": spec.name, "namespace": namespace, "labels": labels },
        "spec": {
            "nodeSelector": { "kubernetes.io/hostname": hostname },
            "tolerations": [{ "key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule" }],
            "serviceAccountName": spec.service_account.as_deref().unwrap_or(DEFAULT_ACCOUNT),
            "automountServiceAccountToken": spec.service_account.is_some(),
            "enableServiceLinks": false, "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532,
                "seccompProfile": { "type": "RuntimeDefault" },
                "sysctls": [{ "name": "net.ipv4.ip_unprivileged_port_start", "value": "0" }],
            },
            // Of a resolver's usual 5 s a lost query would cost all, and a step is played in less.
            "dnsConfig": { "options": [{ "name": "timeout", "value": "1" }, { "name": "attempts", "value": "5" }] },
            "volumes": [{ "name": "pp", "emptyDir": { "medium": "Memory", "sizeLimit": "64Mi" } }],
            "containers": [{
                "name": CONTAINER, "image": recipe.image, "imagePullPolicy": "IfNotPresent",
                "command": command, "ports": ports,
                "env": [{ "name": IDENTITY_VARIABLE, "value": identity(spec) }],
                "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
                "volumeMounts": [{ "name": "pp", "mountPath": "/pp" }],
            }],
        },
    });
    if let Some(script) = &recipe.first {
        value["spec"]["initContainers"] = json!([{
            "name": FIRST_CONTAINER, "image": recipe.image, "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", script],
            "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
        }]);
    }
    if spec.host_network {
        enter_node(spec, &mut value["spec"]);
    }
    value
}

/// Puts a pod into its node's network: it asks the cluster's DNS all the same, and settings of the network are not its own.
fn enter_node(spec: &PodSpec, value: &mut Value) {
    value["hostNetwork"] = json!(true);
    value["dnsPolicy"] = json!("ClusterFirstWithHostNet");
    let security = &mut value["securityContext"];
    security.as_object_mut().and_then(|settings| settings.remove("sysctls"));
    if spec.ports.iter().any(|port| port.port < UNPRIVILEGED) {
        security["runAsNonRoot"] = json!(false);
        security["runAsUser"] = json!(0);
        value["containers"][0]["securityContext"]["capabilities"]["add"] = json!(["NET_BIND_SERVICE"]);
    }
}

/// A Deployment that keeps one such pod, and never two at a time.
pub(crate) fn deployment(spec: &PodSpec, namespace: &str, hostname: &str, recipe: &Recipe) -> Value {
    let (mut pod, run) = (pod(spec, namespace, hostname, recipe), &recipe.run);
    let mut labels = pod["metadata"]["labels"].take();
    labels[POD_LABEL] = json!(spec.name);
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": spec.name, "namespace": namespace, "labels": { RUN_LABEL: run } },
        "spec": {
            "replicas": 1, "revisionHistoryLimit": 0, "strategy": { "type": "Recreate" },
            // Labels that a scenario takes from the pod must not take the pod from its owner.
            "selector": { "matchLabels": { RUN_LABEL: run, POD_LABEL: spec.name } },
            "template": { "metadata": { "labels": labels }, "spec": pod["spec"].take() },
        },
    })
}

/// The change that turns the labels that a pod has by its scenario into others, as a merge patch. Labels of others stay.
pub(crate) fn relabelling(from: &Labels, to: &Labels) -> Value {
    let removed = from.keys().filter(|key| !to.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let set = to.iter().map(|(key, value)| (key.clone(), json!(value)));
    json!({ "metadata": { "labels": removed.chain(set).collect::<serde_json::Map<_, _>>() } })
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

    fn app1() -> PodSpec {
        let port = |name: Option<&str>, port, protocol| PortSpec { name: name.map(str::to_owned), port, protocol };
        PodSpec {
            name: "app1".to_owned(),
            namespace: "x".to_owned(),
            labels: labels(&[("app", "app1")]),
            node: NodeName::Worker,
            ports: vec![port(Some("web"), 80, Protocol::Tcp), port(None, 53, Protocol::Udp)],
            host_network: false,
            relay: None,
            owner: None,
            service_account: None,
        }
    }

    fn recipe(server: Server) -> Recipe {
        Recipe { run: "r".to_owned(), image: "image".to_owned(), server, first: None, relays_to: None }
    }

    #[test]
    fn netexec_gets_the_tcp_ports_and_its_identity_by_the_environment() {
        let value = pod(&app1(), "pp-r-x", "node-1", &recipe(Server::Netexec));
        let container = &value["spec"]["containers"][0];
        assert_eq!(container["command"], json!(["sh", "-c", NETEXEC, "sh", "80"]));
        assert_eq!(container["env"], json!([{ "name": IDENTITY_VARIABLE, "value": "pod/x/app1" }]));
    }

    #[test]
    fn what_runs_first_is_a_container_that_the_restricted_level_admits() {
        let first = Some("curl x".to_owned());
        let value = pod(&app1(), "x", "node-1", &Recipe { first, ..recipe(Server::Netexec) });
        let [of_first, of_probe] =
            ["initContainers", "containers"].map(|containers| value["spec"][containers][0].clone());
        assert_eq!(of_first["command"], json!(["sh", "-c", "curl x"]));
        for same in ["image", "securityContext"] {
            assert_eq!(of_first[same], of_probe[same]);
        }
        let without = pod(&app1(), "x", "node-1", &recipe(Server::Netexec));
        assert_eq!(without["spec"]["initContainers"], Value::Null);
    }

    #[test]
    fn only_a_pod_with_a_service_account_has_a_token() {
        let of = |account: Option<&str>| {
            let spec = PodSpec { service_account: account.map(str::to_owned), ..app1() };
            pod(&spec, "x", "node-1", &recipe(Server::Netexec))["spec"].clone()
        };
        let (without, with) = (of(None), of(Some("agent")));
        assert_eq!(
            (&without["serviceAccountName"], &without["automountServiceAccountToken"]),
            (&json!("default"), &json!(false))
        );
        assert_eq!(
            (&with["serviceAccountName"], &with["automountServiceAccountToken"]),
            (&json!("agent"), &json!(true))
        );
        let command = with["containers"][0]["command"].as_array().cloned().unwrap_or_default();
        assert!(command[2].as_str().is_some_and(|script| script.contains(AUTHORIZATION)), "{command:?}");
        let own = without["containers"][0]["command"].as_array().cloned().unwrap_or_default();
        assert!(command.ends_with(&own), "{command:?}");
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_deployments_pod_differs_in_the_label_that_finds_it() {
        let recipe = recipe(Server::Agent(b""));
        let (mut alone, owned) =
            (pod(&app1(), "pp-r-x", "node-1", &recipe), deployment(&app1(), "pp-r-x", "node-1", &recipe));
        let template = &owned["spec"]["template"];
        assert_eq!(template["metadata"]["labels"], json!({ "app": "app1", RUN_LABEL: "r", POD_LABEL: "app1" }));
        assert_eq!(template["spec"], alone["spec"].take());
        let selected = owned["spec"]["selector"]["matchLabels"].as_object().into_iter().flatten();
        assert!(selected.clone().all(|(key, value)| template["metadata"]["labels"][key] == *value), "{owned}");
        assert!(selected.clone().all(|(key, _)| key != "app"), "relabelling must not orphan the pod: {owned}");
    }

    #[test]
    fn relabelling_names_what_goes_and_leaves_what_others_set() {
        let change = relabelling(&labels(&[("app", "a"), ("role", "r")]), &labels(&[("app", "b"), ("new", "n")]));
        assert_eq!(change["metadata"]["labels"], json!({ "app": "b", "new": "n", "role": null }));
    }

    #[test]
    fn a_pod_in_its_nodes_network_has_no_settings_of_its_own_and_rights_only_for_low_ports() {
        let recipe = recipe(Server::Agent(b""));
        let low = PodSpec { host_network: true, ..app1() };
        let high = PortSpec { name: None, port: 8181, protocol: Protocol::Udp };
        let high = PodSpec { ports: vec![high], ..low.clone() };
        let [value, of_high] = [&low, &high].map(|spec| pod(spec, "x", "node-1", &recipe)["spec"].take());
        assert_eq!(value["hostNetwork"], json!(true));
        assert_eq!(value["securityContext"]["sysctls"], Value::Null);
        assert_eq!(value["containers"][0]["securityContext"]["capabilities"]["add"], json!(["NET_BIND_SERVICE"]));
        assert_eq!(of_high["securityContext"]["runAsNonRoot"], json!(true));
        assert_eq!(of_high["containers"][0]["securityContext"]["capabilities"]["add"], Value::Null);
        let own = pod(&app1(), "x", "node-1", &recipe);
        assert_eq!(own["spec"]["hostNetwork"], Value::Null);
    }

    #[test]
    fn agents_that_share_a_loopback_device_have_addresses_of_their_own_on_it() {
        let with = |port, protocol| {
            let ports = vec![PortSpec { name: None, port, protocol }];
            control(&PodSpec { host_network: true, ports, ..app1() }).to_string()
        };
        assert_eq!(control(&app1()).to_string(), "127.0.0.1:61080");
        assert_eq!(with(8181, Protocol::Tcp), "127.1.31.245:61080");
        assert_ne!(with(8181, Protocol::Tcp), with(8181, Protocol::Udp));
    }

    #[test]
    fn a_pod_passes_on_what_comes_to_its_relay_where_there_is_something_to_lead_to() {
        let spec = PodSpec { relay: Some(3128), ..app1() };
        let command =
            |to: Option<[u8; 4]>| Server::Agent(b"").command(&spec, to.map(|to| SocketAddr::from((to, 80)))).join(" ");
        assert!(command(Some([169, 254, 169, 254])).ends_with(" --relay [::]:3128=169.254.169.254:80"));
        assert!(!command(None).contains("--relay"));
    }

    #[test]
    fn a_pod_listens_on_its_tcp_ports_and_names_them() {
        let value = pod(&app1(), "pp-r-x", "node-1", &recipe(Server::Agent(b"")));
        assert_eq!(value["metadata"]["labels"], json!({ "app": "app1", RUN_LABEL: "r" }));
        let container = &value["spec"]["containers"][0];
        assert_eq!(container["ports"][0], json!({ "name": "web", "containerPort": 80, "protocol": "TCP" }));
        assert_eq!(container["ports"][1], json!({ "containerPort": 53, "protocol": "UDP" }));
        let command: Vec<_> = container["command"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (flag, address) in [("--listen", "[::]:80"), ("--udp", "[::]:53")] {
            assert!(command.windows(2).any(|pair| pair == [flag, address]), "{command:?}");
        }
        assert!(command.contains(&"pod/x/app1"), "{command:?}");
    }
}
