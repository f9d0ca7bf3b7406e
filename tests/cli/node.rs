//! Node metadata against an API server of a few lines: what is said in which order, and what becomes of errors.

use std::{
    collections::VecDeque,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{policyprobe, transcript};

/// Answers lists of nodes with one script and watches with another, each answer once.
struct Server {
    folder: TempDir,
}

#[derive(Default)]
struct Script {
    lists: VecDeque<(u16, Value)>,
    watches: VecDeque<Vec<Value>>,
    knows_nobody: bool,
}

impl Server {
    fn start(lists: Vec<(u16, Value)>, watches: Vec<Vec<Value>>) -> Self {
        Self::with(Script { lists: lists.into(), watches: watches.into(), knows_nobody: false })
    }

    fn with(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let script = Arc::new(Mutex::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let script = Arc::clone(&script);
                std::thread::spawn(move || answer(stream, &script));
            }
        });
        let folder = tempfile::tempdir().expect("there is room");
        let user = json!({"token": "t"});
        std::fs::write(folder.path().join("config"), kubeconfig(&format!("http://{address}"), &user))
            .expect("there is room");
        Self { folder }
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("config")
    }
}

fn kubeconfig(server: &str, user: &Value) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "c", "user": user}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
    })
    .to_string()
}

fn answer(mut stream: TcpStream, script: &Mutex<Script>) {
    let mut lines = BufReader::new(stream.try_clone().expect("it is open")).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    while lines.next().is_some_and(|line| !line.is_empty()) {}
    let path = first.split(' ').nth(1).unwrap_or_default();
    let next_list = || script.lock().expect("no thread panicked").lists.pop_front();
    let (code, body) = if script.lock().expect("no thread panicked").knows_nobody {
        (401, status(401, "Unauthorized").to_string())
    } else if path.starts_with("/version") {
        (
            200,
            json!({"major": "1", "minor": "34", "gitVersion": "v1.34.4", "gitCommit": "", "gitTreeState": "",
                     "buildDate": "", "goVersion": "", "compiler": "", "platform": ""})
            .to_string(),
        )
    } else if path.contains("watch=true") {
        let events = script.lock().expect("no thread panicked").watches.pop_front();
        match events {
            Some(events) if events[0]["kind"] == "Status" => (403, events[0].to_string()),
            Some(events) => (200, events.iter().map(Value::to_string).collect::<Vec<_>>().join("\n") + "\n"),
            // Nothing more happens.
            None => loop {
                std::thread::park();
            },
        }
    } else {
        let (code, body) = next_list().unwrap_or_else(|| (500, status(500, "no more lists")));
        (code, body.to_string())
    };
    let head = format!("HTTP/1.1 {code} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    let _ = stream.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes());
}

fn status(code: u16, message: &str) -> Value {
    let reason = if code == 403 { "Forbidden" } else { "Expired" };
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": reason, "code": code,
           "metadata": {}})
}

fn node(name: &str, uid: &str, version: u32, labels: &Value, taints: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node", "spec": {"taints": taints},
        "metadata": {"name": name, "uid": uid, "resourceVersion": version.to_string(), "labels": labels},
    })
}

fn list(version: u32, next: &str, nodes: &[Value]) -> (u16, Value) {
    let metadata = json!({"resourceVersion": version.to_string(), "continue": next});
    (200, json!({"kind": "NodeList", "apiVersion": "v1", "metadata": metadata, "items": nodes}))
}

fn run(config: &Path, args: &[&str]) -> String {
    let config = config.display().to_string();
    let text = transcript(&mut policyprobe(&[args, &["--kubeconfig", &config]].concat()));
    text.replace(&config, "CONFIG")
}

