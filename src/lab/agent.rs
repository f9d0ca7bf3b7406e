//! The static agent that the build script built: what a backend carries into pods and containers.

use std::{fs, sync::OnceLock};

/// The agent as it was built with this program; empty where it could not be built.
const BUILT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/policyprobe-agent"));

/// Why there is none; empty where there is one.
const WHY_NOT: &str = include_str!(concat!(env!("OUT_DIR"), "/policyprobe-agent.why-not"));

/// Names a file to use in place of [`BUILT`].
const OVERRIDE: &str = "POLICYPROBE_AGENT";

/// The agent's executable, for Linux on [`arch`]. `POLICYPROBE_AGENT=FILE` replaces it; there is none where the build
/// could not make one, or where that file cannot be read: [`missing`] says why.
#[must_use]
pub fn binary() -> Option<&'static [u8]> {
    loaded().as_ref().ok().copied()
}

/// The agent that was built with this program and for the same machine, whatever `POLICYPROBE_AGENT` says.
pub(crate) fn built() -> Option<&'static [u8]> {
    Some(BUILT).filter(|built| !built.is_empty())
}

/// Why [`binary`] has nothing, and what to do about it.
#[must_use]
pub fn missing() -> Option<&'static str> {
    loaded().as_ref().err().map(String::as_str)
}

/// The architecture that the agent is for, as the node label `kubernetes.io/arch` names it.
#[must_use]
pub fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

fn loaded() -> &'static Result<&'static [u8], String> {
    static LOADED: OnceLock<Result<&'static [u8], String>> = OnceLock::new();
    LOADED.get_or_init(|| match std::env::var_os(OVERRIDE).filter(|file| !file.is_empty()) {
        Some(file) => match fs::read(&file) {
            Ok(bytes) if is_static_elf(&bytes) => Ok(bytes.leak()),
            Ok(_) => Err(format!("{OVERRIDE}={} is no statically linked Linux executable", file.display())),
            Err(error) => Err(format!("{OVERRIDE}={}: {error}", file.display())),
        },
        None if BUILT.is_empty() => Err(WHY_NOT.to_owned()),
        None => Ok(BUILT),
    })
}

/// Whether this is a little-endian 64-bit ELF file without a program interpreter (`PT_INTERP`): one that runs in an
/// image without any library.
fn is_static_elf(file: &[u8]) -> bool {
    let number = |at: usize, size: usize| {
        let bytes = file.get(at..at.checked_add(size)?)?;
        bytes.iter().rev().try_fold(0_usize, |number, byte| number.checked_mul(256)?.checked_add(usize::from(*byte)))
    };
    let read = || {
        let (headers, size, count) = (number(0x20, 8)?, number(0x36, 2)?, number(0x38, 2)?);
        let types = (0..count).map(|index| number(headers.checked_add(index.checked_mul(size)?)?, 4));
        types.collect::<Option<Vec<_>>>()
    };
    file.starts_with(b"\x7fELF\x02\x01") && read().is_some_and(|types| !types.contains(&3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_built_is_static_or_missing_with_a_reason() {
        assert_eq!(BUILT.is_empty(), !WHY_NOT.is_empty());
        assert!(BUILT.is_empty() || is_static_elf(BUILT));
    }

    #[test]
    fn other_files_are_no_agents() {
        for file in
            [&b""[..], b"#!/bin/sh\n", b"\x7fELF\x02\x01", &[b"\x7fELF\x02\x01".as_slice(), &[255; 200]].concat()]
        {
            assert!(!is_static_elf(file));
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_program_with_an_interpreter_is_told_from_a_static_one() {
        let this = fs::read("/proc/self/exe").unwrap_or_default();
        assert_eq!(is_static_elf(&this), cfg!(target_feature = "crt-static"));
    }
}
