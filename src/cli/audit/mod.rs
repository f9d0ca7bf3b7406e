//! `policyprobe metadata audit`: what of each cloud's metadata pods can get at, as one table, and what to do about it.

mod leave;
mod survey;
mod table;

use std::{io::IsTerminal as _, path::PathBuf, sync::Arc};

use futures::{StreamExt as _, stream};

use self::survey::{Position, Seen, Setup, State};
use super::{
    BackendArgs, Global, Problem,
    args::namespace,
    backend,
    conduct::progress,
    conduct::width_of,
    metadata::{HOPS, IMDS, check_flags},
    output::conclude,
    signals,
};
use crate::{
    engine::{self, Event, Events},
    lab::{Lab, Source},
    metadata::{self, Cloud, Imds},
    report::Theme,
    scenario::{
        DEFAULT_NAMESPACE, LabSpec, Labels, Manifest, MetadataServerSpec, NamespaceSpec, Need, NodeName, PodSpec,
        PortSpec, Protocol, Topology, label_key, label_value, load_policies,
    },
};

/// How many clouds are looked at side by side: waiting is most of the work.
const LANES: usize = 16;

/// Say what of each cloud's metadata pods can get at, and what to do about it
///
/// Pods without labels, pods with the label that may, and the node (where pods with hostNetwork are) ask an emulated server
/// for each category of metadata: first without policies, then with those that are given.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  policyprobe metadata audit                                  every cloud, without any policy
  policyprobe metadata audit --policies ./policies            what is left with these
  policyprobe metadata audit --cloud aws --imds v2 --hop-limit 1
  policyprobe metadata audit --backend kind --policies ./policies

Exit codes:
  0  pods that may not get at nothing     1  they get at something     4  nothing can be said")]
pub struct Args {
    /// A cloud; repeatable [default: every cloud that the lab can have]
    #[arg(long = "cloud", value_enum, value_name = "CLOUD")]
    clouds: Vec<Cloud>,
    /// A manifest file with policies, or a folder of such; repeatable
    #[arg(long, value_name = "PATH")]
    policies: Vec<PathBuf>,
    /// A namespace to have pods in, beside `default` and those of the policies; repeatable
    #[arg(long = "namespace", value_name = "NAME", value_parser = namespace)]
    namespaces: Vec<String>,
    /// The label of the pods that may
    #[arg(long, value_name = "KEY=VALUE", default_value = "role=metadata-accessor", value_parser = label)]
    label: (String, String),
    /// AWS, Alibaba: whether a session token is needed
    #[arg(long, value_enum, default_value = "v1")]
    imds: Imds,
    /// AWS: how many hops the answer with a session token may take [default: the system's]
    #[arg(long, value_name = "HOPS", value_parser = clap::value_parser!(u8).range(1..=64))]
    hop_limit: Option<u8>,
    /// Where the server is: off the nodes, on them, or behind a rule of theirs
    #[arg(long, value_enum, default_value = "routed")]
    topology: Topology,
    /// cluster: ask the real services, by their root path alone; what they answer is never kept
    #[arg(long)]
    allow_real_metadata: bool,
    #[command(flatten)]
    backend: BackendArgs,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("it is written KEY=VALUE")?;
    label_key(key).and_then(|()| label_value(value))?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Runs the audit; the exit code.
pub async fn run(args: &Args, global: Global) -> anyhow::Result<u8> {
    let mut policies = Vec::new();
    for path in &args.policies {
        let loaded = load_policies(path)?;
        if loaded.is_empty() {
            let what = if path.is_dir() { "folder" } else { "file" };
            return Err(Problem::usage(format!(
                "`--policies {}`: there is no manifest in this {what}",
                path.display()
            ))
            .hint("leave `--policies` out for a look without policies")
            .into());
        }
        policies.extend(loaded);
    }
    let clouds = if args.clouds.is_empty() { Cloud::ALL } else { &args.clouds };
    check_flags(clouds, &[("--imds", args.imds != Imds::V1, IMDS), ("--hop-limit", args.hop_limit.is_some(), HOPS)])?;
    if let Some(other) = policies.iter().find(|manifest| manifest.policy.is_none()) {
        let message = format!("{}: {} `{}` is no NetworkPolicy", other.path.display(), other.kind, other.name);
        return Err(Problem::usage(message).hint("give the files with policies alone").into());
    }
    let builder = backend::builder(&args.backend)?;
    let cancel = signals::token()?;
    let (events, mut receiver) = Events::channel();
    let mut shown = progress(global);
    shown.event(&Event::Phase("making the lab".to_owned()));
    let run = format!("audit-{}", std::process::id());
    let lab = builder.build(&run, &[], &events, &cancel).await?;
    let audited = audit(args, &policies, &lab, &cancel).await;
    let left = lab.teardown().await;
    while let Ok(event) = receiver.try_recv() {
        shown.event(&event);
    }
    shown.clear();
    for error in left {
        super::output::complain(&error.to_string(), error.hint());
    }
    let report = audited?;
    let out = std::io::stdout();
    let width = out.is_terminal().then(|| width_of(&out)).flatten();
    Ok(conclude(&table::render(&report, Theme::detect(width)), report.exit_code()))
}

/// What was found.
struct Report {
    /// Where it was found, and how.
    title: String,
    /// By cloud, then position.
    seen: Vec<Seen>,
    /// The label of those that may.
    label: (String, String),
    /// The namespaces in which somebody may not and can.
    namespaces: Vec<String>,
}

impl Report {
    /// The clouds that are open to somebody who may not, each once.
    fn open(&self) -> Vec<Cloud> {
        let mut clouds = Vec::new();
        for seen in self.seen.iter().filter(|seen| !seen.position.may && seen.is_open()) {
            if !clouds.contains(&seen.cloud) {
                clouds.push(seen.cloud);
            }
        }
        clouds
    }

