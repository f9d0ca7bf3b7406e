//! `policyprobe doctor`: which backends work here, what is missing, and how to get it.

use std::{fmt::Write as _, time::Instant};

use tokio_util::sync::CancellationToken;

use super::{Backend, BackendArgs, Global, backend, output::conclude, signals::unless_interrupted};
use crate::{
    engine::{self, Events, Verdict},
    lab::{Check, cluster, embedded::curl_says, kind},
    probe::OLDEST_CURL,
    report::Theme,
};

/// The flags.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  policyprobe doctor
  policyprobe doctor --quiet && policyprobe lab

The exit code is 0 where the default backend works, and else 5.")]
pub struct Args {}

/// What one backend needs.
struct Section {
    backend: Backend,
    checks: Vec<Check>,
}

impl Section {
    fn works(&self) -> bool {
        self.checks.iter().all(|check| check.ok)
    }
}

/// Prints what there is and what is missing.
pub async fn run(_args: &Args, global: Global) -> anyhow::Result<u8> {
    unless_interrupted(Box::pin(look(global))).await
}

async fn look(global: Global) -> anyhow::Result<u8> {
    let node_image = backend::node_image(&BackendArgs::default());
    let (embedded, kind, cluster) =
        tokio::join!(embedded(), kind::doctor(node_image.as_deref()), cluster::doctor(None, None));
    let sections = [(Backend::Embedded, embedded), (Backend::Kind, kind), (Backend::Cluster, cluster)];
    let sections = sections.map(|(backend, checks)| Section { backend, checks });
    let default = Backend::default();
    let works = sections.iter().any(|section| section.backend == default && section.works());
    let text = render(&sections, Theme::detect(None), global.quiet);
    Ok(conclude(&text, if works { engine::OK } else { engine::NO_LAB }))
}

/// In quiet mode only what is missing.
fn render(sections: &[Section], theme: Theme, quiet: bool) -> String {
    let mut text = String::new();
    let widest = sections.iter().flat_map(|section| &section.checks).map(|check| check.name.chars().count()).max();
    for section in sections {
        if quiet && section.works() {
            continue;
        }
        let verdict = if section.works() { Verdict::Pass } else { Verdict::Fail };
        let state = if section.works() { "works here" } else { "does not work here" };
        let default = if section.backend == Backend::default() { " (the default)" } else { "" };
        let line = format!("{}{default} {state}", backend::name(section.backend));
        let _ = writeln!(text, "{}", theme.line(verdict, &line));
        for check in section.checks.iter().filter(|check| !(quiet && check.ok)) {
            let verdict = if check.ok { Verdict::Pass } else { Verdict::Fail };
            // What a program said may have several lines.
            let detail = check.detail.trim_end().replace('\n', "\n      ");
            let name = format!("{:1$}  {detail}", check.name, widest.unwrap_or(0));
            let _ = writeln!(text, "  {}", theme.line(verdict, name.trim_end()));
            if let Some(hint) = check.hint.as_ref().filter(|_| !check.ok) {
                let _ = writeln!(text, "      hint: {hint}");
            }
        }
    }
    text
}

async fn embedded() -> Vec<Check> {
    let mut checks = vec![curl(curl_says().await)];
    if cfg!(target_os = "linux") {
        checks.extend(user_namespaces());
        checks.push(lab().await);
    } else {
        checks.push(Check {
            name: "network namespaces".to_owned(),
            ok: false,
            detail: "they exist on Linux only".to_owned(),
            hint: Some("`--backend kind` works wherever Docker and kind do; or use a Linux machine or VM".to_owned()),
        });
    }
    checks
}

