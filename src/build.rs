//! Builds the static agent that the harness embeds: the same package with the feature `agent` and nothing else, by a
//! cargo of its own in a target directory of its own. Also says how the harness is linked.
//!
//! Where that is not possible, the harness is built without an agent and says at run time why there is none.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What the agent is made of. Other changes must not rebuild it.
const SOURCES: [&str; 10] = [
    "src/agent",
    "src/build.rs",
    "src/http",
    "src/metadata",
    "src/probe/direct",
    "src/probe/outcome.rs",
    "src/udp",
    "src/lib.rs",
    "Cargo.toml",
    "Cargo.lock",
];

/// Variables that reach the inner cargo although their names begin like those that do not.
const KEPT: [&str; 9] = [
    "CARGO",
    "CARGO_HOME",
    "CARGO_MAKEFLAGS",
    "CARGO_NET_",
    "CARGO_HTTP_",
    "CARGO_REGISTR",
    "CARGO_SOURCE_",
    "CARGO_TERM_",
    "RUSTC",
];

/// Has a linker keep functions once that came out the same. LLVM's and mold know it, GNU's does not.
const FOLD: &str = "-Wl,--icf=all";

fn main() {
    for source in SOURCES.into_iter().filter(|source| Path::new(source).exists()) {
        println!("cargo::rerun-if-changed={source}");
    }
    // Of what is embedded, the compiler itself notices changes, and not that a file or folder is new.
    for embedded in ["scenarios", "kind-config"] {
        println!("cargo::rerun-if-changed={embedded}");
    }
    println!("cargo::rerun-if-env-changed=DOCS_RS");
    // The agent itself is built without the harness: this is where the recursion ends.
    if env::var_os("CARGO_FEATURE_HARNESS").is_none() {
        return;
    }
    let out = PathBuf::from(variable("OUT_DIR"));
    link_small(&out);
    let (agent, why_not) = match build(&out) {
        Ok(agent) => (agent, String::new()),
        Err(reason) => {
            println!("cargo::warning=built without the static agent: {}", reason.replace('\n', " "));
            (Vec::new(), reason)
        }
    };
    let written = fs::write(out.join("policyprobe-agent"), agent)
        .and_then(|()| fs::write(out.join("policyprobe-agent.why-not"), why_not));
    if let Err(error) = written {
        println!("cargo::error=cannot write to {}: {error}", out.display());
    }
}

/// Has development builds take less memory, nearly all of which is a program that nobody optimised. They are linked to a
/// fixed address: otherwise a quarter of a million addresses are put right at each start. And functions that came out the
/// same are kept once, where the linker can do that.
fn link_small(out: &Path) {
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    if is("PROFILE", "debug") && is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu") {
        println!("cargo::rustc-link-arg-bins=-no-pie");
        if links_with(FOLD, out) {
            println!("cargo::rustc-link-arg-bins={FOLD}");
        }
    }
}

/// Whether the linker of this build takes an argument, found out by linking a program that does nothing.
fn links_with(argument: &str, out: &Path) -> bool {
    let source = out.join("nothing.rs");
    if fs::write(&source, "fn main() {}\n").is_err() {
        return false;
    }
    let mut rustc = Command::new(variable("RUSTC"));
    rustc.args(variable("CARGO_ENCODED_RUSTFLAGS").split('\u{1f}').filter(|flag| !flag.is_empty()));
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        rustc.arg(format!("-Clinker={linker}"));
    }
    rustc.args(["--target", &variable("TARGET"), &format!("-Clink-arg={argument}"), "-o"]);
    rustc.arg(out.join("nothing")).arg(source);
    rustc.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// The agent's executable, for the first of the possible targets for which it can be built.
fn build(out: &Path) -> Result<Vec<u8>, String> {
    if env::var_os("DOCS_RS").is_some() {
        return Err("documentation has no use for it".to_owned());
    }
    let arch = variable("CARGO_CFG_TARGET_ARCH");
    let hint =
        format!("`rustup target add {arch}-unknown-linux-musl`, then build again after `cargo clean -p policyprobe`");
    let targets = targets(&arch);
    if targets.is_empty() {
        return Err(format!("no standard library for Linux on {arch} is installed; {hint}"));
    }
    let mut reasons = Vec::new();
    for target in targets {
        // What is at hand first: a build without a network must not wait for one.
        match cargo(&target, out, true).or_else(|_| cargo(&target, out, false)) {
            Ok(agent) => return Ok(agent),
            Err(reason) => reasons.push(format!("{target}: {reason}")),
        }
    }
    Err(format!("{}; {hint}", reasons.join("; ")))
}

/// Targets that can be linked statically and whose standard library is installed, the best first.
fn targets(arch: &str) -> Vec<String> {
    let libraries = Command::new(variable("RUSTC")).args(["--print", "sysroot"]).output();
    let sysroot = libraries.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    let mut targets = vec![format!("{arch}-unknown-linux-musl"), format!("{arch}-unknown-linux-gnu")];
    if variable("CARGO_CFG_TARGET_OS") == "linux" {
        targets.insert(1, variable("TARGET"));
    } else {
        // Another system's linker makes no glibc executables.
        targets.truncate(1);
    }
    targets.dedup();
    targets.retain(|target| Path::new(&sysroot).join("lib/rustlib").join(target).join("lib").is_dir());
    targets
}

/// One run of the inner cargo.
fn cargo(target: &str, out: &Path, offline: bool) -> Result<Vec<u8>, String> {
    let package = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let directory = out.join("agent");
    let mut cargo = Command::new(variable("CARGO"));
    cargo.args(["build", "--bin", "policyprobe-agent", "--no-default-features", "--features", "agent"]);
    cargo.args(["--profile", "agent", "--target", target, "--manifest-path"]).arg(package.join("Cargo.toml"));
    cargo.arg("--target-dir").arg(&directory);
    cargo.args(package.join("Cargo.lock").exists().then_some("--locked"));
    cargo.args(offline.then_some("--offline"));
    // The outer build's flags, wrappers (Clippy is one) and directories are not for this one.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if ["CARGO", "RUSTC", "RUSTDOC", "RUSTFLAGS", "CLIPPY_"].iter().any(|prefix| name.starts_with(prefix))
            && !is_kept(&name)
        {
            cargo.env_remove(name.as_ref());
        }
    }
    cargo.env("RUSTFLAGS", "-C target-feature=+crt-static").env("CARGO_BUILD_BUILD_DIR", &directory);
    if env::consts::OS != "linux" {
        let name = format!("CARGO_TARGET_{}_LINKER", target.replace('-', "_").to_uppercase());
        cargo.env(name, "rust-lld");
    }
    let output = cargo.stdin(Stdio::null()).output().map_err(|error| format!("cannot start cargo: {error}"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let errors = stderr.lines().filter(|line| line.starts_with("error")).take(3).collect::<Vec<_>>();
        return Err(if errors.is_empty() { output.status.to_string() } else { errors.join(", ") });
    }
    let file = directory.join(target).join("agent/policyprobe-agent");
    fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))
}

/// Whether a variable is about where things are and not about how they are built.
fn is_kept(name: &str) -> bool {
    let is_linker = name.starts_with("CARGO_TARGET_") && name.ends_with("_LINKER");
    is_linker || KEPT.iter().any(|kept| name == *kept || kept.ends_with(['_', 'R']) && name.starts_with(kept))
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}
