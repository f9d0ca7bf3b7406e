//! A scenario with its manifests, as the loader hands it on.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use k8s_openapi::api::networking::v1::NetworkPolicy;

use super::{Diagnostic, Places, Scenario};

/// A scenario file that was read and checked, and the manifests that its steps name.
#[derive(Clone, Debug)]
pub struct LoadedScenario {
    /// The file; for shipped scenarios a path below `scenarios/`.
    pub path: PathBuf,
    /// Whether it came with the binary.
    pub shipped: bool,
    /// What the file says; whoever selects it shares it.
    pub scenario: Arc<Scenario>,
    /// By the file name that the steps use: the documents of that file, in order.
    pub manifests: BTreeMap<String, Vec<Arc<Manifest>>>,
    /// What is likely not meant as it stands; never an error.
    pub warnings: Vec<Diagnostic>,
    /// Where its expectations stand, for faults that only show once they are planned.
    pub places: Places,
}

/// One document of a manifest file.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The file.
    pub path: PathBuf,
    /// The document as it stands, which is what a cluster gets.
    pub raw: serde_json::Value,
    /// `apiVersion`, for instance `networking.k8s.io/v1`.
    pub api_version: String,
    /// `kind`, for instance `NetworkPolicy`.
    pub kind: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`, a logical name; `default` where nothing is said.
    pub namespace: String,
    /// The parsed policy, where it is one that the simulator models.
    pub policy: Option<Arc<NetworkPolicy>>,
}

impl Manifest {
    /// A NetworkPolicy that is in no file of its own.
    ///
    /// # Errors
    /// Where the specification is none.
    pub fn network_policy(
        path: impl Into<PathBuf>,
        (namespace, name): (&str, &str),
        spec: &serde_json::Value,
    ) -> Result<Self, serde_json::Error> {
        let (api_version, kind) = ("networking.k8s.io/v1".to_owned(), "NetworkPolicy".to_owned());
        let metadata = serde_json::json!({"name": name, "namespace": namespace});
        let raw = serde_json::json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec});
        Ok(Self {
            path: path.into(),
            policy: Some(Arc::new(serde_json::from_value(raw.clone())?)),
            raw,
            api_version,
            kind,
            name: name.to_owned(),
            namespace: namespace.to_owned(),
        })
    }

    /// Whether it is of a kind that has no part in what reaches what.
    #[must_use]
    pub fn is_inert(&self) -> bool {
        self.api_version == "v1" && ["ConfigMap", "Secret", "ServiceAccount"].contains(&self.kind.as_str())
    }
}
