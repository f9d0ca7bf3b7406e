//! The credential plugin of a kubeconfig's user (`users[].user.exec`), which is somebody else's program: it gets so much
//! time and no more, is started once for a credential, and what it prints is never shown, as it may well be a token.

use std::{process::Stdio, sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures::future::BoxFuture;
use http::{HeaderValue, Request, header::AUTHORIZATION};
use jiff::{SignedDuration, Timestamp};
use kube::{
    Config,
    config::{AuthInfo, ExecConfig, ExecInteractiveMode},
};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;
use tower::{BoxError, filter::AsyncPredicate};

use super::child::{self, Limits};

/// How long a plugin may take that asks nobody anything.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long one may take that has a person at a terminal, who may have to find a second factor.
const PATIENCE_AT_TERMINAL: Duration = Duration::from_secs(300);
/// A token is renewed so long before it expires.
const BEFORE: SignedDuration = SignedDuration::from_secs(60);

/// What is wrong with a plugin. Each names its command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PluginError {
    /// The kubeconfig names no command.
    #[error("the kubeconfig's credential plugin (`users[].user.exec`) has no `command`")]
    Nameless,
    /// It asks a person, and there is none.
    #[error("the credential plugin `{0}` is `interactiveMode: Always`, and there is no terminal")]
    NoTerminal(String),
    /// It could not be run, or ran for too long.
    #[error("the credential plugin `{command}` {problem}")]
    Failed { command: String, problem: child::Problem },
    /// What it printed is of no use.
    #[error("the credential plugin `{command}` printed {printed}")]
    Nonsense { command: String, printed: &'static str },
}

impl PluginError {
    /// What a person can do.
    pub(crate) const HINT: &'static str = "`users[].user.exec` of the kubeconfig has the plugin; run it by hand, with the \
                                           environment that it has there, and sign in again if it asks for it";
}

/// Has the user's plugin, where there is one, sign in. What does not expire becomes part of the configuration; a token that
/// does is returned, to be renewed.
pub(super) async fn sign_in(config: &mut Config) -> Result<Option<Token>, PluginError> {
    let auth = &mut config.auth_info;
    // As everywhere, what stands in the file itself comes before what a plugin says.
    let stands = auth.auth_provider.is_some()
        || auth.token.is_some()
        || auth.token_file.is_some()
        || (auth.username.is_some() && auth.password.is_some());
    let Some(exec) = auth.exec.take().filter(|_| !stands) else { return Ok(None) };
    sign_in_with(exec, auth, PATIENCE).await
}

async fn sign_in_with(exec: ExecConfig, auth: &mut AuthInfo, patience: Duration) -> Result<Option<Token>, PluginError> {
    let plugin = Plugin { exec, patience };
    match plugin.credential().await? {
        Credential::Certificate { certificate, key } => {
            auth.client_certificate_data = Some(BASE64_STANDARD.encode(certificate));
            auth.client_key_data = Some(BASE64_STANDARD.encode(key).into());
            Ok(None)
        }
        Credential::Token { token, expires: None } => {
            auth.token = Some(token.into());
            Ok(None)
        }
        Credential::Token { token, expires: Some(expires) } => {
            let held = Held { header: plugin.header(&token)?, expires };
            Ok(Some(Token(Arc::new((plugin, Mutex::new(held))))))
        }
    }
}

/// A token that expires, and how another one is had.
#[derive(Clone)]
pub(super) struct Token(Arc<(Plugin, Mutex<Held>)>);

struct Held {
    header: HeaderValue,
    expires: Timestamp,
}

impl Token {
    async fn header(&self) -> Result<HeaderValue, PluginError> {
        let (plugin, held) = &*self.0;
        let mut held = held.lock().await;
        if Timestamp::now() + BEFORE >= held.expires {
            let Credential::Token { token, expires } = plugin.credential().await? else {
                return Err(plugin.nonsense("a certificate where it had a token before"));
            };
            let expires = expires.unwrap_or(Timestamp::MAX - BEFORE);
            *held = Held { header: plugin.header(&token)?, expires };
        }
        Ok(held.header.clone())
    }
}

impl<B: Send + 'static> AsyncPredicate<Request<B>> for Token {
    type Future = BoxFuture<'static, Result<Request<B>, BoxError>>;
    type Request = Request<B>;

    fn check(&mut self, mut request: Request<B>) -> Self::Future {
        let token = self.clone();
        Box::pin(async move {
            request.headers_mut().insert(AUTHORIZATION, token.header().await?);
            Ok(request)
        })
    }
}

#[derive(Debug)]
enum Credential {
    Token { token: String, expires: Option<Timestamp> },
    Certificate { certificate: String, key: String },
}

/// An `ExecCredential`, as far as it is an answer.
#[derive(Deserialize)]
struct Answer {
    kind: String,
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
    expiration_timestamp: Option<Timestamp>,
}

struct Plugin {
    exec: ExecConfig,
    patience: Duration,
}

