//! Real `curl` processes in the lab's namespaces.

use std::{path::PathBuf, process::Stdio, sync::Arc};

use anyhow::Context;
use nlink::netlink::namespace::Netns;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::unix::pipe,
    process::Command,
    runtime::Handle,
};

use super::net::run_in;

/// Where `curl` is. It is found before the lab hides parts of the file system.
#[derive(Clone, Debug)]
pub(super) struct Curl {
    program: PathBuf,
    path: std::ffi::OsString,
}

impl Curl {
    /// Looks along `PATH`.
    pub(super) fn find() -> anyhow::Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).map(|dir| dir.join("curl")).find_map(|file| file.canonicalize().ok());
        Ok(Self { program: found.context("there is no `curl` on PATH")?, path })
    }

    /// Runs it in a namespace, with a configuration on its input; each line of its output is handed on. The process is
    /// killed when the future is dropped.
    pub(super) async fn run(&self, ns: Arc<Netns>, config: String, line: impl Fn(String)) -> anyhow::Result<i32> {
        let mut command = Command::new(&self.program);
        command.arg0("curl").args(["-q", "--config", "-"]).env_clear().env("PATH", &self.path);
        let (output, both) = std::io::pipe()?;
        command.stdin(Stdio::piped()).stdout(both.try_clone()?).stderr(both).kill_on_drop(true);
        let runtime = Handle::current();
        let mut child = run_in(ns, move || {
            let _runtime = runtime.enter();
            command.spawn()
        })
        .await?
        .context("cannot start curl")?;
        let mut input = child.stdin.take().context("no input")?;
        let output = pipe::Receiver::from_owned_fd(output.into())?;
        let feed = async {
            // A curl that ends early has said why in its exit code.
            let _ = input.write_all(config.as_bytes()).await;
            drop(input);
        };
        let read = async {
            let mut output = BufReader::new(output);
            let mut bytes = Vec::new();
            while output.read_until(b'\n', &mut bytes).await? > 0 {
                line(String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']).to_owned());
                bytes.clear();
            }
            std::io::Result::Ok(())
        };
        let ((), read) = tokio::join!(feed, read);
        read?;
        let status = child.wait().await?;
        Ok(status.code().unwrap_or_else(|| 128 + std::os::unix::process::ExitStatusExt::signal(&status).unwrap_or(0)))
    }
}
