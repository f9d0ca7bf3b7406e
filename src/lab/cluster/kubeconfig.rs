//! Kubeconfigs as files: found, read and joined as `kubectl` does it, and what their contexts name looked up. Errors say the
//! file and the place, and never what stands there, which may be a secret. What becomes of it is [`super::access`]'s.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use kube::config::{Kubeconfig, KubeconfigError};

use crate::{
    input::{self, InputError},
    lab::LabError,
};

/// A thousand clusters, each with its certificates.
const LARGEST: u64 = 16 << 20;

/// What a person can do who has no kubeconfig that is of use.
pub(super) const HINT: &str =
    "give another file with `--kubeconfig` or KUBECONFIG, or use `--backend kind` or `embedded`";

/// The kubeconfig that is meant: a file, or those of `KUBECONFIG`, or the default one.
pub(crate) fn load(named: Option<&Path>) -> Result<Kubeconfig, LabError> {
    let files = named.map_or_else(places, |path| Ok(vec![path.to_owned()]))?;
    let join = |all: Kubeconfig, path: &PathBuf| {
        let next = read(path)?;
        all.merge(next).map_err(|_| {
            let message =
                format!("the kubeconfig `{}` is of another kind or version than those before it", path.display());
            LabError::with_hint(message, HINT)
        })
    };
    let all = files.iter().try_fold(Kubeconfig::default(), join)?;
    if all.contexts.is_empty() && all.clusters.is_empty() {
        return Err(LabError::with_hint(format!("the kubeconfig {} has no clusters", names(&files)), HINT));
    }
    Ok(all)
}

/// The same, aside: a pipe may keep whoever reads it waiting.
pub(super) async fn awaited(named: Option<&Path>, patience: Duration) -> Result<Kubeconfig, LabError> {
    let named = named.map(Path::to_owned);
    let reading = tokio::task::spawn_blocking(move || load(named.as_deref()));
    match tokio::time::timeout(patience, reading).await {
        Ok(read) => read.context("reading the kubeconfig")?,
        Err(_) => Err(LabError::with_hint(
            format!("the kubeconfig does not end within {} s", patience.as_secs()),
            "it is a pipe: see that the command that writes to it ends",
        )),
    }
}

/// The context that is meant, with a cluster and a user that there are.
pub(super) fn context(file: &Kubeconfig, chosen: Option<&str>) -> Result<String, LabError> {
    let listed = |names: Vec<&str>| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let known = || format!("contexts: {}", listed(file.contexts.iter().map(|context| context.name.as_str()).collect()));
    let Some(name) = chosen.or(file.current_context.as_deref()).filter(|name| !name.is_empty()) else {
        let hint = format!("name one with `--context`; {}", known());
        return Err(LabError::with_hint("the kubeconfig has no current context", hint));
    };
    let Some(context) = file.contexts.iter().find(|context| context.name == name) else {
        return Err(LabError::with_hint(format!("the kubeconfig has no context `{name}`"), known()));
    };
    let lacks = |what: &str, missing: &str, names: Vec<&str>| {
        let message = format!("the context `{name}` names the {what} `{missing}`, which the kubeconfig does not have");
        Err(LabError::with_hint(message, format!("{what}s: {}", listed(names))))
    };
    let Some(context) = &context.context else { return Ok(name.to_owned()) };
    let Some(cluster) = file.clusters.iter().find(|cluster| cluster.name == context.cluster) else {
        return lacks("cluster", &context.cluster, file.clusters.iter().map(|it| it.name.as_str()).collect());
    };
    if let Some(cluster) = cluster.cluster.as_ref().filter(|cluster| cluster.certificate_authority_data.is_none()) {
        readable("certificate-authority", cluster.certificate_authority.as_ref())?;
    }
    let Some(user) = context.user.as_deref().filter(|user| !user.is_empty()) else { return Ok(name.to_owned()) };
    let Some(user) = file.auth_infos.iter().find(|known| known.name == user) else {
        // Without it everything would be asked as nobody, and refused as if there were a fault in the cluster.
        return lacks("user", user, file.auth_infos.iter().map(|it| it.name.as_str()).collect());
    };
    if let Some(user) = &user.auth_info {
        readable(
            "client-certificate",
            user.client_certificate.as_ref().filter(|_| user.client_certificate_data.is_none()),
        )?;
        readable("client-key", user.client_key.as_ref().filter(|_| user.client_key_data.is_none()))?;
        readable("tokenFile", user.token_file.as_ref())?;
    }
    Ok(name.to_owned())
}

/// Whether a file that a kubeconfig names can be read to its end, as the client will.
fn readable(field: &str, path: Option<&String>) -> Result<(), LabError> {
    let Some(path) = path else { return Ok(()) };
    input::bytes(Path::new(path), LARGEST).map(drop).map_err(|error| {
        let message = format!("`{field}` of the kubeconfig is `{path}`: {error}");
        LabError::with_hint(message, error.hint().unwrap_or(HINT))
    })
}

/// The files that are meant where none is named.
fn places() -> Result<Vec<PathBuf>, LabError> {
    let listed = std::env::var_os("KUBECONFIG").unwrap_or_default();
    let listed: Vec<_> = std::env::split_paths(&listed).filter(|path| !path.as_os_str().is_empty()).collect();
    if !listed.is_empty() {
        return Ok(listed);
    }
    let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
    let home = home.ok_or_else(|| LabError::with_hint("there is no home folder to look for a kubeconfig in", HINT))?;
    Ok(vec![home.join(".kube/config")])
}

