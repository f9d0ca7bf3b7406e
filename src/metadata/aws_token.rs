//! AWS' session tokens: given without being remembered, so that no number of them fills the memory.
//!
//! A token holds its number and the second at which it ends, and a code that only this process can make. That is enough
//! for a server whose secrets are made up, and is no cryptography.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

use base64::{Engine, engine::general_purpose::URL_SAFE};

/// What tokens begin with: `AQAE` in base64.
const PREFIX: [u8; 3] = [1, 0, 4];

/// Gives tokens and knows its own.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    key: RandomState,
    last: AtomicU64,
}

impl Tokens {
    /// A token of 56 characters that is good for so many seconds.
    pub(super) fn issue(&self, now: u64, ttl: u64) -> String {
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        URL_SAFE.encode(self.bytes(number, now + ttl))
    }

    /// How many seconds a token is still good for; none where it is not, or is no token from here.
    pub(super) fn check(&self, token: &str, now: u64) -> Option<u64> {
        let bytes = URL_SAFE.decode(token).ok()?;
        let word = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes);
        let (number, end) = (word(3)? ^ self.code(0, 0), word(11)?);
        let end = end ^ self.code(number, 1);
        let left = end.checked_sub(now).filter(|left| *left > 0)?;
        (bytes == self.bytes(number, end)).then_some(left)
    }

    fn bytes(&self, number: u64, end: u64) -> [u8; 40] {
        let mut bytes = [0; 40];
        let words = [
            number ^ self.code(0, 0),
            end ^ self.code(number, 1),
            self.code(number, end),
            self.code(end, number),
            self.code(number ^ end, 2),
        ];
        bytes[..3].copy_from_slice(&PREFIX);
        for (into, word) in bytes[3..].chunks_mut(8).zip(words) {
            into.copy_from_slice(&word.to_be_bytes()[..into.len()]);
        }
        bytes
    }

    fn code(&self, a: u64, b: u64) -> u64 {
        self.key.hash_one((a, b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_until_its_end_and_only_here() {
        let tokens = Tokens::default();
        let token = tokens.issue(1000, 60);
        assert_eq!(token.len(), 56);
        assert!(token.starts_with("AQAE") && token.ends_with("=="));
        assert_eq!(tokens.check(&token, 1001), Some(59));
        assert_eq!(tokens.check(&token, 1060), None);
        assert_ne!(token, tokens.issue(1000, 60));
        assert_eq!(Tokens::default().check(&token, 1001), None);
    }

    #[test]
    fn a_changed_token_is_none() {
        let tokens = Tokens::default();
        let token = tokens.issue(1000, 60);
        for index in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            assert_eq!(tokens.check(&String::from_utf8_lossy(&changed), 1001), None, "at {index}");
        }
        assert_eq!(tokens.check("", 1001), None);
        assert_eq!(tokens.check(&"A".repeat(56), 1001), None);
    }
}
