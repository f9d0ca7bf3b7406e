//! From flags to a lab that is not yet built. The one place that knows which backend takes which flag.

use clap::ValueEnum as _;

use super::{Backend, BackendArgs, DenyBy, Problem};
use crate::{
    input,
    lab::{
        LabBuilder,
        cluster::ClusterBuilder,
        embedded::{self, EmbeddedBuilder},
        kind::{Cni, KindBuilder, shipped_configuration, shipped_configurations},
    },
    scenario::files::LARGEST_FILE,
};

/// The environment's way to say `--node-image`. It is no error beside another backend: it is set for a whole CI job.
const NODE_IMAGE: &str = "POLICYPROBE_NODE_IMAGE";

/// The builder of the lab that the flags describe.
pub fn builder(args: &BackendArgs) -> anyhow::Result<Box<dyn LabBuilder>> {
    check(args)?;
    match args.backend {
        Backend::Embedded => {
            Ok(Box::new(EmbeddedBuilder { binary: None, deny_by: deny_by(args.deny_by), mutant: args.mutant }))
        }
        Backend::Kind => Ok(Box::new(KindBuilder {
            node_image: node_image(args),
            cni: cni(args.cni.as_deref())?,
            config: kind_config(args.kind_config.as_deref())?,
            keep: args.keep,
            cluster: args.cluster.clone(),
            probe_image: args.probe_image.clone(),
        })),
        Backend::Cluster => Ok(Box::new(ClusterBuilder {
            context: args.context.clone(),
            kubeconfig: args.kubeconfig.clone(),
            probe_image: args.probe_image.clone(),
        })),
    }
}

/// The node image of the flag, or of the environment.
pub(super) fn node_image(args: &BackendArgs) -> Option<String> {
    args.node_image.clone().or_else(|| std::env::var(NODE_IMAGE).ok().filter(|image| !image.is_empty()))
}

/// The CNI that `--cni` means. A file that is not there is found out before a cluster is made.
fn cni(flag: Option<&str>) -> Result<Cni, Problem> {
    match flag {
        None | Some("default") => Ok(Cni::Default),
        Some("none") => Ok(Cni::None),
        Some(file) if std::path::Path::new(file).is_file() => Ok(Cni::File(file.into())),
        Some(file) => {
            let path = std::path::Path::new(file);
            let why = match path.exists() {
                true if path.is_dir() => "this is a folder, and a file is meant",
                true => "this is no regular file",
                false => "there is no such file",
            };
            Err(Problem::usage(format!("`--cni {file}`: {why}"))
                .hint("it takes `default`, `none`, or a manifest file to apply in place of the image's CNI"))
        }
    }
}

/// The text of the kind configuration that `--kind-config` means, read before anything is made.
fn kind_config(flag: Option<&str>) -> Result<Option<String>, Problem> {
    let Some(chosen) = flag else { return Ok(None) };
    let shipped = shipped_configurations();
    if shipped.contains(&chosen) {
        return Ok(shipped_configuration(chosen).map(str::to_owned));
    }
    let hint = format!("it takes a kind configuration file, or one of {}", shipped.join(", "));
    let wrong = |why: String| Problem::usage(format!("`--kind-config {chosen}`: {why}")).hint(hint.clone());
    let text = input::text(chosen.as_ref(), LARGEST_FILE).map_err(|error| wrong(error.to_string()))?;
    let value: serde_json::Value = serde_yaml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    if value["kind"] != "Cluster" {
        return Err(wrong("it is no `kind: Cluster`".to_owned()));
    }
    Ok(Some(text))
}

/// Refuses flags that the chosen backend would ignore.
fn check(args: &BackendArgs) -> Result<(), Problem> {
    use Backend::{Cluster, Embedded, Kind};
    let flags: [(&str, bool, &[Backend]); 10] = [
        ("--deny-by", args.deny_by.is_some(), &[Embedded]),
        ("--mutant", args.mutant.is_some(), &[Embedded]),
        ("--node-image", args.node_image.is_some(), &[Kind]),
        ("--cni", args.cni.is_some(), &[Kind]),
        ("--kind-config", args.kind_config.is_some(), &[Kind]),
        ("--keep", args.keep, &[Kind]),
        ("--cluster", args.cluster.is_some(), &[Kind]),
        ("--context", args.context.is_some(), &[Cluster]),
        ("--kubeconfig", args.kubeconfig.is_some(), &[Cluster]),
        ("--probe-image", args.probe_image.is_some(), &[Kind, Cluster]),
    ];
    for (flag, given, takes) in flags {
        if given && !takes.contains(&args.backend) {
            let message = format!("`{flag}` has no meaning with the backend `{}`", name(args.backend));
            let backends: Vec<_> = takes.iter().map(|backend| format!("`--backend {}`", name(*backend))).collect();
            return Err(Problem::usage(message).hint(format!("it goes with {}", backends.join(" or "))));
        }
    }
    Ok(())
}

fn deny_by(flag: Option<DenyBy>) -> embedded::DenyBy {
    match flag {
        Some(DenyBy::Reject) => embedded::DenyBy::Reject,
        Some(DenyBy::Drop) | None => embedded::DenyBy::Drop,
    }
}

/// The backend's name, as `--backend` takes it.
pub(super) fn name(backend: Backend) -> String {
    backend.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_configuration_is_a_shipped_one_or_a_file() {
        let text = |chosen| kind_config(Some(chosen)).ok().flatten().unwrap_or_default();
        assert!(text("lab").contains("ipFamily: ipv4") && text("dual-stack").contains("ipFamily: dual"));
        let error = kind_config(Some("no-such")).map_or_else(|error| format!("{error:?}"), |_| String::new());
        assert!(error.contains("no-such") && error.contains("dual-stack"), "{error}");
        assert!(kind_config(Some("Cargo.toml")).is_err(), "no YAML");
        assert!(kind_config(Some("kind-config/audit-policy.yaml")).is_err(), "another kind");
    }
}