fn curl(output: std::io::Result<std::process::Output>) -> Check {
    let hint = || Some(format!("install curl {}.{} or later from your distribution", OLDEST_CURL.0, OLDEST_CURL.1));
    let check = |ok, detail: String| Check { name: "curl".to_owned(), ok, detail, hint: hint().filter(|_| !ok) };
    match output {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            match version(&text) {
                Some(found) if found >= OLDEST_CURL => check(true, format!("version {}.{}", found.0, found.1)),
                Some(found) => check(false, format!("version {}.{} is too old", found.0, found.1)),
                None => check(false, "`curl --version` says nothing that is understood".to_owned()),
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
            check(false, "it does not say its version".to_owned())
        }
        Err(error) => check(false, format!("it cannot be started: {error}")),
    }
}

/// Major and minor version, of `curl 8.5.0 (x86_64-pc-linux-gnu) …`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.strip_prefix("curl ")?.split(['.', ' ', '-']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Settings that forbid an ordinary user what the lab needs. Root is bound by the first alone.
fn user_namespaces() -> Vec<Check> {
    #[cfg(unix)]
    let root = nix::unistd::geteuid().is_root();
    #[cfg(not(unix))]
    let root = false;
    let settings = [
        ("user.max_user_namespaces", "0", "15000", true),
        ("kernel.unprivileged_userns_clone", "0", "1", false),
        ("kernel.apparmor_restrict_unprivileged_userns", "1", "0", false),
    ];
    let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).ok();
    let forbidding = settings.into_iter().filter(|(name, forbids, _, binds_root)| {
        (*binds_root || !root) && read(name).is_some_and(|value| value.trim() == *forbids)
    });
    let checks = forbidding.map(|(name, forbids, allows, _)| Check {
        name: "user namespaces".to_owned(),
        ok: false,
        detail: format!("`{name}` is {forbids}"),
        hint: Some(format!("sudo sysctl -w {name}={allows}")),
    });
    checks.collect()
}

/// Whether a lab can be made is best known by making one.
async fn lab() -> Check {
    let begin = Instant::now();
    let (events, _) = Events::channel();
    let made = async {
        let lab =
            backend::builder(&BackendArgs::default())?.build("doctor", &[], &events, &CancellationToken::new()).await?;
        anyhow::Ok(lab.teardown().await)
    };
    let name = "a lab".to_owned();
    match made.await {
        Ok(errors) if errors.is_empty() => {
            let detail = format!("made and removed in {} ms", begin.elapsed().as_millis());
            Check { name, ok: true, detail, hint: None }
        }
        Ok(errors) => Check { name, ok: false, detail: format!("not removed: {}", errors[0]), hint: None },
        Err(error) => {
            let hint = error.downcast_ref::<crate::lab::LabError>().and_then(crate::lab::LabError::hint);
            Check { name, ok: false, detail: format!("{error:#}"), hint: hint.map(str::to_owned) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_curl() {
        assert_eq!(version("curl 8.5.0 (x86_64-pc-linux-gnu) libcurl/8.5.0"), Some((8, 5)));
        assert_eq!(version("curl 7.84.0-DEV"), Some((7, 84)));
        assert_eq!(version("curl: unknown"), None);
    }

    #[test]
    fn what_is_missing_comes_with_a_hint() {
        let missing = curl(Err(std::io::ErrorKind::NotFound.into()));
        assert!(!missing.ok && missing.hint.is_some());
        let made =
            Check { name: "a lab".to_owned(), ok: true, detail: "made and removed in 92 ms".to_owned(), hint: None };
        let embedded = Section { backend: Backend::Embedded, checks: vec![made.clone()] };
        let broken = Section { backend: Backend::Kind, checks: vec![missing, made] };
        let theme = Theme { unicode: true, width: 80 };
        let text = render(&[embedded, broken], theme, false);
        insta::assert_snapshot!(anstream::adapter::strip_str(&text).to_string());
    }

    #[test]
    fn quiet_says_only_what_is_missing() {
        let there = Check { name: "a lab".to_owned(), ok: true, detail: String::new(), hint: None };
        let works = Section { backend: Backend::Embedded, checks: vec![there] };
        assert_eq!(render(&[works], Theme { unicode: true, width: 80 }, true), "");
    }
}
