//! Random cases, on which the correct enforcer agrees with the simulator.

use std::{path::Path, process::Command};

use policyprobe::lab::embedded::DenyBy;

use crate::common::{binary, lab};

fn policyprobe(args: &[&str], out: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(binary());
    let output = command.args(args).arg(out).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test]
async fn random_cases_agree() {
    let Some(_) = lab(DenyBy::Drop).await else { return };
    let out = tempfile::tempdir().unwrap();
    let fuzz = ["fuzz", "--backend", "embedded", "--seed", "2a", "--cases", "8", "--out"];
    let (code, said) = policyprobe(&fuzz, out.path());
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("✔ 8 cases, seed 2a: the simulator and the lab agree on "), "{said}");
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0);
}
