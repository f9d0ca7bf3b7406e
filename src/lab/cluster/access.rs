//! The way to a cluster: a kubeconfig, a context, a client. The user's own context is read and never changed.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
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
}

impl Access {
    /// The API server of a cluster that the run made, by its private kubeconfig and without any proxy.
    pub(crate) async fn private(kubeconfig: &Path) -> Result<Self, LabError> {
        Self::open(None, Some(kubeconfig), true).await
    }

    /// A user's cluster: `KUBECONFIG` or the default file, and the current context, where nothing else is said.
    pub(crate) async fn user(context: Option<&str>, kubeconfig: Option<&Path>) -> Result<Self, LabError> {
        Self::open(context, kubeconfig, false).await
    }

    async fn open(context: Option<&str>, kubeconfig: Option<&Path>, direct: bool) -> Result<Self, LabError> {
        let hint = "give another file with `--kubeconfig` or KUBECONFIG, or use `--backend kind` or `embedded`";
        // Without a file named, the error names those that were tried; a fault of syntax names none.
        let name = kubeconfig.map(|path| format!(" `{}`", path.display())).unwrap_or_default();
        let file = kubeconfig.map_or_else(Kubeconfig::read, Kubeconfig::read_from);
        let mut file = file.map_err(|error| {
            LabError::with_hint(format!("cannot read the kubeconfig{name}: {}", chain(&error)), hint)
        })?;
        let Some(context) = context.map(str::to_owned).or_else(|| file.current_context.clone()) else {
            return Err(LabError::with_hint("the kubeconfig has no current context", "name one with `--context`"));
        };
        if !file.contexts.iter().any(|known| known.name == context) {
            let known: Vec<_> = file.contexts.iter().map(|context| context.name.as_str()).collect();
            let hint = format!("contexts: {}", if known.is_empty() { "none".to_owned() } else { known.join(", ") });
            return Err(LabError::with_hint(format!("the kubeconfig has no context `{context}`"), hint));
        }
        if direct {
            // Also an empty value keeps the proxy variables of the environment away.
            file.clusters
                .iter_mut()
                .filter_map(|named| named.cluster.as_mut())
                .for_each(|cluster| cluster.proxy_url = None);
        }
        let options = KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
        let config = Config::from_custom_kubeconfig(file, &options).await;
        let mut config = config
            .map_err(|error| LabError::with_hint(format!("the kubeconfig is broken: {}", chain(&error)), hint))?;
        if direct {
            config.proxy_url = None;
        }
        config.connect_timeout = Some(PATIENCE);
        config.read_timeout = Some(SILENCE);
        // A stream that is written to is not silent.
        config.reset_reader_on_write = true;
        let server = config.cluster_url.to_string();
        let client = Client::try_from(config)
            .map_err(|error| LabError::with_hint(format!("cannot use the kubeconfig: {}", chain(&error)), hint))?;
        let hint = "see that the cluster runs and that the context is the right one (`--context`)";
        match tokio::time::timeout(PATIENCE, client.apiserver_version()).await {
            Ok(Ok(_)) => Ok(Self { client, context, kubeconfig: kubeconfig.map(Path::to_owned) }),
            Ok(Err(error)) => {
                Err(LabError::with_hint(format!("the API server at {server} does not answer: {}", chain(&error)), hint))
            }
            Err(_) => Err(LabError::with_hint(format!("the API server at {server} does not answer"), hint)),
        }
    }

    /// `kubectl`, with what it needs to find this cluster.
    pub(crate) fn kubectl(&self) -> String {
        let file = self.kubeconfig.as_ref().map(|path| format!(" --kubeconfig {}", path.display())).unwrap_or_default();
        format!("kubectl{file} --context {}", self.context)
    }
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