impl Plugin {
    async fn credential(&self) -> Result<Credential, PluginError> {
        let program = self.exec.command.as_deref().ok_or(PluginError::Nameless)?;
        let terminal = child::has_terminal();
        let interactive = match self.exec.interactive_mode {
            Some(ExecInteractiveMode::Never) => false,
            Some(ExecInteractiveMode::Always) if !terminal => return Err(PluginError::NoTerminal(self.title())),
            // Whoever has no terminal may have an audit log on its standard input: that is not for the plugin.
            _ => terminal,
        };
        let mut command = tokio::process::Command::new(program);
        command.args(self.exec.args.iter().flatten());
        let variables = self.exec.env.iter().flatten();
        command.envs(variables.filter_map(|pair| Some((pair.get("name")?, pair.get("value")?))));
        let cluster = self.exec.cluster.as_ref().filter(|_| self.exec.provide_cluster_info);
        let mut spec = json!({"interactive": interactive});
        if let Some(cluster) = cluster {
            spec["cluster"] = json!(cluster);
        }
        let question = json!({"apiVersion": self.exec.api_version, "kind": "ExecCredential", "spec": spec});
        command.env("KUBERNETES_EXEC_INFO", question.to_string());
        let limits = if interactive {
            command.stdin(Stdio::inherit()).stderr(Stdio::inherit());
            Limits { time: PATIENCE_AT_TERMINAL, own_group: false }
        } else {
            command.stdin(Stdio::null()).stderr(Stdio::piped());
            Limits { time: self.patience, own_group: true }
        };
        let printed = child::output(command, limits).await;
        let printed = printed.map_err(|problem| PluginError::Failed { command: self.title(), problem })?;
        read(&printed).map_err(|printed| self.nonsense(printed))
    }

    fn header(&self, token: &str) -> Result<HeaderValue, PluginError> {
        let mut header = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| self.nonsense("a token that cannot be sent"))?;
        header.set_sensitive(true);
        Ok(header)
    }

    fn nonsense(&self, printed: &'static str) -> PluginError {
        PluginError::Nonsense { command: self.title(), printed }
    }

    /// The command alone: its arguments may well hold a secret.
    fn title(&self) -> String {
        self.exec.command.clone().unwrap_or_default()
    }
}

/// What a plugin printed: JSON, or YAML, which `kubectl` takes as well. An error says what it is instead.
fn read(printed: &[u8]) -> Result<Credential, &'static str> {
    let answer: Option<Answer> = serde_yaml::from_slice(printed).ok();
    let Some(answer) = answer.filter(|answer| answer.kind == "ExecCredential") else {
        return Err("no ExecCredential");
    };
    match answer.status.ok_or("an ExecCredential without a status")? {
        Status { client_certificate_data: Some(certificate), client_key_data: Some(key), .. } => {
            Ok(Credential::Certificate { certificate, key })
        }
        Status { token: Some(token), expiration_timestamp: expires, .. } if !token.is_empty() => {
            Ok(Credential::Token { token, expires })
        }
        _ => Err("an ExecCredential without a token or a certificate"),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn shell(script: &str) -> ExecConfig {
        let exec = json!({"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never", "command": "sh",
                          "args": ["-c", script], "env": [{"name": "WHO", "value": "anna"}]});
        serde_json::from_value(exec).unwrap()
    }

    async fn signed_in(script: &str) -> (Result<Option<Token>, String>, AuthInfo) {
        let mut auth = AuthInfo::default();
        let token = sign_in_with(shell(script), &mut auth, Duration::from_secs(20)).await;
        (token.map_err(|error| error.to_string()), auth)
    }

    fn answer(status: &serde_json::Value) -> String {
        format!("echo '{}'", json!({"kind": "ExecCredential", "status": status}))
    }

    #[tokio::test]
    async fn tokens_and_certificates_become_part_of_the_configuration() {
        let (token, auth) = signed_in(&answer(&json!({"token": "t"}))).await;
        assert!(token.unwrap().is_none() && auth.token.is_some());
        let pair = json!({"clientCertificateData": "certificate", "clientKeyData": "key"});
        let (token, auth) = signed_in(&answer(&pair)).await;
        assert!(token.unwrap().is_none() && auth.client_key_data.is_some());
        assert_eq!(auth.client_certificate_data, Some(BASE64_STANDARD.encode("certificate")));
        let yaml = "echo \"kind: ExecCredential\nstatus: {token: $WHO}\"";
        assert!(signed_in(yaml).await.1.token.is_some());
    }

    #[tokio::test]
    async fn a_token_that_expires_is_renewed() {
        let folder = tempfile::tempdir().unwrap();
        let calls = folder.path().join("calls");
        let count = format!("echo x >> {0}; n=$(wc -l < {0})", calls.display());
        let expiring = r#"echo "{\"kind\": \"ExecCredential\", \"status\": {\"token\": \"t$n\", \"expirationTimestamp\": \"2000-01-01T00:00:00Z\"}}""#;
        let (token, _) = signed_in(&format!("{count}; {expiring}")).await;
        let token = token.unwrap().unwrap();
        assert_eq!(token.header().await.unwrap(), "Bearer t2");
        assert_eq!(token.header().await.unwrap(), "Bearer t3");
        let lasting = expiring.replace("2000-", "2999-");
        std::fs::remove_file(&calls).unwrap();
        let (token, _) = signed_in(&format!("{count}; {lasting}")).await;
        let token = token.unwrap().unwrap();
        for _ in 0..2 {
            assert_eq!(token.header().await.unwrap(), "Bearer t1");
        }
    }

    #[tokio::test]
    async fn what_is_wrong_is_said_without_what_was_printed() {
        for (script, said) in [
            ("echo secret", "printed no ExecCredential"),
            ("echo '{\"kind\": \"ExecCredential\"}'", "without a status"),
            (
                "echo '{\"kind\": \"ExecCredential\", \"status\": {\"token\": \"\"}}'",
                "without a token or a certificate",
            ),
            ("echo secret; echo sign in >&2; exit 3", "failed (exit status: 3): sign in"),
        ] {
            let error = signed_in(script).await.0.err().unwrap();
            assert!(error.contains("`sh` ") && error.contains(said), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[tokio::test]
    async fn one_that_hangs_is_ended() {
        let mut auth = AuthInfo::default();
        let hanging = sign_in_with(shell("sleep 600; true"), &mut auth, Duration::from_millis(200)).await;
        let error = hanging.err().unwrap().to_string();
        assert!(error.contains("`sh` did not end within 0.2 s"), "{error}");
    }
}
