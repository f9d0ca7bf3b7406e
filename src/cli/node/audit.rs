//! `policyprobe node audit`: who can read and who can change node metadata, asked and really tried.

use std::{io::IsTerminal as _, path::PathBuf};

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Node;
use kube::{Client, ResourceExt as _};
use tokio_util::sync::CancellationToken;

use super::ClusterArgs;
use crate::{
    cli::{
        Global,
        conduct::width_of,
        output::{conclude, note},
        signals,
    },
    engine::{self, Verdict},
    lab::{
        cluster::{Access, PROBE_IMAGE},
        kind::command,
        state::{PodRecord, RunState},
    },
    node::{
        access::{
            ask::{ask, everybody},
            attempt::Target,
            credential::{self, Identity, Way, tries},
            finding::{Finding, How, exit_code, render},
            pods::{self, Ground, findings, tolerations},
            question::Subject,
            restriction::Version,
        },
        connect,
    },
    report::Theme,
};

/// Whose rights, and how to try them.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "\
It asks with SubjectAccessReviews what each subject may do to nodes and to what leads to them by another way (secrets,
impersonation, exec into kube-system, certificates). Then it tries for real: from inside pods with their mounted tokens,
and as a node. Writes are dry runs, so that admission decides and nothing changes; nodes/proxy is only asked for /healthz.
The node's credential is one for ten minutes that a CertificateSigningRequest makes in clusters of kind, and elsewhere with
--make-credential; where that is refused it is the kind node's own, or impersonation.
The pods are removed at the end; `policyprobe cleanup` removes those of a killed audit.

Exit code: 0 where everything is closed, 1 where something is open, 4 where something could not be tried, 5 where the
cluster cannot be asked.

Examples:
  policyprobe node audit
  policyprobe node audit --service-account monitoring/agent --allow 'monitoring/agent: get nodes*'
  policyprobe node audit --user anna --group developers --try none
  policyprobe node audit --context kind-lab -o json")]
pub(super) struct Args {
    /// A service account, NAMESPACE/NAME; repeatable. Without any subject: each namespace's default, and what everybody is in
    #[arg(long, value_name = "NS/NAME", value_parser = Subject::service_account)]
    service_account: Vec<Subject>,
    /// A user; repeatable
    #[arg(long, value_name = "NAME")]
    user: Vec<String>,
    /// A group; repeatable
    #[arg(long, value_name = "NAME")]
    group: Vec<String>,
    /// What is meant to be allowed, a pattern of SUBJECT: RIGHT; repeatable
    #[arg(long, value_name = "PATTERN")]
    allow: Vec<String>,
    /// Which service accounts to try from inside a pod
    #[arg(long = "try", value_enum, default_value = "allowed", value_name = "WHICH")]
    which: Which,
    /// The image of those pods; it must have `curl` and `sh`
    #[arg(long, value_name = "IMAGE", default_value = PROBE_IMAGE)]
    probe_image: String,
    /// The kubeconfig of a kubelet, to try what a node may do
    #[arg(long, value_name = "FILE", requires = "node")]
    node_credential: Option<PathBuf>,
    /// Make a node's credential also in a cluster that is not one of kind
    #[arg(long, conflicts_with = "node_credential")]
    make_credential: bool,
    /// The node to act as
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// How to show the findings
    #[arg(long, short, value_enum, default_value = "text")]
    output: Output,
    /// Show also what is as expected
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Which {
    /// Those that are allowed something, and the first
    Allowed,
    /// All of them
    All,
    /// None: no pod is made
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people
    Text,
    /// A JSON list
    Json,
}

/// Audits; returns the exit code.
pub(super) async fn run(args: &Args, global: Global) -> anyhow::Result<u8> {
    let cancel = signals::token()?;
    let access = connect::access(args.cluster.context.as_deref(), args.cluster.kubeconfig.as_deref());
    let Some(access) = cancel.run_until_cancelled(access).await.transpose()? else { return Ok(engine::INTERRUPTED) };
    let found = audit(args, &access, &cancel, global).await?;
    if cancel.is_cancelled() {
        return Ok(engine::INTERRUPTED);
    }
    let text = match args.output {
        Output::Json => serde_json::to_string_pretty(&found).context("findings as JSON")? + "\n",
        Output::Text => {
            let out = std::io::stdout();
            let theme = Theme::detect(out.is_terminal().then(|| width_of(&out)).flatten());
            let shown: Vec<Finding> =
                found.iter().filter(|finding| !global.quiet || finding.verdict != Verdict::Pass).cloned().collect();
            render(&shown, args.all, theme)
        }
    };
    Ok(conclude(&text, exit_code(&found)))
}

async fn audit(
    args: &Args,
    access: &Access,
    cancel: &CancellationToken,
    global: Global,
) -> anyhow::Result<Vec<Finding>> {
    let client = &access.client;
    let subjects = subjects(args, client).await?;
    let nodes = credential::nodes(client).await?;
    let state = RunState::create(&engine::run_id())?;
    let identity = async {
        match acting(args, &nodes) {
            Some(own) => as_node(args, access, &state, own, &nodes, global).await,
            None => Vec::new(),
        }
    };
    let reviews = async {
        let mut found = ask(client, &subjects, &args.allow).await?;
        let tried = from_pods(args, access, &state, &subjects, &nodes, &found, cancel).await?;
        found.extend(tried);
        anyhow::Ok(found)
    };
    let (found, restricted) = tokio::join!(reviews, identity);
    let left = state.record();
    if left.pods.is_empty() && left.requests.is_empty() {
        state.forget()?;
    }
    let mut found = found?;
    found.extend(restricted);
    Ok(found)
}

async fn subjects(args: &Args, client: &Client) -> anyhow::Result<Vec<Subject>> {
    let users = args.user.iter().cloned().map(Subject::User);
    let groups = args.group.iter().cloned().map(Subject::Group);
    let named: Vec<_> = args.service_account.iter().cloned().chain(users).chain(groups).collect();
    Ok(if named.is_empty() { everybody(client).await? } else { named })
}

/// The node that is acted as: the one named, or a worker.
fn acting<'a>(args: &Args, nodes: &'a [Node]) -> Option<&'a Node> {
    match &args.node {
        Some(name) => nodes.iter().find(|node| node.name_any() == *name),
        None => nodes.first(),
    }
}

