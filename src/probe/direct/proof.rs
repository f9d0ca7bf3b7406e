//! Pure: whether an answer proves that the right server was reached, and what a system's error means. The rules are the
//! same whatever made the request.

use std::io::{Error, ErrorKind};

use crate::{http::NONCE, probe::Outcome};

/// What a request asks for, and what its answer says.
#[derive(Clone, Copy, Debug)]
pub(in crate::probe) struct Shown<'a> {
    /// The header that carries the nonce.
    pub(in crate::probe) nonce_header: &'a str,
    /// The nonce that was sent, and the one that came back; empty where there was none.
    pub(in crate::probe) nonce: (&'a str, &'a str),
    /// The identity that was asked for, and the one that answered; empty where there was none.
    pub(in crate::probe) server: (&'a str, &'a str),
    /// The HTTP status.
    pub(in crate::probe) status: u16,
}

/// Why an answer is not the right server's; none where it is.
#[must_use]
pub(in crate::probe) fn mismatch(proof: &Shown<'_>) -> Option<String> {
    let Shown { nonce_header, nonce, server: (asked, answered), status } = *proof;
    // A foreign server that echoes our nonce in a header of its own protocol proves itself by that alone.
    let named = nonce_header != NONCE || answered == asked;
    if nonce.0 == nonce.1 && named {
        None
    } else if answered.is_empty() {
        Some(format!("an answer without identity (HTTP {status}), not {asked}"))
    } else if answered == asked {
        Some("the answer does not carry this request's nonce".to_owned())
    } else {
        Some(format!("{answered} answered, not {asked}"))
    }
}

/// What an error of a connection means. Whatever is not about the way to the server says nothing.
#[must_use]
pub(super) fn failure(error: &Error) -> Outcome {
    match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Outcome::Refused,
        ErrorKind::TimedOut => Outcome::TimedOut,
        // The last is a packet filter in the source's own namespace.
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::PermissionDenied => {
            Outcome::Unreachable
        }
        _ => Outcome::ProbeLost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_by_number_mean_what_happened() {
        for (number, outcome) in [
            (111, Outcome::Refused),
            (104, Outcome::Refused),
            (110, Outcome::TimedOut),
            (113, Outcome::Unreachable),
            (101, Outcome::Unreachable),
            (1, Outcome::Unreachable),
            (13, Outcome::Unreachable),
            (24, Outcome::ProbeLost),
            (99, Outcome::ProbeLost),
        ] {
            assert_eq!(failure(&Error::from_raw_os_error(number)), outcome, "{number}");
        }
    }

    #[test]
    fn a_foreign_server_proves_itself_by_the_nonce_alone() {
        let proof = |nonce_header, back, answered| {
            mismatch(&Shown { nonce_header, nonce: ("n1", back), server: ("a", answered), status: 200 })
        };
        assert_eq!(proof("Audit-ID", "n1", ""), None);
        assert_eq!(proof(NONCE, "n1", "a"), None);
        assert!(proof(NONCE, "n1", "").is_some_and(|why| why.contains("without identity")));
        assert!(proof(NONCE, "n2", "a").is_some_and(|why| why.contains("nonce")));
        assert!(proof(NONCE, "n1", "b").is_some_and(|why| why == "b answered, not a"));
    }
}