fn read(path: &Path) -> Result<Kubeconfig, LabError> {
    let text = input::text_or_pipe(path, LARGEST).map_err(|error| unread(path, &error))?;
    let mut file = Kubeconfig::from_yaml(&text).map_err(|error| unparsed(path, &error))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let absolute = |file: &mut Option<String>| {
        if let Some(name) = file {
            // A path that is absolute already stays what it is.
            *name = folder.join(&name).to_string_lossy().into_owned();
        }
    };
    for cluster in file.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
        absolute(&mut cluster.certificate_authority);
    }
    for user in file.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut()) {
        absolute(&mut user.client_certificate);
        absolute(&mut user.client_key);
        absolute(&mut user.token_file);
        // A command without a slash is looked for on PATH.
        if let Some(exec) = user.exec.as_mut().filter(|exec| exec.command.as_ref().is_some_and(|it| it.contains('/'))) {
            absolute(&mut exec.command);
        }
    }
    Ok(file)
}

fn unread(path: &Path, error: &InputError) -> LabError {
    let hint = match error {
        InputError::System(_) => HINT,
        error => error.hint().unwrap_or(HINT),
    };
    LabError::with_hint(format!("cannot read the kubeconfig `{}`: {error}", path.display()), hint)
}

fn unparsed(path: &Path, error: &KubeconfigError) -> LabError {
    let file = path.display();
    let place = match error {
        KubeconfigError::Parse(error) => error.location(),
        _ => None,
    };
    let message = match place {
        Some(place) => {
            format!(
                "{file}:{}:{}: this is no kubeconfig: what stands here cannot be understood",
                place.line(),
                place.column()
            )
        }
        None => format!("{file}: this is no kubeconfig"),
    };
    let hint = format!(
        "`kubectl config view --kubeconfig {file}` says more; what is in it is not shown here, as it may be secret"
    );
    LabError::with_hint(message, hint)
}

fn names(files: &[PathBuf]) -> String {
    files.iter().map(|path| format!("`{}`", path.display())).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const SOUND: &str = "{clusters: [{name: c, cluster: {server: 'https://a'}}], users: [{name: u, user: {}}, \
                         {name: t, user: {tokenFile: /dev/null}}], contexts: [{name: x, context: {cluster: c, user: u}}, {name: y, context: {cluster: c, user: v}}, \
                         {name: z, context: {cluster: d}}, {name: t, context: {cluster: c, user: t}}]}";

    #[test]
    fn what_a_context_names_is_there() {
        let file = Kubeconfig::from_yaml(SOUND).unwrap();
        let said =
            |chosen| context(&file, chosen).unwrap_or_else(|error| format!("{error}; {}", error.hint().unwrap()));
        assert_eq!(said(Some("x")), "x");
        assert!(said(Some("y")).contains("names the user `v`") && said(Some("y")).ends_with("users: u, t"));
        assert!(said(Some("z")).contains("names the cluster `d`") && said(Some("z")).ends_with("clusters: c"));
        assert!(said(None).contains("no current context") && said(None).ends_with("contexts: x, y, z, t"));
        assert!(said(Some("w")).contains("no context `w`"));
        assert!(said(Some("t")).contains("`tokenFile` of the kubeconfig is `/dev/null`: this is no regular file"));
    }

    #[test]
    fn a_fault_has_its_place_and_no_excerpt() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        for text in
            ["users:\n- name: u\n  user: {token: [s3cret]}\n", "users: [\n  s3cret", "a: s3cret\na: 1\n", "s3cret"]
        {
            std::fs::write(&path, text).unwrap();
            let error = load(Some(&path)).unwrap_err();
            let said = format!("{error} {}", error.hint().unwrap());
            assert!(said.starts_with(&path.display().to_string()) && !said.contains("s3cret"), "{said}");
        }
        for (bytes, said) in [(&b"\xff\xfe\0"[..], "UTF-8"), (b"", "has no clusters")] {
            std::fs::write(&path, bytes).unwrap();
            let error = load(Some(&path)).unwrap_err().to_string();
            assert!(error.contains(said) && error.contains(&path.display().to_string()), "{error}");
        }
    }

    #[test]
    fn what_it_names_is_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        let text = "{clusters: [{name: c, cluster: {certificate-authority: ca}}], \
                    users: [{name: u, user: {tokenFile: /t, exec: {command: ./a}}}, {name: v, user: {exec: {command: aws}}}]}";
        std::fs::write(&path, text).unwrap();
        let file = load(Some(&path)).unwrap();
        let beside = |name: &str| Some(folder.path().join(name).to_string_lossy().into_owned());
        let user = |index: usize| file.auth_infos[index].auth_info.clone().unwrap();
        assert_eq!(file.clusters[0].cluster.as_ref().unwrap().certificate_authority, beside("ca"));
        assert_eq!(user(0).token_file.as_deref(), Some("/t"));
        assert_eq!(user(0).exec.unwrap().command, beside("./a"));
        assert_eq!(user(1).exec.unwrap().command.as_deref(), Some("aws"));
    }
}
