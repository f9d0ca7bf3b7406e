//! A server that runs by itself on loopback, as `policyprobe metadata serve` starts it.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

/// A running server. It ends with this.
pub(crate) struct Served {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) control: SocketAddr,
}

impl Served {
    /// Starts a cloud's server with these flags.
    pub(crate) fn new(cloud: &str, flags: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_policyprobe"));
        command.args(["metadata", "serve", "--cloud", cloud, "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]);
        let mut child = command.args(flags).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut next = || address(&lines.next().expect("it says where it serves").unwrap());
        let (control, address) = (next(), next());
        Self { child, address, control }
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// An address of this server.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in a line such as `aws: http://127.0.0.1:8080/latest -H 'a: b'`.
fn address(line: &str) -> SocketAddr {
    let rest = line.split("http://").nth(1).unwrap_or_default();
    rest.split('/').next().unwrap_or_default().parse().unwrap_or_else(|_| panic!("no address in {line:?}"))
}
