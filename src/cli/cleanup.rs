//! `policyprobe cleanup`: removes what runs left that were killed. Only what a record or a run's label names is touched.

use anyhow::Context;

use super::{
    output::{conclude, note},
    signals::unless_interrupted,
};
use crate::{
    engine::{NO_LAB, OK},
    lab::{
        LabError,
        cluster::{Access, remove_namespace},
        kind::{remove, settle::settle},
        state::{self, NamespaceRecord, PodRecord, Record, RequestRecord, RunState},
    },
    node::access::{certificate, pods},
};

/// What to remove.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
A run that lives is left alone.

Examples:
  policyprobe cleanup --dry-run
  policyprobe cleanup
  policyprobe cleanup --kept             the clusters of runs with --keep, too")]
pub struct Args {
    /// Only say what would be removed.
    #[arg(long)]
    pub dry_run: bool,
    /// Remove clusters that runs with `--keep` left, too.
    #[arg(long)]
    pub kept: bool,
}

/// Goes through the records of all runs. A run that lives is left alone.
pub async fn run(args: &Args) -> anyhow::Result<u8> {
    unless_interrupted(Box::pin(remove_all(args))).await
}

async fn remove_all(args: &Args) -> anyhow::Result<u8> {
    let mut code = OK;
    let runs = state::runs()?;
    if runs.is_empty() {
        code = conclude("nothing is left of any run\n", code);
    }
    for run in runs {
        match RunState::claim(&run) {
            Ok(None) => code = conclude(&format!("{run}: is under way, left alone\n"), code),
            Ok(Some(state)) if state.record().kept && !args.kept => {
                let cluster = state.record().cluster.unwrap_or_default();
                code =
                    conclude(&format!("{run}: keeps the cluster {cluster}, left alone (`--kept` removes it)\n"), code);
            }
            Ok(Some(state)) if args.dry_run => {
                for line in lines(&state.record()) {
                    code = conclude(&format!("{run}: would remove {line}\n"), code);
                }
            }
            Ok(Some(state)) => {
                let errors = clean(&state).await;
                for error in &errors {
                    note(&format!("{run}: {error}"));
                    code = NO_LAB;
                }
                if errors.is_empty() {
                    for line in lines(&state.record()) {
                        code = conclude(&format!("{run}: removed {line}\n"), code);
                    }
                    state.forget().with_context(|| format!("{run}: its record stays"))?;
                }
            }
            Err(error) => {
                note(&format!("{run}: {error:#}"));
                code = NO_LAB;
            }
        }
    }
    Ok(code)
}

/// What a record names, a line each.
fn lines(record: &Record) -> Vec<String> {
    let children = record.children.iter().map(|child| format!("process {}", child.pid));
    let cluster = record.cluster.iter().map(|name| format!("kind cluster {name}"));
    let docker = record.docker.then(|| "containers and images with its label".to_owned());
    let network = record.network.iter().map(|name| format!("Docker network {name}"));
    let namespaces = record.namespaces.iter().map(|space| format!("namespace {} in {}", space.name, space.context));
    let pods = record.pods.iter().map(|pod| format!("pod {} in {} of {}", pod.name, pod.namespace, pod.context));
    let requests =
        record.requests.iter().map(|it| format!("certificate signing request {} of {}", it.name, it.context));
    children
        .chain(cluster)
        .chain(docker)
        .chain(network)
        .chain(namespaces)
        .chain(pods)
        .chain(requests)
        .chain(["its record".to_owned()])
        .collect()
}

async fn clean(state: &RunState) -> Vec<LabError> {
    let record = state.record();
    // First whoever may still be making things.
    for child in &record.children {
        settle(*child).await;
    }
    let mut errors = Vec::new();
    if let Some(name) = &record.cluster {
        errors.extend(remove::cluster(name, &state.kubeconfig()).await.err());
    }
    if record.docker {
        errors.extend(remove::labelled(state.run()).await.err());
    }
    if let Some(name) = &record.network {
        errors.extend(remove::network(name).await.err());
    }
    for space in &record.namespaces {
        errors.extend(remove_space(space).await.err());
    }
    for pod in &record.pods {
        errors.extend(remove_pod(pod).await.err());
    }
    for request in &record.requests {
        errors.extend(remove_request(request).await.err());
    }
    errors
}

async fn remove_space(space: &NamespaceRecord) -> Result<(), LabError> {
    let access = Access::user(Some(&space.context), space.kubeconfig.as_deref()).await?;
    remove_namespace(&access, &space.name).await
}

async fn remove_pod(pod: &PodRecord) -> Result<(), LabError> {
    let access = Access::user(Some(&pod.context), pod.kubeconfig.as_deref()).await?;
    match pods::remove(&access.client, std::slice::from_ref(pod)).await.pop() {
        Some(error) => Err(anyhow::Error::msg(error).into()),
        None => Ok(()),
    }
}

async fn remove_request(request: &RequestRecord) -> Result<(), LabError> {
    let access = Access::user(Some(&request.context), request.kubeconfig.as_deref()).await?;
    certificate::remove(&access.client, &request.name).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_a_record_names_is_said() {
        let record = Record {
            cluster: Some("pp-r".to_owned()),
            docker: true,
            namespaces: vec![NamespaceRecord {
                kubeconfig: None,
                context: "prod".to_owned(),
                name: "pp-r-x".to_owned(),
            }],
            ..Record::default()
        };
        let expected =
            ["kind cluster pp-r", "containers and images with its label", "namespace pp-r-x in prod", "its record"];
        assert_eq!(lines(&record), expected);
    }
}