#[test]
fn a_list_goes_over_all_pages() {
    let nodes = [node("a", "1", 1, &json!({}), &json!([])), node("b", "2", 1, &json!({}), &json!([]))];
    let server = Server::start(vec![list(5, "more", &nodes[..1]), list(5, "", &nodes[1..])], Vec::new());
    let text = run(&server.config(), &["node", "inventory", "-o", "json"]);
    let body = text.split("--- stdout\n").nth(1).and_then(|rest| rest.split("--- stderr").next()).unwrap_or_default();
    let shown: Value = serde_json::from_str(body).expect("it is JSON");
    let names: Vec<_> = shown.as_array().into_iter().flatten().map(|node| node["name"].clone()).collect();
    assert_eq!(names, ["a", "b"], "{text}");
}

#[test]
fn without_permission_the_verb_is_named() {
    let refusal = status(403, "nodes is forbidden: User \"anna\" cannot list resource \"nodes\"");
    for args in [&["node", "inventory"][..], &["node", "snapshot"], &["node", "watch"]] {
        let server = Server::start(vec![(403, refusal.clone())], Vec::new());
        let text = run(&server.config(), args);
        assert!(text.starts_with("exit: 5") && text.contains("the verb `list` on `nodes`"), "{args:?}: {text}");
        assert!(text.contains("--verb=get,list,watch"), "{text}");
    }
}

#[test]
fn a_state_that_is_no_state_of_this_cluster_is_refused_before_anything_is_said() {
    let folder = tempfile::tempdir().expect("there is room");
    let state = folder.path().join("seen.json");
    let shown = state.display().to_string();
    let watch = |server: &Server, more: &[&str]| {
        run(&server.config(), &[&["node", "watch", "--for", "2s", "--resume", &shown][..], more].concat())
    };
    let nodes = [node("a", "1", 1, &json!({}), &json!([]))];
    let text = watch(&Server::start(vec![list(5, "", &nodes)], Vec::new()), &[]);
    assert!(text.starts_with("exit: 0"), "{text}");
    let good = std::fs::read_to_string(&state).expect("it was written");
    // At another address no node is the same.
    let others = [node("a", "2", 1, &json!({}), &json!([]))];
    let text = watch(&Server::start(vec![list(5, "", &others)], Vec::new()), &[]);
    assert!(text.starts_with("exit: 2") && text.contains("is another cluster's"), "{text}");
    // One is.
    let nodes = [node("a", "1", 7, &json!({"x": "1"}), &json!([])), node("b", "3", 7, &json!({}), &json!([]))];
    let text = watch(&Server::start(vec![list(9, "", &nodes), list(9, "", &nodes)], Vec::new()), &["-o", "json"]);
    let reports = text.lines().filter(|line| line.contains("the watch was started again")).count();
    assert!(text.starts_with("exit: 0") && reports == 2, "{text}");
    let server = || Server::start(vec![list(9, "", &nodes), list(9, "", &nodes)], Vec::new());
    let text = watch(&server(), &["-o", "json"]);
    assert!(!text.contains("the watch was started again"), "nothing is told twice: {text}");
    let text = watch(&server(), &["--keep", "status.images"]);
    assert!(text.starts_with("exit: 2") && text.contains("other fields"), "{text}");
    for (edited, said) in [
        (String::new(), "the file is empty"),
        ("banana".to_owned(), "no state that a watch has written"),
        (good.replace("\"uid\":\"1\"", "\"uid\":1"), "seen.json:2:"),
        (good.replace("NodeWatchState", "NodeBaseline"), "seen.json:1:"),
    ] {
        std::fs::write(&state, edited).expect("there is room");
        let text = watch(&server(), &[]);
        assert!(text.starts_with("exit: 2") && text.contains(said) && text.contains("help: "), "{text}");
    }
}

#[test]
fn whoever_is_not_known_is_told_so() {
    let server = Server::with(Script { knows_nobody: true, ..Script::default() });
    let text = run(&server.config(), &["node", "inventory"]);
    assert!(text.starts_with("exit: 5") && text.contains("does not know you: Unauthorized\n"), "{text}");
    assert!(text.contains("hint: the credential of the kubeconfig's user has expired"), "{text}");
}

