//! Secrets that nobody can take for one: right in form, and with the run's seed in them.

use std::hash::{DefaultHasher, Hash, Hasher};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

/// A secret. Beside the seed it holds nothing but letters, digits and dashes.
pub(super) fn fake(seed: &str) -> String {
    format!("FAKE-policyprobe-{seed}")
}

/// An `authorized_keys` line whose key has the right length and holds a sentence (RFC 8709 section 4).
pub(super) fn ssh_key(seed: &str) -> String {
    let mut blob = Vec::new();
    for part in [&b"ssh-ed25519"[..], b"policyprobe: this key is a fake."] {
        blob.extend([0, 0, 0]);
        blob.extend(u8::try_from(part.len()));
        blob.extend(part);
    }
    format!("ssh-ed25519 {} {}", STANDARD.encode(blob), fake(seed))
}

/// A PEM block with the secret in it.
pub(super) fn pem(what: &str, seed: &str) -> String {
    format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", STANDARD.encode(fake(seed)))
}

/// What stands where a real server has a signature: these words in base64, in lines of 76 characters.
pub(super) fn signature(what: &str, seed: &str) -> String {
    let text = format!("no {what}: {}. ", fake(seed)).repeat(4);
    let encoded = STANDARD.encode(text);
    let lines: Vec<_> = encoded.as_bytes().chunks(76).map(String::from_utf8_lossy).collect();
    lines.join("\n")
}

/// Three segments, as a JWT has. The signature says in words what it is; the payload also holds the secret.
pub(super) fn jwt(seed: &str, mut payload: Value) -> String {
    payload["policyprobe"] = fake(seed).into();
    let header = json!({"alg": "RS256", "kid": "policyprobe-fake", "typ": "JWT"});
    let segment = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signature = URL_SAFE_NO_PAD.encode(format!("no signature: {}", fake(seed)));
    format!("{}.{}.{signature}", segment(header), segment(payload))
}

/// So many letters and digits that differ from seed to seed, of AWS' alphabet for identifiers.
pub(super) fn letters(seed: &str, what: &str, count: usize) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let letter = |index: usize| char::from(ALPHABET[usize::try_from(hash(seed, what, index) % 32).unwrap_or_default()]);
    (0..count).map(letter).collect()
}

/// An id in the form of a UUID that is the same for the same seed.
pub(super) fn uuid(seed: &str, what: &str) -> String {
    let (high, low) = (hash(seed, what, 0), hash(seed, what, 1));
    format!(
        "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        low >> 48 & 0xfff,
        low & 0xffff_ffff_ffff
    )
}

fn hash(seed: &str, what: &str, index: usize) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, what, index).hash(&mut hasher);
    hasher.finish()
}
