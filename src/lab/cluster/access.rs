//! The way to a cluster: a kubeconfig, a context, a client. The user's own context is read and never changed.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use kube::{Client, Config, config::KubeConfigOptions};

use super::{
    kubeconfig::{self, HINT},
    mark::ClusterMark,
    patience::{Outages, Patience},
    plugin::{PluginError, sign_in},
    transport,
};
use crate::lab::LabError;

const PATIENCE: Duration = Duration::from_secs(15);
/// How long a connection may be silent while something is awaited: longer than the API server lets a watch last.
const SILENCE: Duration = Duration::from_secs(330);

/// A client, and how a person reaches the same cluster.
#[derive(Clone)]
pub(crate) struct Access {
    /// The client.
    pub(crate) client: Client,
    /// The context's name.
    pub(crate) context: String,
    /// The kubeconfig, where it is not the default one.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// What tells the cluster from others.
    pub(crate) mark: ClusterMark,
    /// When the API server was away; nothing is known of it where requests are not patient.
    pub(crate) outages: Outages,
}

/// How to get to an API server.
#[derive(Clone, Copy)]
struct Way {
    /// Without any proxy.
    direct: bool,
    /// Waiting where it is away for a while.
    patient: bool,
}

impl Access {
    /// The API server of a cluster that the run made, by its private kubeconfig and without any proxy.
    pub(crate) async fn private(kubeconfig: &Path) -> Result<Self, LabError> {
        Self::open(None, Some(kubeconfig), Way { direct: true, patient: true }).await
    }

    /// A user's cluster: `KUBECONFIG` or the default file, and the current context, where nothing else is said.
    pub(crate) async fn user(context: Option<&str>, kubeconfig: Option<&Path>) -> Result<Self, LabError> {
        Self::open(context, kubeconfig, Way { direct: false, patient: false }).await
    }

    /// A user's cluster, as a lab, which a restart of the API server does not end.
    pub(crate) async fn lab(context: Option<&str>, kubeconfig: Option<&Path>) -> Result<Self, LabError> {
        Self::open(context, kubeconfig, Way { direct: false, patient: true }).await
    }

    async fn open(context: Option<&str>, kubeconfig: Option<&Path>, way: Way) -> Result<Self, LabError> {
        let name = kubeconfig.map(|path| format!(" `{}`", path.display())).unwrap_or_default();
        let mut file = kubeconfig::awaited(kubeconfig, PATIENCE).await?;
        let context = kubeconfig::context(&file, context)?;
        if way.direct {
            // Also an empty value keeps the proxy variables of the environment away.
            file.clusters
                .iter_mut()
                .filter_map(|named| named.cluster.as_mut())
                .for_each(|cluster| cluster.proxy_url = None);
        }
        let options = KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
        let config = Config::from_custom_kubeconfig(file, &options).await;
        let mut config = config
            .map_err(|error| LabError::with_hint(format!("the kubeconfig{name} is broken: {}", chain(&error)), HINT))?;
        if way.direct {
            config.proxy_url = None;
        }
        config.connect_timeout = Some(PATIENCE);
        config.read_timeout = Some(SILENCE);
        // A stream that is written to is not silent.
        config.reset_reader_on_write = true;
        let mark = ClusterMark::of(&config);
        let outages = Outages::default();
        let client = client(config, way.patient.then(|| Patience::new(outages.clone()))).await;
        let client = client.map_err(|error| match error {
            ClientError::Plugin(error) => LabError::with_hint(error.to_string(), PluginError::HINT),
            ClientError::Kube(error) => {
                LabError::with_hint(format!("cannot use the kubeconfig{name}: {}", chain(&error)), HINT)
            }
        })?;
        let hint = "see that the cluster runs and that the context is the right one (`--context`)";
        match tokio::time::timeout(PATIENCE, client.apiserver_version()).await {
            Ok(Ok(_)) => Ok(Self { client, context, kubeconfig: kubeconfig.map(Path::to_owned), mark, outages }),
            Ok(Err(kube::Error::Api(status))) if status.code == 401 => Err(LabError::with_hint(
                format!("the API server at {} does not know you: {}", mark.server, status.message),
                "the credential of the kubeconfig's user has expired or is another cluster's; sign in again",
            )),
            Ok(Err(error)) => Err(LabError::with_hint(
                format!("the API server at {} does not answer: {}", mark.server, chain(&error)),
                hint,
            )),
            Err(_) => Err(LabError::with_hint(format!("the API server at {} does not answer", mark.server), hint)),
        }
    }

    /// `kubectl`, with what it needs to find this cluster.
    pub(crate) fn kubectl(&self) -> String {
        let file = self.kubeconfig.as_ref().map(|path| format!(" --kubeconfig {}", path.display())).unwrap_or_default();
        format!("kubectl{file} --context {}", self.context)
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The credential plugin gave no credential.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// The configuration is of no use.
    #[error(transparent)]
    Kube(#[from] kube::Error),
}

/// A client, signed in by the user's credential plugin where there is one.
pub(crate) async fn client(mut config: Config, patience: Option<Patience>) -> Result<Client, ClientError> {
    let token = sign_in(&mut config).await?;
    Ok(transport::client(config, token, patience)?)
}

/// An error with all its causes, each said once.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}