#[test]
fn whoever_may_list_and_not_watch_is_told_at_once() {
    let refusal = status(403, "nodes is forbidden: User \"anna\" cannot watch resource \"nodes\"");
    let server = Server::start(vec![list(5, "", &[])], vec![vec![refusal]]);
    let text = run(&server.config(), &["node", "watch", "--for", "20s"]);
    assert!(text.starts_with("exit: 5") && text.contains("the verb `watch` on `nodes`"), "{text}");
}

#[test]
fn a_credential_plugin_that_is_of_no_use_is_named() {
    let folder = tempfile::tempdir().expect("there is room");
    let config = folder.path().join("config");
    let with_plugin = |command: &str, args: &[&str]| {
        let exec = json!({"apiVersion": "client.authentication.k8s.io/v1", "command": command, "args": args,
                          "interactiveMode": "Never"});
        std::fs::write(&config, kubeconfig("http://127.0.0.1:1", &json!({"exec": exec}))).expect("there is room");
    };
    let commands = [&["node", "inventory"][..], &["run", "metadata-lab", "--backend", "cluster"]];
    for (script, said) in [
        ("echo secret; echo expired >&2; exit 3", "failed (exit status: 3): expired"),
        ("echo secret", "printed no ExecCredential"),
    ] {
        with_plugin("sh", &["-c", script]);
        for command in commands {
            let text = run(&config, command);
            assert!(text.starts_with("exit: 5") && text.contains(said), "{text}");
            assert!(text.contains("`sh` ") && text.contains("hint: `users[].user.exec`"), "{text}");
            assert!(!text.contains("secret"), "{text}");
        }
    }
    with_plugin("policyprobe-no-such-plugin", &[]);
    let text = run(&config, &["node", "inventory"]);
    assert!(text.starts_with("exit: 5") && text.contains("`policyprobe-no-such-plugin` cannot be started"), "{text}");
    std::fs::write(&config, "clusters: [").expect("there is room");
    let text = run(&config, &["node", "inventory"]);
    assert!(text.starts_with("exit: 5") && text.contains("kubeconfig") && text.contains("hint"), "{text}");
}

