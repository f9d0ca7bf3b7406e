//! Nothing outlives the lab, however it ends, and an ordinary user can have one.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use policyprobe::lab::{Lab, embedded::DenyBy};
use serde_json::{Value, json};

use crate::common::*;

/// The processes that came from one, itself included, by following parents.
fn family(first: u32) -> BTreeSet<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid: u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The name is in parentheses and may hold anything.
            let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
            Some((pid, parent))
        })
        .collect();
    let mut family = BTreeSet::from([first]);
    loop {
        let before = family.len();
        family.extend(
            parents.iter().filter(|(_, parent)| family.contains(parent)).map(|(pid, _)| *pid).collect::<Vec<_>>(),
        );
        if family.len() == before {
            return family;
        }
    }
}

/// Whether a process is gone, or dead and only not yet reaped.
fn is_gone(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}

fn wait_until_gone(pids: &BTreeSet<u32>) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !pids.iter().all(|pid| is_gone(*pid)) {
        let left: Vec<_> = pids.iter().filter(|pid| !is_gone(**pid)).collect();
        assert!(Instant::now() < deadline, "still there: {left:?}");
        std::thread::yield_now();
    }
}

/// What the host's own namespaces hold: mounts, routes and devices.
fn host() -> BTreeSet<String> {
    let lines = |path: &str| fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>();
    let devices = fs::read_dir("/sys/class/net").unwrap().map(|entry| entry.unwrap().path().display().to_string());
    let files = ["/proc/self/mountinfo", "/proc/net/route"];
    files.into_iter().flat_map(lines).chain(devices).collect()
}

/// Nothing came to the host. What goes from it is somebody else's.
fn assert_nothing_came(before: &BTreeSet<String>) {
    let came: Vec<_> = host().difference(before).cloned().collect();
    assert!(came.is_empty(), "{came:#?}");
}

/// The inner half by itself, spoken to by hand, with a stage and a `curl` that would run for long.
struct Inner {
    child: Child,
    lines: Box<dyn Iterator<Item = Value>>,
}

impl Inner {
    fn start(mut command: Command) -> Self {
        let mut child = command.arg("inside").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let lines = output.lines().map_while(Result::ok).map(|line| serde_json::from_str(&line).unwrap());
        Self { child, lines: Box::new(lines) }
    }

    fn say(&mut self, command: &Value) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{command}").unwrap();
    }

    fn open(&mut self) {
        let open = json!({"stage": 1, "run": "r", "spec": spec(), "deny_by": "drop"});
        self.say(&json!({"Call": {"id": 1, "request": {"Open": open}}}));
    }

    /// Asks for an answer that never comes, since every packet is lost.
    fn hang(&mut self) {
        let source = json!({"Pod": ["default", "app1"]});
        let on = |action: Value| json!({"On": {"stage": 1, "action": action}});
        let lose = on(json!({"Impair": {"source": source, "loss_percent": 100}}));
        self.say(&json!({"Call": {"id": 2, "request": lose}}));
        self.lines.next().unwrap();
        let curl = on(json!({"Curl": {"source": source, "config": "url = http://169.254.169.254/\nmax-time = 600\n"}}));
        self.say(&json!({"Call": {"id": 3, "request": curl}}));
    }
}

fn has_namespaces(hello: &Value) -> bool {
    let ready = hello.pointer("/Hello/Ok").is_some();
    if !ready {
        eprintln!("not run: {hello}");
    }
    ready
}

#[test]
fn the_end_of_its_input_ends_everything_at_any_moment() {
    let before = host();
    for moment in 0..4 {
        let mut inner = Inner::start(Command::new(binary()));
        if moment > 0 && !has_namespaces(&inner.lines.next().unwrap()) {
            return;
        }
        if moment > 1 {
            inner.open();
        }
        if moment > 2 {
            assert!(inner.lines.next().unwrap().pointer("/Done/result/Ok").is_some());
            inner.hang();
            let first = inner.child.id();
            let deadline = Instant::now() + Duration::from_secs(20);
            // The process that was started, the one inside, and curl.
            while family(first).len() < 3 {
                assert!(Instant::now() < deadline, "curl does not run");
            }
        }
        let all = family(inner.child.id());
        drop(inner.child.stdin.take());
        inner.child.wait().unwrap();
        wait_until_gone(&all);
    }
    assert_nothing_came(&before);
}

#[test]
fn a_kill_of_either_process_ends_everything() {
    let before = host();
    for inside in [false, true] {
        let mut inner = Inner::start(Command::new(binary()));
        if !has_namespaces(&inner.lines.next().unwrap()) {
            return;
        }
        inner.open();
        inner.lines.next().unwrap();
        inner.hang();
        let all = family(inner.child.id());
        let first = inner.child.id();
        let victim = if inside { *all.iter().find(|pid| **pid != first).unwrap() } else { first };
        assert!(Command::new("kill").args(["-9", &victim.to_string()]).status().unwrap().success());
        wait_until_gone(&all);
        inner.child.wait().unwrap();
    }
    assert_nothing_came(&before);
}

fn on_path(program: &str) -> String {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap();
    String::from_utf8(found.stdout).unwrap().trim().to_owned()
}

#[test]
fn an_ordinary_user_without_ip_and_nft_can_have_a_lab() {
    // Root becomes somebody else; anybody else is ordinary already.
    let is_root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = dir.path().join("policyprobe");
    fs::copy(binary(), &program).unwrap();
    std::os::unix::fs::symlink(on_path("curl"), dir.path().join("curl")).unwrap();
    let setpriv = on_path("setpriv");
    if is_root && setpriv.is_empty() {
        eprintln!("not run: there is no `setpriv` here");
        return;
    }
    let mut command = if is_root {
        let mut command = Command::new(setpriv);
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(&program);
        command
    } else {
        Command::new(&program)
    };
    command.env_clear().env("PATH", dir.path());
    let mut inner = Inner::start(command);
    if !has_namespaces(&inner.lines.next().unwrap()) {
        return;
    }
    inner.open();
    let world = inner.lines.next().unwrap();
    assert_eq!(world.pointer("/Done/result/Ok/World/nodes/1/literal"), Some(&json!("worker")), "{world}");
    drop(inner.child.stdin.take());
    inner.child.wait().unwrap();
}

#[tokio::test]
async fn a_lab_that_is_dropped_is_gone_and_says_so_to_its_stages() {
    let Some(lab) = lab(DenyBy::Drop).await else { return };
    let stage = lab.open_stage(&spec()).await.unwrap();
    assert!(lab.teardown().await.is_empty());
    let error = policyprobe::lab::Stage::reset(&stage).await.unwrap_err();
    assert!(error.to_string().contains("has ended"), "{error}");
}

#[tokio::test]
async fn without_curl_the_lab_says_what_to_install() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary());
    command.env("PATH", dir.path());
    let mut inner = Inner::start(command);
    let hello = inner.lines.next().unwrap();
    if hello.to_string().contains("namespaces") {
        eprintln!("not run: {hello}");
        return;
    }
    let hint = hello.pointer("/Hello/Err/hint").and_then(Value::as_str).unwrap_or_default();
    assert!(hint.contains("install curl"), "{hello}");
    inner.child.wait().unwrap();
}
