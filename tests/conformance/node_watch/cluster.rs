//! A kind cluster that posts audit events to this machine, and programs run beside and in it.

use std::{
    io::Write as _,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use ipnet::Ipv4Net;
use libtest_mimic::Failed;
use tempfile::TempDir;

/// The token of the webhook.
const TOKEN: &str = "kind-test";

/// Why there can be no cluster here.
pub(super) fn unavailable() -> Option<String> {
    let reason = |program: &str, args: &[&str]| run(program, args, "").err().map(|error| format!("{error:?}"));
    reason("docker", &["info"]).or_else(|| reason("kind", &["version"])).or_else(|| reason("ldd", &["--version"]))
}

/// Runs a program to its end; what it printed, or what went wrong.
pub(super) fn run(program: &str, args: &[&str], input: &str) -> Result<String, Failed> {
    let title = || format!("`{program} {}`", args.join(" "));
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{}: {error}", title()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read is judged by what it says.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{} failed: {}", title(), String::from_utf8_lossy(&output.stderr)).into())
}

/// The address of this machine that is there before kind's own network, and that containers of any network reach: the first
/// of Docker's bridge.
fn gateway() -> Result<Ipv4Addr, Failed> {
    let format = "{{range .IPAM.Config}}{{.Subnet}} {{end}}";
    let subnets = run("docker", &["network", "inspect", "bridge", "-f", format], "")?;
    let first = |subnet: &str| subnet.parse::<Ipv4Net>().ok()?.hosts().next();
    subnets.split_whitespace().find_map(first).ok_or_else(|| format!("Docker's bridge has no IPv4: {subnets}").into())
}

/// A cluster of a master and a worker; removed when this goes.
pub(super) struct Cluster {
    name: String,
    folder: TempDir,
    /// Where it posts its audit events.
    pub(super) webhook: SocketAddr,
}

impl Cluster {
    /// Makes one.
    pub(super) fn make() -> Result<Self, Failed> {
        let webhook = TcpListener::bind((gateway()?, 0))?.local_addr()?;
        let cluster =
            Self { name: format!("policyprobe-test-{}", std::process::id()), folder: TempDir::new()?, webhook };
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("kind-config");
        for file in ["audit-policy.yaml", "audit-target.yaml", "audit-webhook.yaml"] {
            let text = std::fs::read_to_string(shipped.join(file))?;
            let text = text.replace("http://172.18.0.1:9465/change-me", &format!("http://{webhook}/{TOKEN}"));
            std::fs::write(
                cluster.path(file),
                text.replace("hostPath: ./", &format!("hostPath: {}/", cluster.folder.path().display())),
            )?;
        }
        std::fs::write(cluster.path("token"), TOKEN)?;
        let (config, kubeconfig) = (cluster.path("audit-webhook.yaml"), cluster.path("kubeconfig"));
        let image = std::env::var("POLICYPROBE_NODE_IMAGE").ok().filter(|image| !image.is_empty());
        let (config, kubeconfig) = (config.display().to_string(), kubeconfig.display().to_string());
        let mut args =
            vec!["create", "cluster", "--name", &cluster.name, "--config", &config, "--kubeconfig", &kubeconfig];
        args.extend(["--wait", "120s"]);
        args.extend(image.iter().flat_map(|image| ["--image", image]));
        run("kind", &args, "")?;
        // `--wait` is about the control plane alone.
        let worker = format!("node/{}", cluster.worker());
        for condition in ["create", "condition=Ready"] {
            cluster.kubectl(&["wait", &worker, &format!("--for={condition}"), "--timeout=120s"])?;
        }
        Ok(cluster)
    }

    /// A file of the tests'.
    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// The worker, as a node and as a container.
    pub(super) fn worker(&self) -> String {
        format!("{}-worker", self.name)
    }

    /// `kubectl` on the control plane, as its administrator.
    pub(super) fn kubectl(&self, args: &[&str]) -> Result<String, Failed> {
        self.kubectl_with(args, "")
    }

    /// The same with something on stdin.
    pub(super) fn kubectl_with(&self, args: &[&str], input: &str) -> Result<String, Failed> {
        let own = self.control_plane();
        let front = ["exec", "-i", &own, "kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf"];
        run("docker", &[&front[..], args].concat(), input)
    }

    /// The control plane's node and container.
    pub(super) fn control_plane(&self) -> String {
        format!("{}-control-plane", self.name)
    }

    /// The harness, for this cluster.
    pub(super) fn policyprobe(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_policyprobe"));
        command.args(args).arg("--kubeconfig").arg(self.path("kubeconfig"));
        command
    }

    /// Brings an image that Docker has to the nodes.
    pub(super) fn load(&self, image: &str) -> Result<(), Failed> {
        run("kind", &["load", "docker-image", image, "--name", &self.name], "").map(drop)
    }

    /// A node without a machine, as large as any.
    pub(super) fn make_ghost(&self, name: &str) -> Result<String, Failed> {
        let node = format!("{{apiVersion: v1, kind: Node, metadata: {{name: {name}}}, spec: {{unschedulable: true}}}}");
        self.kubectl_with(&["create", "-f", "-", "-o", "jsonpath={.metadata.uid}"], &node)
    }
}

/// A program on a node.
pub(super) fn on(node: &str, args: &[&str]) -> Result<String, Failed> {
    run("docker", &[&["exec", node][..], args].concat(), "")
}

/// The container of this name that runs on a node.
pub(super) fn container(node: &str, name: &str) -> Result<String, Failed> {
    let filter = format!("labels.\"io.kubernetes.container.name\"=={name}");
    let named = on(node, &["ctr", "-n", "k8s.io", "containers", "ls", "-q", &filter])?;
    let tasks = on(node, &["ctr", "-n", "k8s.io", "tasks", "ls"])?;
    let runs = |id: &&str| tasks.lines().any(|line| line.starts_with(*id) && line.trim_end().ends_with("RUNNING"));
    let found = named.split_whitespace().find(runs).map(str::to_owned);
    found.ok_or_else(|| format!("no container `{name}` runs on {node}: {tasks}").into())
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Nobody is left to be told of a failure.
        let _ = run("kind", &["delete", "cluster", "--name", &self.name], "");
    }
}
