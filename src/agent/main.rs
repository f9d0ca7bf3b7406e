//! The program that is carried into pods and containers: it serves there, so that probes have something to reach, and
//! makes probes.
//!
//! It is static and small, and knows nothing of Kubernetes. It ends with 0 on SIGTERM and SIGINT, also as process 1,
//! with 2 on bad usage, and with 1 when it cannot serve.

mod arguments;
#[cfg(target_os = "linux")]
mod loopback;
#[cfg(target_os = "linux")]
mod netlink;
mod roles;

use std::process::ExitCode;

use arguments::Command;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let command = match arguments::parse(std::env::args().skip(1)) {
        Ok(command) => command,
        Err(error) => {
            eprintln!("policyprobe-agent: {error}\n{}", arguments::USAGE);
            return ExitCode::from(2);
        }
    };
    let served = match command {
        Command::Serve(serve) => roles::serve(serve).await,
        Command::Metadata(metadata) => roles::metadata(metadata).await,
        Command::Probe(from) => roles::probe(from).await,
        Command::Route(ways) => roles::route(&ways),
        Command::Wait => roles::wait().await,
        Command::Alone(alone) => return roles::alone(alone).await,
        Command::Version => {
            println!("policyprobe-agent {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("policyprobe-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}
