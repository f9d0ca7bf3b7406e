//! The proof that agnhost's `netexec` can give. It knows nothing of our headers, but its `/shell` answers with what a
//! command says, and that is the request's nonce and the identity that the server has in its environment. Pure.

use std::fmt::Write as _;

/// The variable of a server's environment that holds its identity.
pub(crate) const IDENTITY_VARIABLE: &str = "POLICYPROBE_SERVER";

/// What stands in front of nonce and identity.
const WORD: &str = "policyprobe-proof";

/// The path that is asked for a proof; without a nonce, for a person who asks by hand.
pub(crate) fn path(nonce: Option<&str>) -> String {
    let mut path = format!("/shell?cmd=echo%20{WORD}");
    if let Some(nonce) = nonce {
        // Nonces are words of letters, digits and dashes. Writing to a string cannot fail.
        let _ = write!(path, "%20{nonce}");
    }
    path + "%20$" + IDENTITY_VARIABLE
}

/// Takes a proof off the front of a line: its nonce, its identity, and the rest. A body ends without a line break, so
/// whatever `curl` says next stands on the same line.
pub(super) fn take(line: &str) -> Option<(&str, &str, &str)> {
    let body = line.strip_prefix(r#"{"output":""#)?.strip_prefix(WORD)?.strip_prefix(' ')?;
    let (proof, rest) = body.split_once(r#"\n"}"#)?;
    let (nonce, identity) = proof.split_once(' ')?;
    Some((nonce, identity, rest))
}

/// The nonce of the request that a server says, by this line of its output, to have got.
pub(crate) fn nonce(line: &str) -> Option<&str> {
    let asked = line.split_once("GET /shell?cmd=echo ")?.1.strip_prefix(WORD)?;
    asked.split_ascii_whitespace().next().filter(|word| !word.starts_with('$'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_taken_off_the_front_and_the_rest_is_left() {
        let line = r#"{"output":"policyprobe-proof r-7 pod/default/app1\n"}* Connection #0 to host left intact"#;
        assert_eq!(take(line), Some(("r-7", "pod/default/app1", "* Connection #0 to host left intact")));
        let both = r#"{"output":"policyprobe-proof r-7 a\n"}{"output":"policyprobe-proof r-8 b\n"}"#;
        let (_, _, second) = take(both).unwrap_or_default();
        assert_eq!(take(second), Some(("r-8", "b", "")));
        for other in ["", "> GET /shell?cmd=echo%20policyprobe-proof%20r-7", r#"{"output":"policyprobe-proof r-7"}"#] {
            assert_eq!(take(other), None, "{other}");
        }
    }

    #[test]
    fn a_log_names_the_nonces_that_arrived_and_not_what_was_asked_by_hand() {
        let log = "I1123 10:20:53.5 65 log.go:244] GET /readyz\n\
                   I1123 10:20:53.6 65 log.go:244] GET /shell?cmd=echo policyprobe-proof r-7 $POLICYPROBE_SERVER\n\
                   I1123 10:20:53.6 65 log.go:244] Output: map[output:policyprobe-proof r-7 pod/default/app1\n]\n\
                   I1123 10:20:53.7 65 log.go:244] GET /shell?cmd=echo policyprobe-proof $POLICYPROBE_SERVER\n\
                   I1123 10:20:53.8 65 log.go:244] GET /shell?cmd=echo policyprobe-proof r-9 $POLICYPROBE_SERVER\n";
        assert_eq!(log.lines().filter_map(nonce).collect::<Vec<_>>(), ["r-7", "r-9"]);
    }
}