    fn exit_code(&self) -> u8 {
        let unknown = |seen: &Seen| seen.states.iter().flatten().any(|state| *state == State::Unknown);
        if !self.open().is_empty() {
            engine::FAILED
        } else if self.seen.iter().any(unknown) {
            engine::INCONCLUSIVE
        } else {
            engine::OK
        }
    }
}

async fn audit(
    args: &Args,
    policies: &[Arc<Manifest>],
    lab: &Arc<dyn Lab>,
    cancel: &tokio_util::sync::CancellationToken,
) -> anyhow::Result<Report> {
    let capabilities = lab.capabilities();
    let is_emulated = leave::check(args, lab.backend(), capabilities)?;
    let topology = args.topology;
    let mut names = vec![DEFAULT_NAMESPACE.to_owned()];
    for name in args.namespaces.iter().cloned().chain(policies.iter().map(|manifest| manifest.namespace.clone())) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let with_node = capabilities.has.contains(&Need::NodeSource);
    let (pods, positions) = positions(&names, &args.label, with_node);
    let spec = LabSpec {
        metadata_server: MetadataServerSpec { topology, imds: args.imds, hop_limit: args.hop_limit, legacy: false },
        namespaces: pods.iter().map(|pod| (pod.namespace.clone(), NamespaceSpec::default())).collect(),
        pods,
        ..LabSpec::default()
    };
    let is_here = |cloud: &Cloud| *cloud != Cloud::Gke || capabilities.has.contains(&Need::MetadataSettings);
    let all = || Cloud::ALL.iter().copied().filter(is_here).collect();
    let clouds: Vec<Cloud> = if args.clouds.is_empty() { all() } else { args.clouds.clone() };
    let setup = Setup { lab: Arc::clone(lab), spec, positions, policies: policies.to_vec(), is_emulated };
    let seen: Vec<_> = if is_emulated {
        let surveys = clouds.iter().enumerate().map(|(index, cloud)| {
            let lane = u32::try_from(index % LANES).unwrap_or_default();
            survey::emulated(&setup, *cloud, lane, cancel)
        });
        // In order, since the report is.
        stream::iter(surveys).buffered(LANES).collect().await
    } else {
        vec![survey::real(&setup, &clouds, cancel).await]
    };
    let mut all = Vec::new();
    for seen in seen {
        all.extend(seen?);
    }
    let after = if policies.is_empty() { "without policies".to_owned() } else { counted(policies.len()) };
    let open_in = |name: &&String| {
        all.iter().any(|seen| !seen.position.may && seen.is_open() && seen.position.namespace == **name)
    };
    let namespaces = names.iter().filter(open_in).cloned().collect();
    Ok(Report {
        title: format!("Metadata that pods can get at: {}, {}, {after}", lab.backend(), topology.as_str()),
        namespaces,
        seen: all,
        label: args.label.clone(),
    })
}

fn counted(policies: usize) -> String {
    if policies == 1 { "with 1 policy".to_owned() } else { format!("with {policies} policies") }
}

/// The pods to make, and the places from which is asked; the node is last, since it is everybody's witness.
fn positions(namespaces: &[String], label: &(String, String), with_node: bool) -> (Vec<PodSpec>, Vec<Position>) {
    let (mut pods, mut positions) = (Vec::new(), Vec::new());
    let ports = || vec![PortSpec { name: None, port: 80, protocol: Protocol::Tcp }];
    for namespace in namespaces {
        for (name, labels, may) in
            [("unlabelled", Labels::new(), false), ("labelled", Labels::from([label.clone()]), true)]
        {
            let prefix = if namespace == DEFAULT_NAMESPACE { String::new() } else { format!("{namespace}/") };
            positions.push(Position {
                text: format!("{prefix}{name} pod"),
                namespace: namespace.clone(),
                source: Source::Pod(namespace.clone(), name.to_owned()),
                may,
            });
            pods.push(PodSpec {
                name: name.to_owned(),
                namespace: namespace.clone(),
                labels,
                node: NodeName::Worker,
                ports: ports(),
                host_network: false,
                relay: None,
                owner: None,
                service_account: None,
            });
        }
    }
    pods.push(PodSpec {
        name: survey::CANARY.to_owned(),
        namespace: survey::CANARY.to_owned(),
        labels: Labels::from([(survey::CANARY.to_owned(), "yes".to_owned())]),
        node: NodeName::Worker,
        ports: ports(),
        host_network: false,
        relay: None,
        owner: None,
        service_account: None,
    });
    if with_node {
        let text = "node, hostNetwork".to_owned();
        positions.push(Position { text, namespace: String::new(), source: Source::Node(NodeName::Worker), may: true });
    }
    (pods, positions)
}

/// The advice for what is open: the policies, and each cloud's own switch.
fn advice(report: &Report) -> Option<(String, Vec<(Cloud, &'static str)>)> {
    let open = report.open();
    let (key, value) = (&report.label.0, &report.label.1);
    let policies = |namespace: &String| metadata::policies(&open, namespace, (key, value));
    let text = report.namespaces.iter().map(policies).collect::<Vec<_>>().join("---\n");
    (!open.is_empty()).then(|| (text, open.iter().map(|cloud| (*cloud, metadata::switch(*cloud))).collect()))
}