/// The tries from inside pods.
async fn from_pods(
    args: &Args,
    access: &Access,
    state: &RunState,
    subjects: &[Subject],
    nodes: &[Node],
    asked: &[Finding],
    cancel: &CancellationToken,
) -> anyhow::Result<Vec<Finding>> {
    let open = |subject: &Subject| {
        let name = subject.name();
        asked.iter().any(|it| it.subject == name && matches!(it.verdict, Verdict::Fail | Verdict::Recorded))
    };
    let accounts = subjects.iter().filter(|subject| matches!(subject, Subject::ServiceAccount(..)));
    let chosen: Vec<Subject> = match args.which {
        Which::None => Vec::new(),
        Which::All => accounts.cloned().collect(),
        Which::Allowed => {
            let first = accounts.clone().next().cloned();
            accounts.filter(|subject| open(subject) || Some(*subject) == first.as_ref()).cloned().collect()
        }
    };
    let target = nodes.iter().find_map(|node| {
        let addresses = node.status.as_ref()?.addresses.as_ref()?;
        let internal = addresses.iter().find(|address| address.type_ == "InternalIP")?;
        Some(Target { name: node.name_any(), address: internal.address.parse().ok()? })
    });
    let (Some(target), false) = (target, chosen.is_empty()) else { return Ok(Vec::new()) };
    let record =
        PodRecord { kubeconfig: access.kubeconfig.clone(), context: access.context.clone(), ..PodRecord::default() };
    let (client, image) = (&access.client, args.probe_image.as_str());
    let ground = Ground { client, state, record, image, target: &target, tolerations: tolerations(nodes) };
    // However it ends, the pods are removed.
    let trials = cancel.run_until_cancelled(ground.trials(&chosen)).await.unwrap_or_default();
    let left = pods::remove(client, &state.record().pods).await;
    for left in &left {
        note(&format!("note: not removed: {left}; `policyprobe cleanup` tries it again"));
    }
    if left.is_empty() {
        state.update(|all| all.pods.clear())?;
    }
    Ok(trials.iter().flat_map(|trial| findings(trial, asked, &args.allow)).collect())
}

/// The tries as a node.
async fn as_node(
    args: &Args,
    access: &Access,
    state: &RunState,
    own: &Node,
    nodes: &[Node],
    global: Global,
) -> Vec<Finding> {
    let name = own.name_any();
    let unknown = |happened: String| {
        vec![Finding {
            subject: format!("system:node:{name}"),
            tried: "what a node may do".to_owned(),
            how: How::NodeCredential,
            happened,
            expected: "an answer to each try".to_owned(),
            verdict: Verdict::Inconclusive,
            rule: None,
            matters: None,
            close: Some(
                "give a kubelet's kubeconfig with `--node-credential`, or the right to impersonate nodes".to_owned(),
            ),
        }]
    };
    let identity = match identity(args, access, state, &name, global).await {
        Ok(identity) => identity,
        Err(error) => return unknown(format!("{error:#}")),
    };
    let version = access.client.apiserver_version().await;
    let Some(version) = version.ok().and_then(|version| Version::parse(&version.git_version)) else {
        return unknown("the API server does not say its version".to_owned());
    };
    let other = nodes.iter().find(|node| node.name_any() != name);
    tries(&identity, own, other, version).await
}

async fn identity(
    args: &Args,
    access: &Access,
    state: &RunState,
    node: &str,
    global: Global,
) -> anyhow::Result<Identity> {
    if let Some(file) = &args.node_credential {
        return Ok(credential::of_kubelet(file, node).await?.confirmed().await?);
    }
    let way = Way { context: &access.context, kubeconfig: access.kubeconfig.as_deref() };
    // Elsewhere a credential as good as a kubelet's is not made unasked.
    if args.make_credential || access.context.starts_with("kind-") {
        let made = match way.certified(&access.client, state, node).await {
            Ok(identity) => identity.confirmed().await,
            Err(error) => Err(error),
        };
        match made {
            Ok(identity) => return Ok(identity),
            Err(error) if !global.quiet => {
                note(&format!("note: {error}; it goes on with the next best credential of a node"));
            }
            Err(_) => {}
        }
    }
    // The nodes of a kind cluster are containers of their names.
    if let Some(cluster) = access.context.strip_prefix("kind-") {
        let containers = command::run("kind", &["get", "nodes", "--name", cluster], None).await;
        if containers.is_ok_and(|names| names.lines().any(|name| name == node)) {
            return Ok(way.kind(node).await?.confirmed().await?);
        }
    }
    Ok(way.impersonated(node).await?.confirmed().await?)
}
