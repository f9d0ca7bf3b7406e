//! A request for a certificate in a node's name (PKCS #10, RFC 2986) with a key of its own, which never leaves this process.
//!
//! What stands in it is all fixed but for the name and the key, so it is written down as DER here.

use anyhow::anyhow;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT_ID: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
/// `[0]`, the attributes: none are asked for.
const ATTRIBUTES: u8 = 0xa0;

/// 2.5.4.10, `organizationName`: the API server takes it for a group.
const ORGANISATION: &[u8] = &[0x55, 0x04, 0x0a];
/// 2.5.4.3, `commonName`: the API server takes it for the user.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// 1.2.840.10045.2.1, `id-ecPublicKey`.
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// 1.2.840.10045.3.1.7, `prime256v1`.
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// 1.2.840.10045.4.3.2, `ecdsa-with-SHA256`.
const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

/// The group of every node.
const NODES: &str = "system:nodes";

/// A request and its key, both as PEM.
pub(super) struct CertificateRequest {
    /// `CERTIFICATE REQUEST`.
    pub(super) request: String,
    /// `PRIVATE KEY`.
    pub(super) key: String,
}

impl CertificateRequest {
    /// For `system:node:NODE`, with a new key.
    ///
    /// # Errors
    /// Where the system has no random numbers.
    pub(super) fn for_node(node: &str) -> anyhow::Result<Self> {
        let random = SystemRandom::new();
        let broken = |_| anyhow!("no key could be made");
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).map_err(broken)?;
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref(), &random)
            .map_err(|error| anyhow!("no key could be made: {error}"))?;
        let info = info(&format!("system:node:{node}"), key.public_key().as_ref());
        let signature = key.sign(&random, &info).map_err(broken)?;
        let algorithm = tagged(SEQUENCE, &[&tagged(OBJECT_ID, &[ECDSA_SHA256])]);
        let signed = tagged(SEQUENCE, &[&info, &algorithm, &bits(signature.as_ref())]);
        Ok(Self { request: pem("CERTIFICATE REQUEST", &signed), key: pem("PRIVATE KEY", document.as_ref()) })
    }
}

/// What is signed.
fn info(user: &str, public_key: &[u8]) -> Vec<u8> {
    let part = |kind: &[u8], text: &str| {
        let pair = tagged(SEQUENCE, &[&tagged(OBJECT_ID, &[kind]), &tagged(UTF8_STRING, &[text.as_bytes()])]);
        tagged(SET, &[&pair])
    };
    let subject = tagged(SEQUENCE, &[&part(ORGANISATION, NODES), &part(COMMON_NAME, user)]);
    let algorithm = tagged(SEQUENCE, &[&tagged(OBJECT_ID, &[EC_PUBLIC_KEY]), &tagged(OBJECT_ID, &[P256])]);
    let key = tagged(SEQUENCE, &[&algorithm, &bits(public_key)]);
    tagged(SEQUENCE, &[&tagged(INTEGER, &[&[0]]), &subject, &key, &tagged(ATTRIBUTES, &[])])
}

/// Whole bytes as a bit string: no bit of the last is unused.
fn bits(bytes: &[u8]) -> Vec<u8> {
    tagged(BIT_STRING, &[&[0], bytes])
}

/// A value in DER: tag, length, contents.
fn tagged(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let contents = parts.concat();
    let length = contents.len().to_be_bytes();
    let length: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    let mut value = vec![tag];
    match length[..] {
        [] => value.push(0),
        [short @ ..0x80] => value.push(short),
        // The length of the length; an address space has no more than eight bytes.
        _ => value.extend(u8::try_from(length.len()).map(|count| 0x80 | count).into_iter().chain(length)),
    }
    value.extend(contents);
    value
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines = text.as_bytes().chunks(64).map(String::from_utf8_lossy);
    let lines = lines.collect::<Vec<_>>().join("\n");
    format!("-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};

    use super::*;

    /// The contents of the value that comes first, and what is behind it.
    fn first(der: &[u8]) -> (&[u8], &[u8]) {
        let (length, start) = match der[1] {
            short @ ..0x80 => (usize::from(short), 2),
            long => {
                let count = usize::from(long & 0x7f);
                (der[2..2 + count].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), 2 + count)
            }
        };
        der[start..].split_at(length)
    }

    fn bytes(pem: &str) -> Vec<u8> {
        BASE64_STANDARD.decode(pem.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap()
    }

    #[test]
    fn a_request_is_signed_by_its_own_key() {
        for node in ["n", &"long-name.".repeat(24)] {
            let made = CertificateRequest::for_node(node).unwrap();
            let der = bytes(&made.request);
            let (contents, rest) = first(&der);
            assert!(rest.is_empty());
            let (_, after) = first(contents);
            let info = &contents[..contents.len() - after.len()];
            let (_, signature) = first(after);
            let key =
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &bytes(&made.key), &SystemRandom::new());
            let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key.unwrap().public_key().as_ref().to_vec());
            key.verify(info, &first(signature).0[1..]).unwrap();
            let text = String::from_utf8_lossy(info);
            assert!(text.contains("system:nodes") && text.contains(&format!("system:node:{node}")), "{text}");
        }
    }

    #[test]
    fn lengths_are_the_shortest() {
        assert_eq!(tagged(INTEGER, &[&[0]]), [2, 1, 0]);
        assert_eq!(tagged(ATTRIBUTES, &[]), [0xa0, 0]);
        assert_eq!(tagged(UTF8_STRING, &[&[7; 127]])[..3], [0x0c, 127, 7]);
        assert_eq!(tagged(UTF8_STRING, &[&[7; 128]])[..4], [0x0c, 0x81, 128, 7]);
        assert_eq!(tagged(UTF8_STRING, &[&[7; 300]])[..5], [0x0c, 0x82, 1, 44, 7]);
    }
}