#[cfg(unix)]
#[test]
fn a_credential_plugin_ends_with_an_interrupted_command() {
    use std::{os::unix::process::ExitStatusExt as _, time::Duration};
    // Under `nohup` it has no effect, and is meant to have none.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let hangs_up = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 0);
    for (signal, command) in [("INT", "inventory"), ("TERM", "watch"), ("HUP", "audit")] {
        if signal == "HUP" && !hangs_up {
            continue;
        }
        let folder = tempfile::tempdir().expect("there is room");
        let (config, started) = (folder.path().join("config"), folder.path().join("started"));
        let script = format!("sleep 600 & echo $! > {0}.new; mv {0}.new {0}; wait", started.display());
        let exec = json!({"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script],
                          "interactiveMode": "Never"});
        std::fs::write(&config, kubeconfig("http://127.0.0.1:1", &json!({"exec": exec}))).expect("there is room");
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_policyprobe"))
            .args(["node", command, "--kubeconfig"])
            .arg(&config)
            .spawn()
            .expect("the binary can be started");
        let wait = |done: &dyn Fn() -> bool| {
            let done = (0..1000).any(|_| {
                std::thread::sleep(Duration::from_millis(20));
                done()
            });
            assert!(done, "{command}: waited in vain");
        };
        wait(&|| started.exists());
        let kill = format!("kill -{signal} {}", child.id());
        std::process::Command::new("sh").args(["-c", &kill]).status().expect("there is a shell");
        let status = child.wait().expect("it ends");
        assert_eq!((status.code(), status.signal()), (Some(130), None), "{command}");
        let sleeper = std::fs::read_to_string(&started).expect("it was written");
        let stat = format!("/proc/{}/stat", sleeper.trim());
        wait(&|| !std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")));
    }
}

#[test]
fn a_watch_reports_each_change_once_also_over_a_gap() {
    let taint = json!([{"key": "a", "effect": "NoSchedule"}]);
    let event = |kind: &str, node: Value| json!({"type": kind, "object": node});
    let gone = status(410, "too old resource version: 12 (50)");
    let server = Server::start(
        vec![
            list(
                10,
                "",
                &[node("n", "1", 7, &json!({"x": "1"}), &json!([])), node("old", "3", 8, &json!({}), &json!([]))],
            ),
            list(50, "", &[node("n", "2", 40, &json!({"x": "4"}), &json!([]))]),
        ],
        vec![
            vec![
                event("MODIFIED", node("n", "1", 11, &json!({"x": "2"}), &json!([]))),
                event("MODIFIED", node("n", "1", 12, &json!({"x": "1"}), &json!([]))),
            ],
            vec![json!({"type": "ERROR", "object": gone})],
            vec![
                // What the list had already.
                event("MODIFIED", node("n", "2", 40, &json!({"x": "4"}), &json!([]))),
                event("MODIFIED", node("n", "2", 51, &json!({"x": "4"}), &taint)),
            ],
        ],
    );
    let folder = tempfile::tempdir().expect("there is room");
    let rules = folder.path().join("rules.yaml");
    // The last change alone ends the watch.
    let text = "apiVersion: policyprobe.io/v1\nkind: NodeRules\n\
                severity: [{field: metadata.uid, severity: warning}]\n";
    std::fs::write(&rules, text).expect("there is room");
    let rules = rules.display().to_string();
    let text = run(&server.config(), &["node", "watch", "-o", "json", "--fail-on", "critical", "--rules", &rules]);
    assert!(text.starts_with("exit: 1"), "{text}");
    let lines = text.lines().filter(|line| line.starts_with('{'));
    let reports: Vec<Value> = lines.filter_map(|line| serde_json::from_str(line).ok()).collect();
    let said: Vec<_> = reports
        .iter()
        .map(|report| {
            let text = |key: &str| report[key].as_str().unwrap_or("-").to_owned();
            format!(
                "{} {} {} {}>{} gap={}",
                text("node"),
                text("what"),
                text("field"),
                text("old"),
                text("new"),
                report["gap"]["reason"].as_str().unwrap_or("none")
            )
        })
        .collect();
    insta::assert_snapshot!(said.join("\n"));
    let gap = &reports[2]["gap"];
    assert_eq!((&gap["uidBefore"], &gap["uidAfter"]), (&json!("1"), &json!("2")), "{gap}");
    assert!(gap["seconds"].as_f64().is_some_and(|seconds| seconds >= 0.0), "{gap}");
}

#[test]
fn two_baselines_are_compared_without_a_cluster() {
    let folder = tempfile::tempdir().expect("there is room");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("apiVersion: policyprobe.io/v1\nkind: NodeBaseline\nnodes:\n{text}"))
            .expect("there is room");
        path.display().to_string()
    };
    let old = file("old.yaml", "  node01: {spec.podCIDR: 10.0.0.0/24, \"status.nodeInfo.bootID\": a}\n");
    let new = file("new.yaml", "  node01: {spec.podCIDR: 10.0.0.0/24, \"status.nodeInfo.bootID\": b}\n");
    let diff = |args: &[&str]| transcript(&mut policyprobe(&[&["node", "diff"][..], args].concat()));
    let text = diff(&[&old, &new]);
    assert!(text.starts_with("exit: 1") && text.contains("1 change: 1 notice"), "{text}");
    assert!(diff(&[&old, &new, "--fail-on", "warning"]).starts_with("exit: 0"));
    assert!(diff(&[&old, &old]).contains("nothing differs"));
    let nonsense = file("nonsense.yaml", "  node01: {spec.podCIDR: everywhere, spec.podCDIR: 10.0.0.0/24}\n");
    let text = diff(&[&old, &nonsense]).replace(&folder.path().display().to_string(), "DIR");
    insta::assert_snapshot!(text);
}
